"""Faults on demand: what goes wrong, with which requests, how often."""

import random
from dataclasses import dataclass, field

from tests.emulators.cosmos.errors import CosmosError

# What may be asked for: a status the service answers with, or what happens to the connection.
STATUSES = (400, 403, 404, 408, 409, 410, 412, 429, 449, 500, 503)
LOST, DROPPED = "lost", "dropped"
ALL = (429, 449, 503, 408, LOST, DROPPED)
RETRY_AFTER_MS = 10


@dataclass
class Fault:
    """`fault` is a status, "lost" (applied, but never answered) or "dropped" (neither);
    or several to draw from.

    It hits requests of these `kinds` and `methods` (empty: all, but the account's own read only if named)
    whose path contains `path`, each with probability `rate` drawn from `seed`, `times` times (None: always).
    """

    fault: tuple
    kinds: tuple = ()
    methods: tuple = ()
    path: str = ""
    rate: float = 1.0
    seed: int = 0
    times: int | None = None
    substatus: int = 0
    retry_after_ms: int | None = None
    fired: int = 0
    _random: random.Random = field(init=False, repr=False)

    def __post_init__(self):
        self._random = random.Random(self.seed)

    def hits(self, kind, method, path):
        """What goes wrong with this request, or None."""
        if self.times is not None and self.fired >= self.times:
            return None
        if (self.kinds and kind not in self.kinds) or (not self.kinds and kind == "account"):
            return None
        if (self.methods and method not in self.methods) or self.path not in path:
            return None
        if self._random.random() >= self.rate:
            return None
        self.fired += 1
        return self._random.choice(self.fault)


class Faults:
    def __init__(self):
        self._faults = []

    def __iter__(self):
        return iter(self._faults)

    def add(self, *fault, **options):
        """Add a fault, as `Fault` describes it; returns it, so that a test can see how often it `fired`.

        Raises ValueError with all that is wrong.
        """
        added = Fault(tuple(fault) or ALL, **{name: _immutable(value) for name, value in options.items()})
        problems = [
            f"fault {one!r} is unknown" for one in added.fault if one not in (*STATUSES, LOST, DROPPED)
        ]
        if not 0 <= added.rate <= 1:
            problems.append(f"rate {added.rate} is not between 0 and 1")
        if problems:
            raise ValueError("; ".join(problems))
        self._faults.append(added)
        return added

    def clear(self):
        self._faults.clear()

    def draw(self, kind, method, path):
        """The first fault that hits a request, and what goes wrong; or (None, None)."""
        for fault in self._faults:
            if (hit := fault.hits(kind, method, path)) is not None:
                return fault, hit
        return None, None


def faulted(fault, status):
    """The answer with which a fault refuses a request."""
    headers = {}
    if status == 429 or fault.retry_after_ms is not None:
        delay = RETRY_AFTER_MS if fault.retry_after_ms is None else fault.retry_after_ms
        headers["x-ms-retry-after-ms"] = str(delay)
    substatus = fault.substatus or (3200 if status == 429 else 0)
    return CosmosError(status, "The test server was told to answer so.", substatus=substatus, headers=headers)


def _immutable(value):
    return tuple(value) if isinstance(value, list) else value
