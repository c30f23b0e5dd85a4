"""File watches: which runs wait for which files, and who is told when a file arrives.

A watch is a document of the StateStore. Its id begins with what is certain about the paths it is for (a
path, or the folder before the first `*`), so that a file finds its watches without looking at all of them.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from typing import Any, Final, Literal, Protocol, cast

from loom_core.activities import activity
from loom_core.clients.runs import Runs
from loom_core.errors import ConflictError, InvalidError, NotFoundError, Problem, UnavailableError
from loom_core.ports.state import MAX_QUERIED, Delete, Document, Put, StateStore
from loom_core.wire.json import JsonObject, digest

CONTAINER: Final = "inbox"
MAX_WATCHES: Final = 10_000
MAX_PATH: Final = 1_024
MAX_DEPTH: Final = 32

_PARTITION: Final = "watches"
_COUNTED_EVERY: Final = 100
_CHECKED: Final = 5
_AT_ONCE: Final = 16


class File(Protocol):
    """What a blob trigger is given; the content is never read."""

    @property
    def name(self) -> str | None: ...
    @property
    def length(self) -> int | None: ...


def source(environment: Mapping[str, str]) -> Literal["EventGrid", "LogsAndContainerScan"]:
    """How Azure finds new blobs: it polls, which needs nothing set up, but Flex Consumption refuses to."""
    return "EventGrid" if environment.get("WEBSITE_SKU") == "FlexConsumption" else "LogsAndContainerScan"


def check_pattern(path: str) -> None:
    """Refuse what is not a path in the container.

    `orders/a.json` is one file, `orders/*.json` has `*` for anything within a name, and `orders/` is whatever
    is in the folder and the folders in it. Raises InvalidError with every problem.
    """
    parts = path.removesuffix("/").split("/")
    wrong = {
        f"has more than {MAX_PATH} characters": len(path) > MAX_PATH,
        f"has more than {MAX_DEPTH} folders": len(parts) > MAX_DEPTH,
        "has a part that is empty, `.` or `..`": not {"", ".", ".."}.isdisjoint(parts),
        "has `**`; a folder with a `/` at its end stands for all that is in it": "**" in path,
        "has characters that cannot be printed": not path.isprintable(),
    }
    if problems := [Problem("$.path", f"the path {text}") for text, is_so in wrong.items() if is_so]:
        raise InvalidError(problems)


def matches(pattern: str, path: str) -> bool:
    """Whether a pattern that `check_pattern` takes is for this path; in time linear in both."""
    wanted, given = pattern.split("/"), path.split("/")
    if wanted[-1] == "":
        wanted.pop()
        if len(given) <= len(wanted):
            return False
    elif len(given) != len(wanted):
        return False
    return all(map(_part_matches, wanted, given))


def _part_matches(pattern: str, text: str) -> bool:
    first, *between = pattern.split("*")
    if not between:
        return pattern == text
    last = between.pop()
    at, end = len(first), len(text) - len(last)
    if at > end or not text.startswith(first) or not text.endswith(last):
        return False
    for part in between:
        found = text.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True


class Watches:
    """The watches of an app."""

    def __init__(self, state: StateStore) -> None:
        self._state = state
        self._room = 0

    @property
    def activity(self) -> Callable[..., Any]:
        """`loom.watch`: takes `{"run", "path", "event"}`, and returns when the watch is kept."""

        @activity("loom.watch")
        async def watch(run: str, path: str, event: str) -> None:
            await self.watch(run, path, event)

        return watch

    async def watch(self, run: str, path: str, event: str) -> None:
        """Raise `event` to `run` for each file that comes to `path` from now on; again changes nothing.

        Raises InvalidError for a path that is none, UnavailableError while there are too many watches.
        """
        check_pattern(path)
        if len(run) + len(event) > 2 * MAX_PATH:
            raise InvalidError([Problem("$.event", f"the name has more than {MAX_PATH} characters")])
        id_ = f"{_hash(_anchor(path))}-{_hash([run, event, path])}"
        if await self._state.read(_PARTITION, id_) is not None:
            return
        if self._room <= 0:
            # Counting walks over all of them: once for many new ones, at the price of an inexact limit.
            self._room = min(_COUNTED_EVERY, MAX_WATCHES - await self._count())
        if self._room <= 0:
            raise UnavailableError(f"{MAX_WATCHES} files are waited for already; let some of these runs end")
        self._room -= 1
        await self._state.write(_PARTITION, [Put(id_, {"run": run, "event": event, "path": path})])

    async def changed(self, file: File, runs: Runs) -> None:
        """Raise the event of every watch that the file is for, with `{"path", "etag", "size"}`.

        Watches of runs that have ended or are gone are given up; a few others are looked at for that, too.
        What `runs` raises otherwise comes through: then the file is to be told again.
        """
        path = (file.name or "").partition("/")[2]
        properties = cast("dict[str, Any]", getattr(file, "blob_properties", None) or {})
        etag = properties.get("ETag")
        payload: JsonObject = {
            "path": path,
            "etag": etag if isinstance(etag, str) else None,
            "size": file.length or 0,
        }
        turns = asyncio.Semaphore(_AT_ONCE)

        async def tell(watch: Document) -> None:
            async with turns, self._unless_ended(watch):
                await runs.raise_event(str(watch.body["run"]), str(watch.body["event"]), payload)

        told = await asyncio.gather(*[tell(watch) async for watch in self._for(path)], return_exceptions=True)
        if failures := [error for error in told if error is not None]:
            raise failures[0]
        await self._look_after_some(_hash([path, etag]), runs)

    async def _look_after_some(self, after: str, runs: Runs) -> None:
        for watch in await self._state.query(_PARTITION, limit=_CHECKED, after=after):
            async with self._unless_ended(watch):
                run = await runs.get(str(watch.body["run"]))
                if run.is_finished:
                    raise ConflictError(f"{run.id} is {run.status}")

    @contextlib.asynccontextmanager
    async def _unless_ended(self, watch: Document) -> AsyncGenerator[None]:
        try:
            yield
        except (NotFoundError, ConflictError):
            with contextlib.suppress(ConflictError):  # somebody else has deleted it
                await self._state.write(_PARTITION, [Delete(watch.id)])

    async def _for(self, path: str) -> AsyncIterator[Document]:
        parts = path.split("/")
        folders = ["/".join([*parts[:depth], ""]) for depth in range(min(len(parts), MAX_DEPTH))]
        for anchor in dict.fromkeys([*folders, path]):  # a name may end with a `/`
            async for watch in self._all(f"{_hash(anchor)}-"):
                if matches(str(watch.body["path"]), path):
                    yield watch

    async def _count(self) -> int:
        return len([None async for _ in self._all("")])

    async def _all(self, prefix: str) -> AsyncIterator[Document]:
        after = ""
        while page := await self._state.query(_PARTITION, prefix, after=after):
            for watch in page:
                yield watch
            if len(page) < MAX_QUERIED:
                return
            after = page[-1].id


def _anchor(pattern: str) -> str:
    """The path of one file, or the folder (with its `/`) in which all that the pattern is for must be."""
    certain, star, _ = pattern.partition("*")
    return certain[: certain.rfind("/") + 1] if star else pattern


def _hash(value: Any) -> str:
    return digest(value)[:32]
