"""Everything a pipeline calls that is a pipeline too, and what these call."""

from collections.abc import Collection, Generator
from typing import Final

from loom_core.catalogue.names import unknown
from loom_core.catalogue.pipeline import Pipeline
from loom_core.errors import InvalidError, Problem
from loom_core.wire.json import JsonObject

MAX_NESTED: Final = 8
MAX_LIBRARY: Final = 64
MAX_LIBRARY_BYTES: Final = 1024 * 1024

type Search[Result] = Generator[str, Pipeline | None, Result]
"""Yields each pipeline it needs, once and as it is written; is sent what that is, or None."""


class Closure:
    """The pipelines that a run of `root` may call, by how they are written, and all that is wrong with them.

    Every problem is told at the stage of the root that leads to it. `known` are names to guess from.
    """

    def __init__(self, root: Pipeline, known: Collection[str] = ()) -> None:
        self.found: dict[str, Pipeline | None] = {}
        self.problems: list[Problem] = []
        self._root, self._known = root, known
        self._heights: dict[tuple[str, bool], int] = {}

    @property
    def library(self) -> dict[str, JsonObject]:
        return {name: pipeline.definition for name, pipeline in self.found.items() if pipeline is not None}

    def search(self) -> Search[None]:
        """Find them: depth first, each version once."""
        yield from self._visit((self._root,), "")
        size = sum(pipeline.size for pipeline in self.found.values() if pipeline is not None)
        if len(self.found) > MAX_LIBRARY:
            self._refuse("$", f"calls more than {MAX_LIBRARY} pipelines, counting those that these call")
        if size > MAX_LIBRARY_BYTES:
            message = f"the pipelines it calls have {size} bytes in all; {MAX_LIBRARY_BYTES} are allowed"
            self._refuse("$", message)

    def _visit(self, chain: tuple[Pipeline, ...], at: str, *, apart: bool = False) -> Search[int]:
        """Look at what the last of the chain calls; the result is how deep pipelines are nested below it."""
        height = 0
        for written, place in self._calls(chain, at):
            alone = apart or written in chain[-1].apart
            if written not in self.found:
                if len(self.found) > MAX_LIBRARY:
                    break
                self.found[written] = yield written
            called = self.found[written]
            if called is None:
                by = f"the pipeline {chain[-1].name!r} calls what is not there: " if at else ""
                self._refuse(place, by + unknown("pipeline", written, self._known))
            elif any(one.version == called.version for one in chain):
                self._refuse(place, f"pipelines that call each other: {_spelled(chain, called)}")
            elif len(chain) + self._heights.get((called.version, alone), 0) > MAX_NESTED:
                self._refuse(place, f"nested more than {MAX_NESTED} deep: {_spelled(chain, called)}")
            else:
                if alone and called.waits:
                    message = "waits for an event, which reaches none that is called per item or again"
                    self._refuse(place, f"the pipeline {called.name!r} {message}")
                walked = (called.version, alone)
                if walked not in self._heights:
                    self._heights[walked] = yield from self._visit((*chain, called), place, apart=alone)
                height = max(height, 1 + self._heights[walked])
        return height

    def _calls(self, chain: tuple[Pipeline, ...], at: str) -> list[tuple[str, str]]:
        try:
            return [(written, at or place) for written, place in chain[-1].calls.items()]
        except InvalidError as error:
            self._refuse(at or "$", f"the pipeline {chain[-1].name!r} is not accepted: {error}")
            return []

    def _refuse(self, path: str, message: str) -> None:
        problem = Problem(path, message)
        if problem not in self.problems:
            self.problems.append(problem)


def _spelled(chain: tuple[Pipeline, ...], called: Pipeline) -> str:
    return " -> ".join(pipeline.name for pipeline in (*chain, called))
