"""A host that lives as long as the command that started it, however that command ends."""

import os
import re
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from queue import Empty, SimpleQueue

from loom_local.cli.api import UnreachableError

READY = re.compile(rb"Loom is ready at (https?://\S+)")
START_SECONDS = 60.0
STOP_SECONDS = 10.0
TAIL_LINES = 40
LINE_BYTES = 2000
OURS = frozenset({"LOOM_URL", "LOOM_API_KEY", "LOOM_DATA"})  # what the command itself was told
OPTIONS = ("--no-reload", "--port", "0", "--lifeline", "0")
COMMAND = (sys.executable, "-m", "loom_local.cli.main", "dev", *OPTIONS)


@contextmanager
def child_host(
    arguments: Sequence[str], *, command: Sequence[str] = COMMAND, timeout: float = START_SECONDS
) -> Iterator[str]:
    """Start `loom dev` on a free port with `arguments`, yield its address, and stop it at the end.

    The host's standard input is its lifeline: it stops when we close it, and when we are killed.

    Raises UnreachableError, with what the host wrote last, when it is not ready within `timeout` seconds.
    """
    process = subprocess.Popen(  # noqa: S603 - our own interpreter
        [*command, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={name: value for name, value in os.environ.items() if name not in OURS}
        | {"PYTHONUNBUFFERED": "1"},
        start_new_session=True,  # Ctrl-C reaches us first, and we stop the host in good order
    )
    tail = deque[bytes](maxlen=TAIL_LINES)
    found = SimpleQueue[str | None]()
    reader = threading.Thread(target=_read, args=(process, tail, found), daemon=True)
    reader.start()
    try:
        yield _address(found, tail, timeout)
    finally:
        _stop(process)
        reader.join(1.0)  # it ends with the pipe, which a process of the app's may hold open


def _read(process: subprocess.Popen[bytes], tail: deque[bytes], found: SimpleQueue[str | None]) -> None:
    """Drain what the host writes, lest it stands still on a full pipe; keep the end of it."""
    assert process.stdout
    with process.stdout as output:
        while line := output.readline(LINE_BYTES):
            tail.append(line)
            if match := READY.search(line):
                found.put(match[1].decode())
    found.put(None)


def _address(found: SimpleQueue[str | None], tail: deque[bytes], timeout: float) -> str:
    try:
        address = found.get(timeout=timeout)
    except Empty:
        address, reason = None, f"the host was not ready within {timeout:.0f} seconds"
    else:
        reason = "the host ended before it was ready"
    if address is None:
        log = b"".join(tuple(tail)).decode(errors="replace").rstrip() or "(nothing)"
        raise UnreachableError(f"{reason}; it wrote:\n{log}")
    return address


def _stop(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin
    process.stdin.close()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
