"""What is worth keeping between two dispatches of an instance, within bounds, for one taker at a time."""

from collections import OrderedDict
from collections.abc import Hashable
from threading import Lock
from typing import Protocol


class Sized(Protocol):
    @property
    def size(self) -> int:
        """Bytes of the history behind it, for which it stands in memory."""
        ...


class Kept[T: Sized]:
    """Values by key, at most `count` of them and `size` bytes in all; the longest unused goes first.

    Safe to use from many threads: a value that was taken is nobody else's.
    """

    def __init__(self, count: int, size: int) -> None:
        self._count, self._size = count, size
        self._values: OrderedDict[Hashable, T] = OrderedDict()
        self._total = 0
        self._lock = Lock()

    def take(self, key: Hashable) -> T | None:
        with self._lock:
            return self._remove(key)

    def put(self, key: Hashable, value: T) -> None:
        dropped: list[T | None] = []  # what they hold is freed outside the lock
        with self._lock:
            dropped.append(self._remove(key))
            self._values[key] = value
            self._total += value.size
            while self._values and (len(self._values) > self._count or self._total > self._size):
                dropped.append(self._remove(next(iter(self._values))))

    def __len__(self) -> int:
        return len(self._values)

    def _remove(self, key: Hashable) -> T | None:
        value = self._values.pop(key, None)
        if value is not None:
            self._total -= value.size
        return value
