"""All pipelines of an app by name: what was stored goes before what is shipped."""

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from loom_core.catalogue.closure import Closure, Search
from loom_core.catalogue.names import Known, check, unknown
from loom_core.catalogue.pipeline import Pipeline, named, read
from loom_core.catalogue.shipped import is_version
from loom_core.catalogue.stored import StoredPipelines
from loom_core.errors import ConflictError, InvalidError, NotFoundError, Problem
from loom_core.ports.state import StateStore
from loom_core.schema import Schema
from loom_core.wire.json import Json, JsonObject

type Expected = Callable[[str | None], bool]
"""Whether the version that is current (None: there is none) may be replaced."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True, slots=True)
class Page:
    """Some pipelines in brief; `next` continues the listing and is None at its end."""

    pipelines: tuple[JsonObject, ...]
    next: str | None


class Catalogue:
    """Every method raises UnavailableError when the store cannot be reached."""

    def __init__(
        self,
        shipped: Mapping[str, Pipeline],
        there: Known,
        store: StateStore,
        *,
        clock: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self.shipped = shipped
        self._there = there
        self._stored = StoredPipelines(store, clock, ticks)

    async def get(self, name: str, version: str | None = None) -> Pipeline:
        """The current version, or the one of this label or of 8 digits and more of the digest.

        Raises NotFoundError.
        """
        found = await self._find(name, version or "")
        if found is None and version and await self._find(name, ""):
            raise NotFoundError(f"the pipeline {name!r} has no version {version!r}")
        if found is None:
            names = sorted({*self.shipped, *(str(one["name"]) for one in await self._stored.names(100, ""))})
            more = ", …" if len(names) > 20 else ""
            there = f"there are: {', '.join(names[:20])}{more}" if names else "there are none"
            raise NotFoundError(f"{unknown('pipeline', name, names)}; {there}")
        return found

    async def page(self, limit: int, after: str) -> Page:
        """The current versions, by name."""
        stored = {str(one["name"]): one for one in await self._stored.names(limit + 1, after)}
        shipped = {name: one.document() for name, one in self.shipped.items() if name > after}
        found = sorted((shipped | stored).items())
        return Page(
            tuple(one for _, one in found[:limit]), found[limit - 1][0] if limit < len(found) else None
        )

    async def versions(self, name: str, limit: int, after: str) -> Page:
        """The versions of a pipeline, the newest first and the shipped one last. Raises NotFoundError."""
        found = await self._stored.versions(name, limit + 1, after) if _NAME.fullmatch(name) else []
        shipped = self.shipped.get(name)
        if shipped is not None and await self._stored.version(name, shipped.version):
            shipped = None
        briefs = tuple(brief for _, brief in found[:limit])
        if len(found) > limit or (shipped and len(briefs) == limit):
            return Page(briefs, found[limit - 1][0])
        if shipped is not None:
            briefs += (shipped.document(),)
        if not briefs and not after:
            await self.get(name)
        return Page(briefs, None)

    async def put(
        self, name: str, definition: Json, expected: Expected | None = None
    ) -> tuple[Pipeline, bool]:
        """Store a version and make it current; answers it, and whether it is new.

        Raises InvalidError with everything that is wrong with it, what it calls included, and ConflictError
        if what is current is not what was expected.
        """
        plan, problems = check(definition, self._there)
        given = definition.get("name") if isinstance(definition, Mapping) else None
        if isinstance(given, str) and given != name:
            problems.append(Problem("$.name", f"is {given!r}, but it is to be stored as {name!r}"))
        if plan and isinstance(definition, Mapping):
            problems += schema_problems(plan.input_schema)
            pipeline = read(definition)
            problems += (await self._closure(pipeline, stands_for={name: pipeline})).problems
            if not problems:
                return await self._stored.put(pipeline, expected and self._or_shipped(name, expected))
        raise InvalidError(problems)

    async def remove(self, name: str, expected: Expected | None = None) -> None:
        """Go back to the shipped pipeline, or to none; every version is kept.

        Raises NotFoundError if none is stored, and ConflictError as `put` does.
        """
        guard = expected and self._or_shipped(name, expected)
        if not _NAME.fullmatch(name) or not await self._stored.remove(name, guard):
            where = "is shipped with the app, and none is stored" if name in self.shipped else "is not stored"
            raise NotFoundError(f"the pipeline {name!r} {where}")

    async def library(self, pipeline: Pipeline) -> dict[str, JsonObject]:
        """The definitions of all pipelines that a run of this one may call, by how they are written.

        Raises ConflictError if these, which may have changed since, do not go together any more.
        """
        if not pipeline.calls:
            return {}
        closure = await self._closure(pipeline, {})
        if closure.problems:
            raise ConflictError(f"{pipeline.name!r} cannot run: {'; '.join(map(str, closure.problems))}")
        return closure.library

    async def _closure(self, root: Pipeline, stands_for: Mapping[str, Pipeline]) -> Closure:
        closure = Closure(root, self.shipped)
        await self._answer(closure.search(), stands_for)
        return closure

    async def _answer(self, search: Search[None], stands_for: Mapping[str, Pipeline]) -> None:
        found: Pipeline | None = None
        while True:
            try:
                written = search.send(found)
            except StopIteration:
                return
            found = stands_for.get(written) or await self._named(written)

    async def _named(self, written: str) -> Pipeline | None:
        name, version = named(written)
        try:
            return await self._find(name, version)
        except NotFoundError:
            return None

    async def _find(self, name: str, version: str) -> Pipeline | None:
        if not _NAME.fullmatch(name) or len(version) > 128:
            return None
        shipped = self.shipped.get(name)
        if not version:
            return await self._stored.current(name) or shipped
        found = await self._stored.version(name, version)
        return found or (shipped if shipped and is_version(shipped, version) else None)

    def _or_shipped(self, name: str, expected: Expected) -> Expected:
        shipped = self.shipped.get(name)
        return lambda stored: expected(stored or (shipped.version if shipped else None))


def schema_problems(schema: Json) -> list[Problem]:
    """What is wrong with the JSON Schema of a pipeline's input."""
    if not isinstance(schema, dict | bool):
        return []
    try:
        _ = Schema(schema).validator
    except InvalidError as error:
        return [Problem("$.input", problem.message) for problem in error.problems]
    return []
