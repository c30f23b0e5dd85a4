"""Hosts in processes of their own: what a user runs is what is tested."""

import os
import queue
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
APPS = ROOT / "tests" / "apps"
PATIENCE = 60.0


@dataclass
class RunningHost:
    process: subprocess.Popen
    lines: list[str] = field(default_factory=list)
    arrived: queue.SimpleQueue = field(default_factory=queue.SimpleQueue)
    url: str = ""

    def wait_for(self, pattern: str) -> re.Match:
        """Read what the host prints until a line matches; fail if it ends before."""
        while True:
            line = self.arrived.get(timeout=PATIENCE)
            if line is None:
                raise AssertionError("the host ended:\n" + "".join(self.lines))
            if found := re.search(pattern, line):
                return found

    def ended(self) -> int:
        code = self.process.wait(PATIENCE)
        while self.arrived.get(timeout=PATIENCE) is not None:
            pass
        return code

    @property
    def output(self) -> str:
        return "".join(self.lines)


def _read(host: RunningHost) -> None:
    assert host.process.stdout is not None
    for line in host.process.stdout:
        host.lines.append(line)
        host.arrived.put(line)
    host.arrived.put(None)


@contextmanager
def start_host(
    app: Path, data: Path | None, *options: str, env: dict[str, str] | None = None
) -> Iterator[RunningHost]:
    """Run `loom dev`; it is killed at the end if it runs still."""
    command = [sys.executable, "-m", "loom_local.cli.main", "dev", "--app", str(app), "--port", "0"]
    process = subprocess.Popen(
        [*command, *(["--data", str(data)] if data else []), *options],
        cwd=ROOT,
        env=os.environ | {"PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": ""} | (env or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    host = RunningHost(process)
    reader = threading.Thread(target=_read, args=(host,), daemon=True)
    reader.start()
    try:
        yield host
    finally:
        process.kill()
        process.wait()
        reader.join()
        assert process.stdout is not None
        process.stdout.close()


@contextmanager
def ready_host(
    app: Path, data: Path | None, *options: str, env: dict[str, str] | None = None
) -> Iterator[RunningHost]:
    with start_host(app, data, *options, env=env) as host:
        host.url = host.wait_for(r"Loom is ready at (\S+)")[1]
        yield host


FAST = ("--no-reload", "--unsafe-fast")
