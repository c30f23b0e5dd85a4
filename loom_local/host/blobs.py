"""Blob triggers: each function is called for every version of every file in its container's folder, once.

As in Azure, a receipt of each call is kept, so that files which came while the host was down are found at its
start, and what was handled is not handled again. A call that fails is repeated, some times.
"""

import asyncio
import logging
import os
import re
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from pydantic import Field

from loom_core.errors import InvalidError, Problem
from loom_local.database import Database, Statement
from loom_local.host.blob_binding import Content, split_path, stream
from loom_local.host.containers import Changes, Container, Version
from loom_local.host.documents import Document, read
from loom_local.host.function import Function
from loom_local.host.functions import HandlerError
from loom_local.host.triggers import Invoke, finish, spawn

_log = logging.getLogger(__name__)

PAUSE = 0.5
"""Seconds between two looks at a folder. A file is taken once two looks found it the same."""
SHARE = 20
"""How much longer than a look the pause after it is: a large folder is looked at less often."""
BACKOFF = 1.0

_BEGIN = "INSERT OR REPLACE INTO blob_receipts VALUES (?, ?, ?, ?, ?, NULL)"
_END = "UPDATE blob_receipts SET outcome = ? WHERE function = ? AND container = ? AND name = ? AND etag = ?"
_FORGET = "DELETE FROM blob_receipts WHERE function = ? AND container = ? AND name = ?"
_RECALL = "SELECT name, etag, attempts, outcome FROM blob_receipts WHERE function = ? AND container = ?"


class BlobOptions(Document):
    """`extensions.blobs` of host.json, with Azure's defaults."""

    max_degree_of_parallelism: int = Field(8 * (os.cpu_count() or 1), ge=1, le=1_024, strict=True)
    poison_blob_threshold: int = Field(5, ge=1, strict=True)

    @classmethod
    def of(cls, host_json: Mapping[str, Any]) -> Self:
        """Raises InvalidError."""
        return read(cls, (host_json.get("extensions") or {}).get("blobs") or {}, "$.extensions.blobs")


@dataclass(slots=True)
class _Receipt:
    etag: str
    attempts: int
    outcome: str | None


@dataclass(slots=True, eq=False)
class _Trigger:
    function: Function
    container: str
    pattern: re.Pattern[str]
    receipts: dict[str, _Receipt] = field(default_factory=dict[str, _Receipt])

    def is_owed(self, name: str, version: Version) -> bool:
        receipt = self.receipts.get(name)
        done = receipt is not None and receipt.etag == version.etag and receipt.outcome is not None
        return not done and self.pattern.fullmatch(name) is not None


@dataclass(frozen=True, slots=True)
class _Work:
    trigger: _Trigger
    container: Container
    name: str
    version: Version


class BlobTriggers:
    """The blob functions of an app; the containers' folders lie in `app`. `start` once, `stop` once.

    The constructor raises InvalidError naming every function whose path is wrong.
    """

    def __init__(
        self,
        functions: Sequence[Function],
        invoke: Invoke,
        database: Database,
        *,
        app: Path,
        options: BlobOptions,
        pause: float = PAUSE,
        backoff: float = BACKOFF,
    ) -> None:
        self._invoke = invoke
        self._database = database
        self._app = app
        self._options = options
        self._pause = pause
        self._backoff = backoff
        self._triggers: list[_Trigger] = []
        problems: list[Problem] = []
        for function in functions:
            try:
                self._triggers.append(_Trigger(function, *split_path(str(function.trigger.get("path", "")))))
            except InvalidError as error:
                found = error.problems[0].message
                problems.append(Problem("$.path", f"blob function {function.name}: {found}"))
        if problems:
            raise InvalidError(problems)
        self._due: asyncio.Queue[_Work] = asyncio.Queue()
        self._looks = ThreadPoolExecutor(1, thread_name_prefix="blobs")
        self._loops: list[asyncio.Task[None]] = []
        self._calls: set[asyncio.Task[None]] = set()

    @property
    def folders(self) -> set[Path]:
        return {self._app / trigger.container for trigger in self._triggers}

    def start(self) -> None:
        """Look at the folders and call the functions, on the calling loop."""
        by_container: dict[str, list[_Trigger]] = {}
        for trigger in self._triggers:
            self._recall(trigger)
            by_container.setdefault(trigger.container, []).append(trigger)
        for name, triggers in by_container.items():
            known = {blob for trigger in triggers for blob in trigger.receipts}
            container = Container(self._app / name, known)
            self._loops.append(spawn(self._scan(container, triggers), f"container {name}"))
        self._loops.append(spawn(self._serve(), "blob functions"))

    async def stop(self, grace: float) -> None:
        """Start nothing more, and let what runs end within `grace` seconds; the rest comes again."""
        for task in self._loops:
            task.cancel()
        await finish([*self._loops, *self._calls], grace)
        self._looks.shutdown(wait=False, cancel_futures=True)

    async def _scan(self, container: Container, triggers: Sequence[_Trigger]) -> None:
        loop = asyncio.get_running_loop()
        while True:
            began = time.monotonic()
            changes = await loop.run_in_executor(self._looks, container.scan)
            await self._forget(triggers, changes)
            for name, version in changes.settled:
                for trigger in triggers:
                    if trigger.is_owed(name, version):
                        self._due.put_nowait(_Work(trigger, container, name, version))
            await asyncio.sleep(max(self._pause, SHARE * (time.monotonic() - began)))

    async def _serve(self) -> None:
        while True:
            work = await self._due.get()
            task = spawn(self._handle(work), f"blob function {work.trigger.function.name}")
            self._calls.add(task)
            task.add_done_callback(self._calls.discard)
            while len(self._calls) >= self._options.max_degree_of_parallelism:
                await asyncio.wait(self._calls, return_when=asyncio.FIRST_COMPLETED)

    async def _handle(self, work: _Work) -> None:
        file = work.container.open(work.name, work.version)
        if file is None:  # a newer version comes by itself
            return
        with file:
            attempt = await self._begin(work)
            if attempt <= self._options.poison_blob_threshold and await self._call(work, file, attempt):
                await self._end(work, "done")
            elif attempt >= self._options.poison_blob_threshold:
                await self._end(work, "poison")
                _log.error(
                    "blob function %s failed %d times on %s and is not called for this version of it again",
                    work.trigger.function.name,
                    self._options.poison_blob_threshold,
                    work.container.folder / work.name,
                )
            else:
                delay = self._backoff * 2 ** (attempt - 1)
                asyncio.get_running_loop().call_later(delay, self._due.put_nowait, work)

    async def _call(self, work: _Work, file: Any, attempt: int) -> bool:
        function, path = work.trigger.function, work.container.folder / work.name
        content = Content(file, work.version.size)
        given = stream(work.trigger.container, work.name, path, work.version, content)
        try:
            await self._invoke(function, given, kind="request")
        except HandlerError as failure:
            _log.error(
                "blob function %s failed on %s (attempt %d)",
                function.name,
                path,
                attempt,
                exc_info=failure.error,
            )
            return False
        return True

    async def _begin(self, work: _Work) -> int:
        """Count the attempt before it is made: a file that ends the host is poison, too."""
        etag, receipts = work.version.etag, work.trigger.receipts
        before = receipts.get(work.name)
        attempt = before.attempts + 1 if before is not None and before.etag == etag else 1
        receipts[work.name] = _Receipt(etag, attempt, None)
        await self._database.submit([(_BEGIN, (*_key(work.trigger, work.name), etag, attempt))])
        return attempt

    async def _end(self, work: _Work, outcome: str) -> None:
        etag, receipt = work.version.etag, work.trigger.receipts.get(work.name)
        if receipt is None or receipt.etag != etag:
            return
        receipt.outcome = outcome
        await self._database.submit([(_END, (outcome, *_key(work.trigger, work.name), etag))])

    async def _forget(self, triggers: Sequence[_Trigger], changes: Changes) -> None:
        rows = [
            _key(trigger, name)
            for name in changes.gone
            for trigger in triggers
            if trigger.receipts.pop(name, None) is not None
        ]
        if rows:
            forget: Statement = (_FORGET, [*rows])
            await self._database.submit([forget])

    def _recall(self, trigger: _Trigger) -> None:
        rows = self._database.reader().execute(_RECALL, (trigger.function.name, trigger.container))
        trigger.receipts.update({name: _Receipt(*receipt) for name, *receipt in rows})


def _key(trigger: _Trigger, name: str) -> tuple[str, str, str]:
    return trigger.function.name, trigger.container, name
