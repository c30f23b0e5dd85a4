"""What clients may ask of the engine. Each returns after the commit; a refusal changes nothing."""

import uuid
from collections.abc import Collection
from typing import TYPE_CHECKING

from loom_local.engine.locks import release_locks
from loom_local.engine.protocol import FAILED, TERMINAL, event, pb, text
from loom_local.engine.rewind import request_rewind
from loom_local.engine.state import Instance, is_entity

if TYPE_CHECKING:
    from loom_local.engine.engine import Engine
    from loom_local.engine.transaction import Transaction


class AlreadyExistsError(Exception):
    pass


class InvalidIdError(ValueError):
    """An instance cannot have this id."""


class NoSuchInstanceError(Exception):
    pass


class WrongStateError(Exception):
    """The instance is in a state in which this cannot be done."""


class Operations:
    def __init__(self, engine: "Engine") -> None:
        self._engine = engine

    async def start(
        self,
        instance_id: str,
        name: str,
        encoded: str | None,
        version: str | None,
        *,
        tags: dict[str, str],
        at: float | None,
        replaceable: Collection[int] = TERMINAL,
    ) -> str:
        """Start an orchestration and return its id, a new one if `instance_id` is empty.

        Raises AlreadyExistsError unless an instance of that id is in one of the `replaceable` states, and
        InvalidIdError for the id of an entity.
        """
        if is_entity(instance_id):
            raise InvalidIdError(
                f"'{instance_id}' cannot be an instance: ids that begin with @ are entities'."
            )
        existing = self._engine.instances.get(instance_id) if instance_id else None
        transaction = self._engine.transaction()
        if existing is not None:
            if existing.status not in replaceable:
                await _on_disk(existing)
                raise AlreadyExistsError(
                    f"An Orchestration instance with the ID {instance_id} already exists."
                )
            if not existing.terminal:
                self._engine.steps.end(existing, transaction, None)
        started = transaction.start(
            instance_id or uuid.uuid4().hex,
            name,
            encoded,
            version,
            tags=tags,
            at=at,
            replaces=existing is not None,
        )
        await transaction.commit()
        return started.id

    async def raise_event(self, instance_id: str, name: str, encoded: str | None) -> None:
        raised = pb.EventRaisedEvent(name=name, input=text(encoded))
        await self._post(instance_id, "raise an event for", eventRaised=raised)

    async def suspend(self, instance_id: str, reason: str | None) -> None:
        suspended = pb.ExecutionSuspendedEvent(input=text(reason))
        await self._post(instance_id, "suspend", executionSuspended=suspended)

    async def resume(self, instance_id: str, reason: str | None) -> None:
        resumed = pb.ExecutionResumedEvent(input=text(reason))
        await self._post(instance_id, "resume", executionResumed=resumed)

    async def terminate(self, instance_id: str, output: str | None, *, recursive: bool) -> None:
        """End an instance at its next step, with what it started if `recursive`."""
        instance = await self._live(instance_id, "terminate")
        terminated = pb.ExecutionTerminatedEvent(input=text(output), recurse=recursive)
        transaction = self._engine.transaction()
        if instance.begun:
            transaction.send(instance_id, event(transaction.now, executionTerminated=terminated))
        else:
            self._engine.steps.end(instance, transaction, output)
        await transaction.commit()

    async def rewind(self, instance_id: str, reason: str) -> None:
        """Run the failed steps of a failed instance again."""
        transaction = self._engine.transaction()
        instance = self._engine.instances.get(instance_id)
        if instance is None:
            raise NoSuchInstanceError(f"No instance with ID '{instance_id}' was found.")
        if instance.status != FAILED:
            await _on_disk(instance)
            raise WrongStateError(f"The instance '{instance_id}' has not failed, so it cannot be rewound.")
        request_rewind(self._engine, transaction, instance, reason)
        await transaction.commit()

    async def restart(self, instance_id: str, *, with_new_id: bool) -> str:
        """Start an instance again with its input; returns the id of the new execution."""
        instance = self._engine.instances.get(instance_id)
        if instance is None:
            raise NoSuchInstanceError(f"No instance with ID '{instance_id}' was found.")
        if not instance.terminal and not with_new_id:
            raise WrongStateError(f"The instance '{instance_id}' is still running and cannot be restarted.")
        await _on_disk(instance)
        reader = self._engine.database.reader()
        row = reader.execute("SELECT input FROM inputs WHERE id = ?", (instance_id,)).fetchone()
        new_id = uuid.uuid4().hex if with_new_id else instance_id
        return await self.start(new_id, instance.name, row and row[0], instance.version, tags={}, at=None)

    async def signal(
        self,
        entity_id: str,
        operation: str,
        encoded: str | None,
        request_id: str,
        at: float | None,
    ) -> None:
        """Send an operation to an entity; a request id that was seen lately is not sent again."""
        known = self._engine.requests.parse(request_id)
        if known is not None and not self._engine.requests.remember(known):
            # The first request may still be on its way to the disk: answer no sooner than it.
            await self._engine.database.submit([])
            return
        signal = pb.EntityOperationSignaledEvent(
            requestId=request_id, operation=operation, input=text(encoded), targetInstanceId=text(entity_id)
        )
        transaction = self._engine.transaction()
        sent = event(transaction.now, entityOperationSignaled=signal)
        transaction.send(entity_id, sent, visible_at=at, request_id=known)
        await transaction.commit()

    async def purge(self, instance_ids: Collection[str]) -> int:
        """Remove ended instances with all that is kept of them; returns how many there were."""
        for instance_id in instance_ids:
            if loaded := self._engine.instances.peek(instance_id):
                await _on_disk(loaded)  # else it could be read again as it was before its end
        transaction = self._engine.transaction()
        purged = 0
        for instance_id in instance_ids:
            instance = self._engine.instances.get(instance_id)
            if instance is None or not instance.terminal or not instance.settled:
                continue
            purged += 1
            self._engine.instances.remove(instance)
            for table in ("instances", "inputs", "history"):
                transaction.execute(f"DELETE FROM {table} WHERE id = ?", instance_id)
        await transaction.commit()
        return purged

    async def clean_entities(self, *, remove_empty: bool, release_orphaned: bool) -> tuple[int, int]:
        """Returns how many empty entities were removed and how many orphaned locks released."""
        engine = self._engine
        transaction = engine.transaction()
        removed = released = 0
        if release_orphaned:
            for parent in engine.locks.parents():
                holder = engine.instances.get(parent)
                if holder is None or holder.terminal:
                    released += release_locks(engine, transaction, parent)
        if remove_empty:
            empty = engine.database.reader().execute(
                "SELECT id FROM entities WHERE state IS NULL AND locked_by IS NULL"
            )
            for (entity_id,) in empty.fetchall():
                loaded = engine.entities.peek(entity_id)
                if loaded is None or (loaded.idle and loaded.state is None):
                    engine.entities.remove(entity_id)
                    transaction.execute("DELETE FROM entities WHERE id = ?", entity_id)
                    removed += 1
        await transaction.commit()
        return removed, released

    async def _live(self, instance_id: str, verb: str) -> Instance:
        instance = self._engine.instances.get(instance_id)
        if instance is None:
            raise NoSuchInstanceError(f"No instance with ID '{instance_id}' was found.")
        if instance.terminal:
            await _on_disk(instance)
            state = pb.OrchestrationStatus.Name(instance.status).removeprefix("ORCHESTRATION_STATUS_").title()
            raise WrongStateError(
                f"Cannot {verb} orchestration instance '{instance_id}' because it is in the {state} state."
            )
        return instance

    async def _post(self, instance_id: str, verb: str, **kind: object) -> None:
        await self._live(instance_id, verb)
        transaction: Transaction = self._engine.transaction()
        transaction.send(instance_id, event(transaction.now, **kind))
        await transaction.commit()


async def _on_disk(instance: Instance) -> None:
    """Wait until the disk knows of the instance what memory knows: a refusal is an answer too."""
    if instance.last_commit is not None:
        await instance.last_commit
