"""Serves an app in a child process, and replaces the child when the app's files change.

The listening socket is the supervisor's and is handed from child to child, so that a client that calls
during the change waits a moment instead of being refused. Runs are the engine's and live in its file.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

from loom_local.host.containers import read_list

APP_IS_BROKEN = 3
"""Exit code of a host whose app cannot be loaded: mending the app is the cure, so the supervisor waits."""

STOP_SECONDS = 5.5
CRASH_PAUSE_SECONDS = 1.0
_STOPPED = frozenset({-signal.SIGTERM, -signal.SIGINT})  # it had not yet come to the point of draining
_WATCHED = frozenset({".py", ".json", ".wasm"})


class _Event(NamedTuple):
    what: str  # "changed", "ended" or "signal"
    detail: str = ""
    child: subprocess.Popen[bytes] | None = None


def supervise(command: Sequence[str], listener: socket.socket, *, app: Path, data: Path) -> int:
    """Run `command` + [--listener FD, --lifeline FD] until a signal; return the exit code for this process.

    The first signal lets the child drain, the second ends it at once (130).
    """
    events: SimpleQueue[_Event] = SimpleQueue()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: events.put(_Event("signal")))
    lifeline, ours = os.pipe()
    command = [*command, "--listener", str(listener.fileno()), "--lifeline", str(lifeline)]
    descriptors = (listener.fileno(), lifeline)

    def start() -> subprocess.Popen[bytes]:
        child = subprocess.Popen(command, pass_fds=descriptors)  # noqa: S603  our own interpreter
        threading.Thread(
            target=lambda: (child.wait(), events.put(_Event("ended", child=child))), daemon=True
        ).start()
        return child

    child: subprocess.Popen[bytes] | None = start()
    threading.Thread(target=_watch, args=(app, data, events), daemon=True).start()
    try:
        while True:
            event = events.get()
            if event.what == "signal":
                return _end(child, events)
            if event.what == "changed":
                _say(f"{event.detail} changed: restarting")
                if child is not None:
                    _stop(child)
                child = start()
            elif event.child is child and child is not None:
                code = child.returncode
                if code == APP_IS_BROKEN:
                    _say("waiting for a change")
                    child = None
                elif code < 0:
                    _say(f"the host was ended by signal {-code}: starting it again")
                    time.sleep(CRASH_PAUSE_SECONDS)
                    child = start()
                else:
                    return code
    finally:
        os.close(ours)


def _end(child: subprocess.Popen[bytes] | None, events: SimpleQueue[_Event]) -> int:
    if child is None:
        return 0
    child.terminate()
    while True:
        event = events.get()
        if event.what == "signal":
            child.kill()
            return 130
        if event.child is child:
            return 0 if child.returncode in _STOPPED else child.returncode


def _stop(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _watch(app: Path, data: Path, events: SimpleQueue[_Event]) -> None:
    from watchfiles import DefaultFilter, watch  # noqa: PLC0415  the child starts while this is imported

    class AppFiles(DefaultFilter):
        def __call__(self, change: object, path: str) -> bool:
            file = Path(path)
            return (
                file.suffix in _WATCHED and not file.is_relative_to(data) and super().__call__(change, path)  # pyright: ignore[reportArgumentType]  its own enum
            )

    for changes in watch(app, watch_filter=AppFiles(), raise_interrupt=False):
        containers = read_list(data)  # what comes to them is the app's work, not its code
        of_app = [path for _, path in changes if not any(map(Path(path).is_relative_to, containers))]
        if of_app:
            events.put(_Event("changed", os.path.relpath(min(of_app), app)))


def _say(text: str) -> None:
    sys.stderr.write(f"loom: {text}\n")
    sys.stderr.flush()
