"""Runs one host in this process until a signal, and leaves within five seconds whatever user code does."""

import asyncio
import gc
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import thread as pools
from typing import NoReturn

from loom_local.host.host import Host

GRACE_SECONDS = 4.0
LAST_RESORT_SECONDS = 4.7
CLOSING_SECONDS = 0.5
INTERRUPTED = 130
SWITCH_SECONDS = 0.0005
"""How long Python lets a thread compute while others wait. The default of 5 ms makes every step of an
orchestration queue behind each busy activity thread for that long; this costs no throughput."""

GARBAGE = 20_000
"""New objects before the collector looks for cycles among them. Work in flight is thousands of objects
and none is garbage: looking every 2,000, the default, is a twentieth of a large scatter's time."""


def run(host: Host, announce: Callable[[Host], None], *, lifeline: int | None = None) -> None:
    """Serve until SIGINT or SIGTERM, then drain; a second signal exits at once with code 130.

    `lifeline` is the read end of a pipe whose other end the supervisor holds: when it closes, the host stops.
    With one, SIGINT is the supervisor's to answer. Ends the process if user code will not.
    """
    sys.setswitchinterval(SWITCH_SECONDS)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    stopping = asyncio.Event()

    def ask(_signal: int = 0, _frame: object = None) -> None:
        if stopping.is_set():
            os._exit(INTERRUPTED)
        stopping.set()
        os.write(2, b"loom: stopping; what runs may end (Ctrl-C again exits at once)\n")
        loop.call_soon_threadsafe(lambda: None)  # the event was set outside the loop: wake it
        last_resort = threading.Timer(LAST_RESORT_SECONDS, _leave, ["it was still busy"])
        last_resort.daemon = True
        last_resort.start()

    signal.signal(signal.SIGTERM, ask)
    signal.signal(signal.SIGINT, ask if lifeline is None else lambda *_: None)
    if lifeline is not None:
        loop.add_reader(lifeline, lambda: (loop.remove_reader(lifeline), ask()))
    loop.run_until_complete(_serve(host, announce, stopping))
    _close(loop)


async def _serve(host: Host, announce: Callable[[Host], None], stopping: asyncio.Event) -> None:
    await host.start()
    gc.freeze()  # what is loaded now stays: the collector need not look at it again
    gc.enable()
    gc.set_threshold(GARBAGE)
    announce(host)
    await stopping.wait()
    await host.stop(GRACE_SECONDS)


def _close(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel what user code left on the loop, and do not wait for the threads it left blocked."""
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    if left:
        loop.run_until_complete(asyncio.wait(left, timeout=0.2))
    # As `asyncio.run` does: what user code opened for as long as its loop lives is closed here.
    ending = loop.create_task(loop.shutdown_asyncgens())
    loop.run_until_complete(asyncio.wait([ending], timeout=CLOSING_SECONDS))
    assert isinstance(loop, asyncio.BaseEventLoop)
    with warnings.catch_warnings(
        action="ignore", category=RuntimeWarning
    ):  # threads that stay are named below
        loop.run_until_complete(loop.shutdown_default_executor(0.2))
    # As the interpreter does at its end: idle threads of the app's own pools go, and it waits for the others.
    threading.Thread(target=pools._python_exit, daemon=True).start()  # noqa: SLF001  no other way to tell them
    for thread in threading.enumerate():
        if thread is not threading.main_thread() and not thread.daemon:
            thread.join(0.2)
            if thread.is_alive():
                _leave(f"{thread.name} was still busy")
    loop.close()


def _leave(why: str) -> NoReturn:
    """Exit without waiting for threads: Python cannot end them, and a crash-safe engine need not."""
    sys.stderr.write(f"The host stopped while {why}; unfinished work runs again at the next start.\n")
    sys.stderr.flush()
    sys.stdout.flush()
    os._exit(0)
