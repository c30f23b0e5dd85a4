"""When to try again: a policy that decides and never sleeps."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often to try, and how long to wait in between.

    `max_attempts` counts the first try. `backoff_ms` holds the waits after the first, second, … failure; once
    it is used up, each further wait is the last one times `multiplier` again. No wait is longer than
    `max_backoff_ms`. `jitter`, from 0 to 1, is the share of each wait that is left to chance.
    """

    max_attempts: int = 3
    backoff_ms: Sequence[float] = (1_000,)
    multiplier: float = 2.0
    max_backoff_ms: float = 60_000
    jitter: float = 0.2


def delay(policy: RetryPolicy, failures: int, seed: str) -> float | None:
    """Return the seconds to wait after this many failures, or None to give up.

    Pure: the same policy, count and seed give the same wait, so that a replay decides as the run did, and
    different seeds spread the load.
    """
    if failures >= policy.max_attempts:
        return None
    listed = policy.backoff_ms[min(failures, len(policy.backoff_ms)) - 1]
    grown = listed * policy.multiplier ** max(0, failures - len(policy.backoff_ms))
    wait = min(grown, policy.max_backoff_ms)
    chance = int.from_bytes(hashlib.sha256(f"{seed}#{failures}".encode()).digest()[:6]) / 2**48
    return wait * (1 - policy.jitter * chance) / 1_000
