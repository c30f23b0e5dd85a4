"""Work under a lock that is held as long as the work goes on, and no longer."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from loom_core.errors import ConflictError, UnavailableError
from loom_core.ports.locks import MAX_TTL, Lock, LockManager

_BEATS: Final = 3
_TRIES: Final = 12
"""So many extensions within a ttl while all is well, and in an outage."""
_log = logging.getLogger(__name__)


@asynccontextmanager
async def locked(locks: LockManager, name: str, ttl: int = MAX_TTL) -> AsyncGenerator[Lock | None]:
    """Hold a lock for the length of the block, which is given None while somebody else has it.

        async with locked(locks, "nightly") as lock:
            if lock is None:
                return
            …

    It is extended every third of its `ttl` seconds. Once it is lost, or could not be extended until it ran
    out, the block is cancelled and ConflictError raised out of it. Raises what `acquire` raises.

    That stops no process which is itself stopped meanwhile. What two must never write is fenced by the token:
    write `Fence(name, lock.token)` once before reading what the work goes by, and again with every batch.
    """
    began = asyncio.get_running_loop().time()
    lock = await locks.acquire(name, ttl)
    if lock is None:
        yield None
        return
    held, limit = _Held(locks, lock), asyncio.timeout_at(began + ttl)
    lost = ConflictError(f"the lock on {name} was lost before the work was done")
    try:
        async with limit:
            beats = asyncio.create_task(held.beat(limit), name=f"lock-{name}")
            try:
                yield lock
            finally:
                beats.cancel()
                await asyncio.wait([beats])
                if not beats.cancelled():
                    beats.result()
    except TimeoutError:
        if not limit.expired():
            raise
        raise lost from None
    finally:
        await held.give_up()
    if limit.expired():
        raise lost


class _Held:
    def __init__(self, locks: LockManager, lock: Lock) -> None:
        self._locks = locks
        self._lock = lock

    async def beat(self, limit: asyncio.Timeout) -> None:
        """Move the limit on with every extension; to now, once the lock is lost."""
        loop, a_ttl = asyncio.get_running_loop(), _BEATS
        while True:
            await asyncio.sleep(self._lock.ttl / a_ttl)
            began = loop.time()
            try:
                self._lock = await self._locks.extend(self._lock)
            except UnavailableError as error:
                _log.warning("the lock on %s could not be extended: %s", self._lock.name, error)
                a_ttl = _TRIES
                continue
            except ConflictError:
                until = began
            else:
                until = began + self._lock.ttl
            if limit.expired():  # too late: the work is being cancelled
                return
            limit.reschedule(until)
            a_ttl = _BEATS

    async def give_up(self) -> None:
        try:
            await self._locks.release(self._lock)
        except UnavailableError as error:
            _log.warning("the lock on %s runs out by itself: %s", self._lock.name, error)
