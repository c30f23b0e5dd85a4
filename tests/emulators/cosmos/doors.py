"""The test's own doors, which the service does not have: /_faults, /_clock and /_stats."""

from dataclasses import asdict


class Doors:
    def __init__(self, faults, clock, statistics):
        self._faults = faults
        self._clock = clock
        self._statistics = statistics
        self._doors = {
            ("GET", "/_faults"): self._list_faults,
            ("POST", "/_faults"): self._add_fault,
            ("DELETE", "/_faults"): self._clear_faults,
            ("GET", "/_clock"): self._time,
            ("POST", "/_clock"): self._advance,
            ("GET", "/_stats"): self._summary,
            ("DELETE", "/_stats"): self._reset,
        }

    def opened(self, method, path, said):
        """The answer's JSON; None if there is no such door. Raises ValueError or TypeError for bad input."""
        door = self._doors.get((method, path.rstrip("/")))
        return None if door is None else door(**said)

    def _list_faults(self):
        return [_shown(fault) for fault in self._faults]

    def _add_fault(self, fault=(), **options):
        """`fault` is one or several, as Faults.add takes them; options may be spelled as JSON's are."""
        names = {"retryAfterMs": "retry_after_ms"}
        faults = fault if isinstance(fault, list | tuple) else [fault]
        return _shown(self._faults.add(*faults, **{names.get(key, key): options[key] for key in options}))

    def _clear_faults(self):
        self._faults.clear()
        return []

    def _time(self):
        return {"time": self._clock.time()}

    def _advance(self, advance):
        self._clock.advance(advance)
        return self._time()

    def _summary(self):
        return self._statistics.summary()

    def _reset(self):
        self._statistics.reset()
        return self._summary()


def _shown(fault):
    return {name: value for name, value in asdict(fault).items() if not name.startswith("_")}
