"""Serves batches of entity operations: loads the actor, runs them, writes its journal, answers the runtime.

The journal is written before the runtime commits the entity, in one transaction per batch. If the process
dies in between, the runtime runs the batch again, and what was written is overwritten: the entity knows how
far its journal counts. Nothing is raised to the runtime, which would drop the batch's messages.
"""

import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

from loom_core.actors.entity import UNKNOWN, Entity, World
from loom_core.errors import LoomError
from loom_core.journals.documents import Batch
from loom_core.journals.store import Journals
from loom_core.journals.turns import TurnStates
from loom_core.journals.view import shown
from loom_core.sdk import batches
from loom_core.wire.json import Json, dump

MAX_LATE: Final = 256 * 1024
"""Characters of journal that an entity keeps while the store cannot be written; then it serves no more."""
_LATE: Final = ("entries", "outbox", "published", "ids")
_log = logging.getLogger(__name__)


class Entities:
    """The entities of an app's actors."""

    def __init__(
        self, world: World, journals: Journals, turns: TurnStates, refer: Callable[[Json], Awaitable[Json]]
    ) -> None:
        self._world, self._journals, self._turns, self._refer = world, journals, turns, refer

    async def serve(self, body: str) -> str:
        """Serve an EntityBatchRequest with an EntityBatchResult, both in base64."""
        request = batches.read(body)
        _, kind, id_ = request.instance.split("@", 2)
        address = f"{self._world.types[kind].name}/{id_}"
        held: dict[str, Any] = request.state or {}
        entity = await self._open(address, held)
        results = [await self._operate(entity, *operation) for operation in request.operations]
        entity.finish()
        kept = await self._commit(entity, held)
        if entity.changes.begun:
            self._turns.keep(*entity.changes.begun)
        return batches.write(kept, results, entity.changes.signals, entity.changes.starts)

    async def _open(self, address: str, held: dict[str, Any]) -> Entity:
        document, late = held.get("document"), held.get("late", {})
        try:
            state = await self._journals.load(
                address, held.get("state"), document["seq"] if document else 0, late.get("entries", [])
            )
        except LoomError as error:
            _log.warning("%s only takes messages: %s", address, error)
            return Entity(self._world, address, document, UNKNOWN, time.time())
        entity = Entity(self._world, address, document, state, time.time())
        entity.closed = len(dump(late)) > MAX_LATE
        return entity

    async def _operate(self, entity: Entity, operation: str, taken: Any) -> Json | Exception:
        try:
            outcome = await entity.operate(operation, taken)
        except Exception as error:  # noqa: BLE001 - what else the batch has brought would be lost with it
            if not isinstance(error, LoomError):
                _log.exception("%s: %s", entity.address, operation)
            return error
        with suppress(LoomError):  # it has been done, and would be again if this failed
            outcome = await self._refer(outcome)
        return outcome

    async def _commit(self, entity: Entity, held: dict[str, Any]) -> dict[str, Any]:
        """Write the journal; the result is what the entity keeps, and with it what could not be written."""
        new = {name: getattr(entity.changes, name) for name in _LATE}
        late = {name: [*held.get("late", {}).get(name, []), *new[name]] for name in _LATE}
        kept = {"document": entity.document, "state": held.get("state")}
        put, deleted = entity.mailbox.chunks_put, entity.mailbox.chunks_deleted
        if not (put or deleted or any(late.values())):
            return kept
        base = entity.document["base"]
        batch = Batch(
            base=base,
            kept=held.get("state"),
            seq_before=late["entries"][0]["seq"] - 1 if late["entries"] else entity.document["seq"],
            head=shown(entity.address, entity.document),
            state=entity.state,
            chunks_put=put,
            chunks_deleted=deleted,
            **late,
        )
        written = None
        if entity.state is not UNKNOWN:
            try:
                written = await self._journals.commit(entity.address, batch)
            except LoomError as error:  # if it conflicts with another host, nobody takes this answer
                _log.warning("the journal of %s is late: %s", entity.address, error)
        if written is None:
            entity.keep()
            return {**kept, "late": late}
        entity.document["base"] = base + 1
        return {**kept, "state": written}
