"""Entity locks: which orchestration holds which entities, and giving back what an ended one still holds."""

from collections import defaultdict
from typing import TYPE_CHECKING

from loom_local.engine.protocol import event, pb, text
from loom_local.engine.state import Entity

if TYPE_CHECKING:
    from loom_local.engine.engine import Engine
    from loom_local.engine.transaction import Transaction


class Locks:
    """The holders in memory; the truth is in each entity's row."""

    def __init__(self) -> None:
        self._held: defaultdict[str, set[str]] = defaultdict(set)

    def hold(self, parent: str, entity_id: str) -> None:
        self._held[parent].add(entity_id)

    def let_go(self, parent: str, entity_id: str) -> None:
        held = self._held.get(parent)
        if held is not None:
            held.discard(entity_id)
            if not held:
                del self._held[parent]

    def held_by(self, parent: str) -> list[str]:
        return sorted(self._held.get(parent, ()))

    def parents(self) -> list[str]:
        return list(self._held)


def acquire(engine: "Engine", entity: Entity, request: pb.EntityLockRequestedEvent) -> None:
    entity.locked_by = request.criticalSectionId
    entity.lock_parent = request.parentInstanceId.value
    engine.locks.hold(entity.lock_parent, entity.id)


def release(engine: "Engine", entity: Entity) -> None:
    """Unlock, and make what was held back the first in the queue again, in its order."""
    if entity.lock_parent is not None:
        engine.locks.let_go(entity.lock_parent, entity.id)
    entity.locked_by = entity.lock_parent = None
    entity.inbox.extendleft(reversed(entity.blocked))
    entity.blocked.clear()


def release_locks(engine: "Engine", transaction: "Transaction", instance_id: str) -> int:
    """Unlock whatever an instance holds; returns how many entities that were.

    The SDK forgets to unlock an entity when a critical section ends before a call to it was awaited.
    """
    held = engine.locks.held_by(instance_id)
    for entity_id in held:
        entity = engine.entities.get(entity_id)
        unlock = pb.EntityUnlockSentEvent(
            criticalSectionId=entity.locked_by or "",
            parentInstanceId=text(instance_id),
            targetInstanceId=text(entity_id),
        )
        transaction.send(entity_id, event(transaction.now, entityUnlockSent=unlock))
    return len(held)
