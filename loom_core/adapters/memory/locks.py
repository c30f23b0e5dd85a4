"""Locks in a dictionary."""

import itertools
import time
from collections.abc import Callable
from dataclasses import replace

from loom_core.adapters.limits import check_lock
from loom_core.errors import ConflictError
from loom_core.ports.locks import Lock


class MemoryLockManager:
    """`clock` gives seconds since the epoch."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._held: dict[str, Lock] = {}
        self._tokens = itertools.count(1)  # of all names together, so that nothing is kept of a free one

    async def acquire(self, name: str, ttl: int) -> Lock | None:
        check_lock(name, ttl)
        now = self._clock()
        held = self._held.get(name)
        if held is not None and held.until > now:
            return None
        lock = self._held[name] = Lock(name, next(self._tokens), ttl, now + ttl)
        return lock

    async def extend(self, lock: Lock) -> Lock:
        check_lock(lock.name, lock.ttl)
        now = self._clock()
        held = self._held.get(lock.name)
        if held is None or held.token != lock.token or held.until <= now:
            raise ConflictError(f"the lock on {lock.name} is lost")
        held = self._held[lock.name] = replace(lock, until=now + lock.ttl)
        return held

    async def release(self, lock: Lock) -> None:
        check_lock(lock.name, lock.ttl)
        held = self._held.get(lock.name)
        if held is not None and held.token == lock.token:
            del self._held[lock.name]
