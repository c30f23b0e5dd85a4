"""The ids that were sent lately."""

from collections.abc import Callable, Iterable
from uuid import UUID


class Duplicates:
    """Remembers for `window` seconds. `note` is told until when of each id; None once it is forgotten."""

    def __init__(self, window: float, note: Callable[[str, float | None], None]) -> None:
        self._window, self._note = window, note
        self._until: dict[str, float] = {}

    def load(self, ids: Iterable[tuple[str, float]]) -> None:
        self._until = dict(sorted(ids, key=lambda entry: entry[1]))

    def add(self, id_: str | UUID | int | bytes, now: float) -> bool:
        """Whether it is new."""
        while self._until:
            oldest = next(iter(self._until))
            if self._until[oldest] > now:
                break
            del self._until[oldest]
            self._note(oldest, None)
        key = str(id_)
        if key in self._until:
            return False
        self._until[key] = now + self._window
        self._note(key, self._until[key])
        return True
