"""Stops: which work of a run was asked to stop, and when; told to the calls that it is meant for.

What a run was asked is kept as the blob `stopped/<run>`: for each scope the time of asking, so that what is
scheduled later (another attempt, a compensation, a rewound run) is not meant. Calls in this process hear at
once. Those of other processes look: once a period for each run that has a call older than one.
"""

import asyncio
import json
import logging
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from operator import itemgetter
from threading import Event
from typing import Protocol

from loom_core.errors import CancelledError, ConflictError, LoomError, NotFoundError, UnavailableError
from loom_core.ports.blobs import BlobStore

PERIOD = 1.0
KEPT = 24 * 3600.0
"""Seconds after which no work is left that could have been asked."""
UNDO = "/!"
"""In the keys of what undoes things."""
MAX_SCOPES = 256
_FOLDER = "stopped/"
_MAX_RUNS = 1_000
_ATTEMPTS = 5
_CHECKED = 3
_log = logging.getLogger(__name__)

type Asked = Mapping[str, float]
"""When each scope was asked to stop, in seconds since the epoch."""


class Call(Protocol):
    """What may be asked to stop: work of a run, with its key, and when it was scheduled."""

    @property
    def run(self) -> str: ...
    @property
    def key(self) -> str: ...
    @property
    def at(self) -> float: ...
    @property
    def stop(self) -> Event:
        """Set when it is asked."""
        ...


type Running = tuple[Call, asyncio.Timeout, bool]
"""A call, what would cancel it, and whether that is to be used."""


def covers(scope: str, key: str) -> bool:
    """Whether work with this key belongs to the scope; everything belongs to the empty one."""
    return not scope or key == scope or key.startswith(f"{scope}/")


class Stops:
    """What the runs of an app were asked, and the calls that run in this process."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs
        self._asked: dict[str, Asked] = {}
        self._running: set[Running] = set()
        self._looking: asyncio.Task[None] | None = None
        self._checked = ""

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
            data = json.dumps(wanted).encode()
            try:
                await self._blobs.put(_FOLDER + run, data, if_absent=etag is None, if_match=etag)
            except ConflictError:
                await asyncio.sleep(0.02 * attempt)
                continue
            if etag is None:
                await self._delete_old(run)
            return
        raise UnavailableError(f"what {run} is asked changes too fast")

    async def ask_once(self, run: str, scope: str, at: float) -> None:
        """Ask, unless the whole run was asked before: what it does since then may be undoing things."""
        asked, _ = await self._read(run)
        if "" not in asked:
            await self.ask(run, scope, at)

    async def forget(self, run: str) -> None:
        """Delete what the run was asked."""
        self._asked.pop(run, None)
        await self._blobs.delete(_FOLDER + run)

    @asynccontextmanager
    async def heard(self, call: Call, *, cancel: bool) -> AsyncGenerator[None]:
        """Meanwhile the call hears of stops; with `cancel`, what it awaits is cancelled too.

        Raises CancelledError at once for a call that is known to be asked already, and at the end for one
        that was cancelled.
        """
        if _is_asked(self._asked.get(call.run, {}), call):
            raise CancelledError("it was asked to stop before it began")
        limit = asyncio.timeout(None)
        running = call, limit, cancel
        try:
            async with limit:
                self._running.add(running)
                if self._looking is None or self._looking.done():
                    self._looking = asyncio.get_running_loop().create_task(self._look())
                yield
        except TimeoutError:
            if limit.expired():
                raise CancelledError("it was asked to stop") from None
            raise
        finally:
            self._running.discard(running)

    def _hear(self, run: str, asked: Asked) -> Asked:
        known = self._asked[run] = _merged(self._asked.pop(run, {}), asked)
        if len(self._asked) > _MAX_RUNS:
            self._asked.pop(next(iter(self._asked)))
        for call, limit, cancel in self._running:
            if call.run == run and not call.stop.is_set() and _is_asked(known, call):
                call.stop.set()
                if cancel:
                    limit.reschedule(0)
        return known

    async def _look(self) -> None:
        while self._running:
            await asyncio.sleep(PERIOD)
            late = time.time() - PERIOD
            runs = {call.run for call, *_ in self._running if call.at <= late} - {""}
            await asyncio.gather(*map(self._look_at, runs))

    async def _look_at(self, run: str) -> None:
        try:
            if asked := (await self._read(run))[0]:
                self._hear(run, asked)
        except LoomError as error:
            _log.warning("whether %s was asked to stop is not known: %s", run, error)

    async def _read(self, run: str) -> tuple[Asked, str | None]:
        try:
            blob = await self._blobs.get(_FOLDER + run)
        except NotFoundError:
            return {}, None
        return json.loads(blob.data), blob.etag

    async def _delete_old(self, new: str) -> None:
        """For each new mark, look at the next few others: more old ones than young ones never gather."""
        names = await self._blobs.list(_FOLDER, limit=_CHECKED, after=self._checked)
        self._checked = names[-1] if len(names) == _CHECKED else ""
        for name in {*names} - {_FOLDER + new}:
            asked, _ = await self._read(name.removeprefix(_FOLDER))
            if max(asked.values(), default=0.0) < time.time() - KEPT:
                await self._blobs.delete(name)


def _is_asked(asked: Asked, call: Call) -> bool:
    # What undoes things is ended by force only, whose time is a day ahead, and never by a clock that is fast.
    begun = call.at + (KEPT / 2 if UNDO in call.key else 0)
    return any(begun <= at and covers(scope, call.key) for scope, at in asked.items())


def _merged(asked: Asked, more: Asked) -> Asked:
    """Both, without scopes that a broader one covers as late; of very many scopes the whole and the last."""
    both = {scope: max(asked.get(scope, 0.0), more.get(scope, 0.0)) for scope in (*asked, *more)}
    broad = {
        scope: at
        for scope, at in both.items()
        if not any(other != scope and at <= late and covers(other, scope) for other, late in both.items())
    }
    last = sorted(broad.items(), key=itemgetter(1))[-MAX_SCOPES:]
    return dict(last) | ({"": broad[""]} if "" in broad else {})
