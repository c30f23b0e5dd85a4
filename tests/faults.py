"""Faults at the ports, from a seed: what a network and a busy service do to whoever calls them.

    faults = Faults(seed)
    store = faults.wrap(MemoryStateStore())
    await store.write(…)                  # may raise, before or after it has been applied

    faults.next("lost", "write")          # the next write is applied and its answer lost, come what may
    with faults.calm():                   # nothing goes wrong in here: to look at the result

`faults.log` says what went wrong, in order; print it with the seed when a property fails.
"""

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

from loom_core.errors import ConflictError, UnavailableError
from loom_core.ports.state import Put

type Kind = Literal["before", "lost", "conflict", "duplicate"]
"""Of a call: it raises UnavailableError and never happened (`before`); it raises UnavailableError, but was
applied (`lost`); it raises ConflictError, as if somebody had been faster (`conflict`: only where a call can
raise that: conditional writes, settling, renewing, extending); it succeeds, but happens twice: a message is
sent twice, or is completed and comes again all the same (`duplicate`)."""

KINDS: tuple[Kind, ...] = ("before", "lost", "conflict", "duplicate")
RATES: Mapping[Kind, float] = {"before": 0.05, "lost": 0.05, "conflict": 0.02, "duplicate": 0.05}


class Fault(NamedTuple):
    kind: Kind
    method: str


class Faults:
    """One source of faults for any number of ports. `rates` says how likely each kind is, per call.

    The same seed gives the same faults for the same calls in the same order.
    """

    def __init__(self, seed: int = 0, rates: Mapping[Kind, float] = RATES) -> None:
        self.seed = seed
        self.rates = dict(rates)
        self.log: list[Fault] = []
        self._random = random.Random(seed)
        self._planned: list[Fault] = []
        self._calm = 0

    @classmethod
    def none(cls) -> "Faults":
        """No fault but those that are planned with `next`."""
        return cls(rates={})

    def wrap[Port](self, port: Port) -> Port:
        """The same port, badly connected."""
        return _Unreliable(port, self)  # type: ignore[return-value]

    def next(self, kind: Kind, method: str) -> None:
        """Plan a fault for the next call of a method that has none planned yet, also in `calm`."""
        self._planned.append(Fault(kind, method))

    @contextmanager
    def calm(self) -> Iterator[None]:
        self._calm += 1
        try:
            yield
        finally:
            self._calm -= 1

    def choose(self, method: str, possible: frozenset[Kind]) -> Kind | None:
        """Draw for one call: always as often, so that what is possible does not change what comes after."""
        drawn = [kind for kind in KINDS if self._random.random() < self.rates.get(kind, 0.0)]
        planned = next((fault for fault in self._planned if fault.method == method), None)
        if planned is not None:
            assert planned.kind in possible, f"{planned.kind} cannot happen to this {method}"
            self._planned.remove(planned)
            drawn = [planned.kind]
        elif self._calm:
            return None
        kind = next((kind for kind in drawn if kind in possible), None)
        if kind is not None:
            self.log.append(Fault(kind, method))
        return kind


class _Unreliable:
    def __init__(self, port: Any, faults: Faults) -> None:
        self._port = port
        self._faults = faults

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._port, name)
        if not callable(method) or name.startswith("_") or name == "aclose":
            return method

        async def call(*args: Any, **kwargs: Any) -> Any:
            kind = self._faults.choose(name, _possible(name, args, kwargs))
            match kind:
                case "before":
                    raise UnavailableError(f"{name}: fault before it was applied")
                case "lost":
                    await method(*args, **kwargs)
                    raise UnavailableError(f"{name}: fault after it was applied")
                case "conflict":
                    await self._lose(name, *args)
                    raise ConflictError(f"{name}: fault: somebody was faster")
                case "duplicate":
                    return await self._repeat(name, method, *args, **kwargs)
                case None:
                    return await method(*args, **kwargs)

        return call

    async def _lose(self, name: str, *args: Any) -> None:
        """Make the conflict true where a lock is concerned: it is lost, for good."""
        if name in ("settle", "renew"):
            await self._port.settle(args[0], "abandon")
        elif name == "extend":
            await self._port.release(args[0])

    async def _repeat(self, name: str, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if name == "settle":
            return await self._port.settle(args[0], "abandon")
        first = await method(*args, **kwargs)
        await method(*args, **kwargs)
        return first


def _possible(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> frozenset[Kind]:
    possible: set[Kind] = {"before", "lost"}
    match name:
        case "write":
            operations = args[1] if len(args) > 1 else kwargs["operations"]
            conditional = any(not isinstance(op, Put) or op.if_absent or op.if_match for op in operations)
            possible |= {"conflict"} if conditional else set()
        case "put":
            conditional = kwargs.get("if_absent") or kwargs.get("if_match") is not None
            possible |= {"conflict"} if conditional else set()
        case "renew" | "extend":
            possible |= {"conflict"}
        case "settle":
            outcome = args[1] if len(args) > 1 else kwargs["outcome"]
            possible |= {"conflict", "duplicate"} if outcome == "complete" else {"conflict"}
        case "send":
            possible |= {"duplicate"}
    return frozenset(possible)
