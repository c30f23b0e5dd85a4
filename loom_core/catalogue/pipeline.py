"""One version of a pipeline, as the catalogue knows it."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from loom_core.catalogue.names import calls, routes
from loom_core.errors import Problem
from loom_core.notations import parse
from loom_core.pipelines.plan import Plan, Scatter, Wait
from loom_core.wire.json import Json, JsonObject, dump

type Source = Literal["shipped", "stored"]


@dataclass(frozen=True)
class Pipeline:
    """A definition and what parsing it told; `version` is its digest, `label` what its author calls it.

    `updated` is when a stored one was stored or, of the current one, became that: ISO 8601 in UTC.
    """

    name: str
    version: str
    definition: JsonObject
    label: str = ""
    notation: str = "stages"
    warnings: tuple[Problem, ...] = ()
    source: Source = "shipped"
    updated: str | None = None

    @cached_property
    def plan(self) -> Plan:
        """Raises InvalidError if this Loom does not accept what an earlier one stored."""
        return parse(self.definition)

    @cached_property
    def calls(self) -> dict[str, str]:
        """The pipelines it calls, as they are written, each with a path where it is."""
        return {name: path for path, kind, name in calls(self.plan, self.definition) if kind == "pipeline"}

    @cached_property
    def apart(self) -> frozenset[str]:
        """Those of them that run on their own, as an item or with a retry, where no event can reach them."""
        own = [stage for stage in self.plan.every_stage() if isinstance(stage.work, Scatter) or stage.retry]
        names = (target.name for stage in own for route in routes(stage) for target in route.names)
        return frozenset(self.calls.keys() & set(names))

    @cached_property
    def waits(self) -> bool:
        """Whether it waits for an event itself."""
        works = (stage.work for stage in self.plan.every_stage())
        return any(isinstance(work, Wait) and work.event is not None for work in works)

    @cached_property
    def size(self) -> int:
        return len(dump(self.definition))

    def document(self) -> dict[str, Json]:
        """All but the definition, as JSON."""
        return {
            "name": self.name,
            "version": self.version,
            "label": self.label,
            "notation": self.notation,
            "source": self.source,
            "updatedAt": self.updated,
            "warnings": [{"path": warning.path, "message": warning.message} for warning in self.warnings],
        }


def read(definition: JsonObject, source: Source = "shipped", updated: str | None = None) -> Pipeline:
    """Raises InvalidError with everything that is wrong with the definition."""
    plan = parse(definition)
    return Pipeline(
        plan.name, plan.version, definition, plan.label, plan.notation, plan.warnings, source, updated
    )


def named(written: str) -> tuple[str, str]:
    """The name and the version (empty: the current one) of a pipeline as it is written in a definition."""
    name, _, version = written.partition("@")
    return name, version
