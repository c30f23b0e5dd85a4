"""Versions of pipelines in a StateStore, and which of them is the current one of its name.

The partition "pipelines" has one document for each name, which says what is current. The partition
"pipeline:<name>" has the versions: `version:<digest>` whole, `stored:<time, descending>:<digest>` in brief
for listing the newest first, `label:<digest of the label>` leading to what was stored under it last.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final, cast

from loom_core.catalogue.pipeline import Pipeline
from loom_core.errors import ConflictError, NotFoundError, Problem
from loom_core.ports.state import Delete, Operation, Put, StateStore
from loom_core.wire.json import Json, JsonObject, digest

FRESH: Final = 2.0
"""Seconds that a process may go on with a current version that another process has replaced."""
MIN_DIGITS: Final = 8

_CURRENT: Final = "pipelines"
_KEPT: Final = 64
_END_OF_TIME: Final = 10**15


class StoredPipelines:
    """`clock` gives seconds since 1970, `ticks` seconds that never go back."""

    def __init__(self, store: StateStore, clock: Callable[[], float], ticks: Callable[[], float]) -> None:
        self._store, self._clock, self._ticks = store, clock, ticks
        self._current: OrderedDict[str, tuple[float, JsonObject | None]] = OrderedDict()
        self._versions: OrderedDict[str, Pipeline] = OrderedDict()
        self._writes = 0

    async def current(self, name: str) -> Pipeline | None:
        """The current version, at most FRESH seconds old."""
        until, brief = self._current.get(name, (0.0, None))
        if until <= self._ticks():
            writes = self._writes
            found = await self._store.read(_CURRENT, name)
            brief = found.body if found else None
            if writes == self._writes:  # else what was read may be what was just replaced
                self._remember(name, brief)
        return await self._whole(name, brief) if brief else None

    async def version(self, name: str, written: str) -> Pipeline | None:
        """The version of this digest, or of the one digest that begins so, or of this label.

        Raises NotFoundError for the beginning of several.
        """
        if MIN_DIGITS <= len(written) <= 64 and set(written) <= set("0123456789abcdef"):
            if len(written) == 64:
                return await self._version(name, written)
            found = await self._store.query(_versions(name), f"version:{written}", limit=2)
            if len(found) > 1:
                raise NotFoundError(f"several versions of {name!r} begin with {written}; give more digits")
            if found:
                return self._keep(_read(found[0].body))
        label = await self._store.read(_versions(name), _label(written))
        return await self._version(name, str(label.body["version"])) if label else None

    async def names(self, limit: int, after: str) -> list[JsonObject]:
        """The current versions in brief, by name."""
        return [found.body for found in await self._store.query(_CURRENT, limit=limit, after=after)]

    async def versions(self, name: str, limit: int, after: str) -> list[tuple[str, JsonObject]]:
        """Versions in brief, the newest first, each with what to go on `after`."""
        start = f"stored:{after}" if after else ""
        found = await self._store.query(_versions(name), "stored:", limit=limit, after=start)
        return [(document.id.removeprefix("stored:"), document.body) for document in found]

    async def put(
        self, pipeline: Pipeline, expected: Callable[[str | None], bool] | None
    ) -> tuple[Pipeline, bool]:
        """Store a version and make it current; answers it as it is now, and whether it is new.

        `expected` is asked whether the version that is current (None: no stored one) may be replaced. Raises
        ConflictError if not, or if another writer was faster than that answer.
        """
        before = await self._store.read(_CURRENT, pipeline.name)
        current = str(before.body["version"]) if before else None
        if expected is not None and not expected(current):
            raise ConflictError(f"the current version of {pipeline.name!r} is another one")
        if before is not None and current == pipeline.version:
            self._forget(pipeline.name)
            return await self._whole(pipeline.name, before.body), False
        pipeline = replace(pipeline, source="stored", updated=_iso(self._clock()))
        is_new = await self._put_version(pipeline)
        guard: dict[str, Any] = {}
        if expected is not None:
            guard = {"if_match": before.etag} if before else {"if_absent": True}
        await self._store.write(_CURRENT, [Put(pipeline.name, pipeline.document(), **guard)])
        self._forget(pipeline.name)
        return pipeline, is_new

    async def remove(self, name: str, expected: Callable[[str | None], bool] | None) -> bool:
        """Have no current version any more; False if there was none. Raises ConflictError as `put` does."""
        before = await self._store.read(_CURRENT, name)
        if expected is not None and not expected(str(before.body["version"]) if before else None):
            raise ConflictError(f"the current version of {name!r} is another one")
        if before is None:
            return False
        await self._store.write(_CURRENT, [Delete(name, if_match=before.etag)])
        self._forget(name)
        return True

    async def _put_version(self, pipeline: Pipeline) -> bool:
        brief = pipeline.document()
        label: list[Operation] = []
        if pipeline.label:
            label = [Put(_label(pipeline.label), {"label": pipeline.label, "version": pipeline.version})]
        order = f"{_END_OF_TIME - int(self._clock() * 1000):015}"
        whole = {**brief, "definition": pipeline.definition}
        new: list[Operation] = [
            Put(f"version:{pipeline.version}", whole, if_absent=True),
            Put(f"stored:{order}:{pipeline.version}", brief),
        ]
        try:
            await self._store.write(_versions(pipeline.name), new + label)
        except ConflictError:  # it was stored before; its label leads to it from now on
            if label:
                await self._store.write(_versions(pipeline.name), label)
            return False
        return True

    async def _whole(self, name: str, brief: JsonObject) -> Pipeline:
        version = str(brief["version"])
        found = await self._version(name, version)
        if found is None:
            raise NotFoundError(f"version {version} of {name!r} is gone from the store")
        return replace(found, updated=cast("str", brief["updatedAt"]))

    async def _version(self, name: str, version: str) -> Pipeline | None:
        if version not in self._versions:
            found = await self._store.read(_versions(name), f"version:{version}")
            return self._keep(_read(found.body)) if found else None
        self._versions.move_to_end(version)
        found = self._versions[version]
        return found if found.name == name else None

    def _keep(self, pipeline: Pipeline) -> Pipeline:
        self._versions[pipeline.version] = pipeline
        if len(self._versions) > _KEPT:
            self._versions.popitem(last=False)
        return pipeline

    def _forget(self, name: str) -> None:
        self._writes += 1
        self._current.pop(name, None)

    def _remember(self, name: str, brief: JsonObject | None) -> None:
        self._current[name] = (self._ticks() + FRESH, brief)
        self._current.move_to_end(name)
        if len(self._current) > 1_000:
            self._current.popitem(last=False)


def _versions(name: str) -> str:
    return f"pipeline:{name}"


def _label(label: str) -> str:
    return f"label:{digest(label)}"


def _iso(seconds: float) -> str:
    moment = datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)
    return f"{moment.isoformat(timespec='milliseconds')}Z"


def _read(body: Mapping[str, Json]) -> Pipeline:
    stored = cast("dict[str, Any]", body)
    return Pipeline(
        name=stored["name"],
        version=stored["version"],
        definition=stored["definition"],
        label=stored["label"],
        notation=stored["notation"],
        warnings=tuple(Problem(warning["path"], warning["message"]) for warning in stored["warnings"]),
        source="stored",
        updated=stored["updatedAt"],
    )
