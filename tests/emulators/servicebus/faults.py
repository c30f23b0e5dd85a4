"""Faults on demand, and counts of what was asked."""

import random
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

OPERATIONS = frozenset(
    {
        "token",
        "attach",
        "send",
        "receive",
        "settle",
        "renew",
        "schedule",
        "cancel",
        "peek",
        "deferred",
        "state",
    }
)
ACTIONS = frozenset({"error", "drop", "lose", "detach", "expire"})
BUSY = "com.microsoft:server-busy"


class DroppedError(Exception):
    """The connection is to end here, without a word."""


class DetachedError(Exception):
    """The link is to end here, with a condition."""


@dataclass(slots=True)
class Fault:
    """What happens to an operation instead, or before.

    `error`: it is refused with `condition`. `drop`: the connection ends, and it is not applied; `lose`: it is
    applied, and the connection ends before the answer. `detach`: its link ends with `condition`.
    `expire`: the locks it is about run out first. `times` None: until taken back. `entity` None: of all.
    """

    operation: str
    action: str = "error"
    times: int | None = 1
    probability: float = 1.0
    entity: str | None = None
    condition: str = BUSY

    def __post_init__(self) -> None:
        if self.operation not in OPERATIONS or self.action not in ACTIONS:
            raise ValueError(f"a fault is one of {sorted(ACTIONS)} at one of {sorted(OPERATIONS)}")
        if not isinstance(self.times, int | None) or not isinstance(self.probability, int | float):
            raise TypeError("times and probability are numbers")
        if not isinstance(self.entity, str | None) or not isinstance(self.condition, str):
            raise TypeError("entity and condition are texts")


class Faults:
    """Which operations fail, decided by a generator with a seed."""

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)
        self._faults: list[Fault] = []

    def add(self, operation: str, action: str = "error", **values: Any) -> Fault:
        """Raises ValueError (or TypeError) for what is no fault."""
        fault = Fault(operation, action, **values)
        self._faults.append(fault)
        return fault

    def seed(self, seed: int) -> None:
        self._random.seed(seed)

    def clear(self) -> None:
        self._faults.clear()

    def listed(self) -> list[dict[str, Any]]:
        return [asdict(fault) for fault in self._faults]

    def take(self, operation: str, entity: str) -> Fault | None:
        for fault in self._faults:
            if fault.operation != operation or (fault.entity or entity).lower() != entity:
                continue
            if fault.probability < 1.0 and self._random.random() >= fault.probability:
                continue
            if fault.times is not None:
                fault.times -= 1
                if fault.times <= 0:
                    self._faults.remove(fault)
            return fault
        return None


class Stats:
    """How often what was asked since the last reset."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def count(self, what: str, by: int = 1) -> None:
        self._counts[what] += by

    def __getitem__(self, what: str) -> int:
        return self._counts[what]

    def listed(self) -> dict[str, int]:
        return dict(sorted(self._counts.items()))

    def reset(self) -> None:
        self._counts.clear()
