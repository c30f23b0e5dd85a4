"""Stops: which work of a run was asked to stop, and when; told to the calls that it is meant for.

What a run was asked is kept as the blob `stopped/<run>`: for each scope the time of asking, so that what is
scheduled later (another attempt, a compensation, a rewound run) is not meant. Calls in this process hear at
once. Those of other processes look: once a period for each run that has a call older than one.
"""

import asyncio
import json
import logging
import time
from collections.abc import Mapping
from itertools import batched
from operator import itemgetter
from types import TracebackType

from loom_core.activities.call import Call
from loom_core.errors import CancelledError, ConflictError, LoomError, NotFoundError, UnavailableError
from loom_core.ports.blobs import BlobStore

PERIOD = 1.0
FOR_EVER = 1e12
"""A time that nothing is scheduled after."""
MAX_SCOPES = 256
_MAX_RUNS = 1_000
_AT_ONCE = 16
_ATTEMPTS = 5
_log = logging.getLogger(__name__)

type Asked = Mapping[str, float]
"""When each scope was asked to stop, in seconds since the epoch."""


def covers(scope: str, key: str) -> bool:
    """Whether work with this key belongs to the scope; everything belongs to the empty one."""
    return not scope or key == scope or key.startswith(f"{scope}/")


class Stops:
    """What the runs of an app were asked, and the calls that run in this process."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs
        self._asked: dict[str, Asked] = {}
        self._running: set[Watch] = set()
        self._looking: asyncio.Task[None] | None = None

    async def ask(self, run: str, scope: str = "", at: float | None = None) -> None:
        """Ask what was scheduled in the scope until now, or until `at`, to stop.

        Raises UnavailableError when other processes cannot be told; those of this one have been.
        """
        known = self._hear(run, {scope: time.time() if at is None else at})
        for attempt in range(_ATTEMPTS):
            asked, etag = await self._read(run)
            wanted = _merged(asked, known)
            if wanted == asked:
                return
            try:
                await self._blobs.put(
                    f"stopped/{run}", json.dumps(wanted).encode(), if_absent=etag is None, if_match=etag
                )
            except ConflictError:
                await asyncio.sleep(0.02 * attempt)
            else:
                return
        raise UnavailableError(f"what {run} is asked changes too fast")

    async def forget(self, run: str) -> None:
        """Delete what the run was asked."""
        self._asked.pop(run, None)
        await self._blobs.delete(f"stopped/{run}")

    def watch(self, call: Call, since: float, *, cancel: bool) -> "Watch":
        """While it is entered, the call hears of stops; with `cancel`, what it awaits is cancelled too.

        `since` is the time of the event loop when its work began. Raises CancelledError at once for a call
        that is known to be asked already, and at the end for one that was cancelled.
        """
        return Watch(self, call, since, asyncio.current_task() if cancel else None)

    def begin(self, watch: "Watch") -> None:
        if self._asked and _is_asked(self._asked.get(watch.call.run, {}), watch.call):
            raise CancelledError("it was asked to stop before it began")
        self._running.add(watch)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.get_running_loop().create_task(self._look())

    def end(self, watch: "Watch") -> None:
        self._running.discard(watch)

    def _hear(self, run: str, asked: Asked) -> Asked:
        known = self._asked[run] = _merged(self._asked.pop(run, {}), asked)
        if len(self._asked) > _MAX_RUNS:
            self._asked.pop(next(iter(self._asked)))
        for watch in tuple(self._running):
            if watch.call.run == run and not watch.call.stop.is_set() and _is_asked(known, watch.call):
                watch.tell()
        return known

    async def _look(self) -> None:
        while self._running:
            await asyncio.sleep(PERIOD)
            late = asyncio.get_running_loop().time() - PERIOD
            runs = {watch.call.run for watch in self._running if watch.since <= late} - {""}
            for group in batched(runs, _AT_ONCE, strict=False):
                await asyncio.gather(*map(self._look_at, group))

    async def _look_at(self, run: str) -> None:
        try:
            asked, _ = await self._read(run)
        except LoomError as error:
            _log.warning("whether %s was asked to stop is not known: %s", run, error)
        else:
            if asked:
                self._hear(run, asked)

    async def _read(self, run: str) -> tuple[Asked, str | None]:
        try:
            blob = await self._blobs.get(f"stopped/{run}")
        except NotFoundError:
            return {}, None
        return json.loads(blob.data), blob.etag


class Watch:
    """One call that runs."""

    __slots__ = ("_is_cancelled", "_stops", "_task", "call", "since")

    def __init__(self, stops: Stops, call: Call, since: float, task: "asyncio.Task[object] | None") -> None:
        self.call, self.since = call, since
        self._stops, self._task = stops, task
        self._is_cancelled = False

    def __enter__(self) -> None:
        self._stops.begin(self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stops.end(self)
        task, self._task = self._task, None
        if task is not None and self._is_cancelled:
            # The host may have cancelled the task as well, and goes first.
            is_ours = task.uncancel() == 0
            if is_ours and isinstance(error, asyncio.CancelledError):
                raise CancelledError("it was asked to stop") from None

    def tell(self) -> None:
        """Ask the call to stop, from any thread."""
        self.call.stop.set()
        if self._task is not None:
            self._task.get_loop().call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        if self._task is not None and not self._is_cancelled:
            self._is_cancelled = self._task.cancel()


def _is_asked(asked: Asked, call: Call) -> bool:
    return any(call.at <= at and covers(scope, call.key) for scope, at in asked.items())


def _merged(asked: Asked, more: Asked) -> Asked:
    """Both, without scopes that a broader one covers as late; of very many scopes the last ones."""
    both = {scope: max(asked.get(scope, 0.0), more.get(scope, 0.0)) for scope in (*asked, *more)}
    broad = {
        scope: at
        for scope, at in both.items()
        if not any(other != scope and at <= late and covers(other, scope) for other, late in both.items())
    }
    return dict(sorted(broad.items(), key=itemgetter(1))[-MAX_SCOPES:])
