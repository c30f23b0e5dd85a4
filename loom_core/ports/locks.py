"""LockManager: a name has one holder at a time, and each holder a greater token than those before it."""

from dataclasses import dataclass
from typing import Protocol

MIN_TTL = 15
MAX_TTL = 60


@dataclass(frozen=True, slots=True)
class Lock:
    """The right to a name until `until` (seconds since the epoch), or until it is extended or released.

    `token` is greater than that of every lock on the name before it, also after a crash: hand it to what is
    guarded, which refuses anything below the greatest it has seen. `lease` is the adapter's own.
    """

    name: str
    token: int
    ttl: int
    until: float
    lease: str = ""


class LockManager(Protocol):
    """Every method raises InvalidError for what is no name of a blob, UnavailableError if it is unreachable.

    After UnavailableError the name may be locked by nobody you know, for `ttl` seconds at the most.
    """

    async def acquire(self, name: str, ttl: int) -> Lock | None:
        """Lock it for `ttl` seconds (MIN_TTL to MAX_TTL, or InvalidError); None while somebody has it."""
        ...

    async def extend(self, lock: Lock) -> Lock:
        """Lock it for its `ttl` from now; the token stays. Raises ConflictError once the lock is lost."""
        ...

    async def release(self, lock: Lock) -> None:
        """Give the name up. Does nothing once the lock is lost."""
        ...
