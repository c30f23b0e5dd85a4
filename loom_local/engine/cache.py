"""Instances and entities in memory: everything that is doing something, and the most recent of the rest."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from loom_local.database import Database
from loom_local.engine.state import INSTANCE_COLUMNS, Entity, Instance


class Instances:
    """Orchestrations by id. What waits for days is read again from the file when something happens to it."""

    def __init__(self, database: Database, most: int) -> None:
        self._database = database
        self._most = most
        self._loaded: OrderedDict[str, Instance] = OrderedDict()

    def __len__(self) -> int:
        return len(self._loaded)

    def add(self, instance: Instance) -> None:
        self._loaded[instance.id] = instance

    def current(self, instance: Instance) -> bool:
        """Whether it is still the one of its id, and has not been purged or replaced."""
        return self._loaded.get(instance.id) is instance

    def loaded(self) -> list[Instance]:
        return list(self._loaded.values())

    def get(self, instance_id: str) -> Instance | None:
        """The instance with its history, or None when there is none; ended ones come without history."""
        instance = self._loaded.get(instance_id)
        if instance is None:
            instance = self._read(instance_id)
            if instance is not None and not instance.terminal:
                self._loaded[instance_id] = instance
        else:
            self._loaded.move_to_end(instance_id)
        return instance

    def peek(self, instance_id: str) -> Instance | None:
        """The instance if it is in memory."""
        return self._loaded.get(instance_id)

    def revive(self, instance: Instance) -> None:
        """Load the history of an ended instance that is to go on."""
        if not self.current(instance):
            self._read_history(instance)
            self._loaded[instance.id] = instance

    def release(self, instance: Instance) -> None:
        """Let go of what has ended, and of the longest idle when there are too many."""
        if instance.idle and instance.terminal:
            self.remove(instance)
        if len(self._loaded) > self._most:
            _evict(self._loaded, lambda each: each.idle)

    def remove(self, instance: Instance) -> None:
        if self.current(instance):
            del self._loaded[instance.id]

    def _read(self, instance_id: str) -> Instance | None:
        reader = self._database.reader()
        row = reader.execute(
            f"SELECT {INSTANCE_COLUMNS} FROM instances WHERE id = ?",
            (instance_id,),
        ).fetchone()
        if row is None:
            return None
        instance = Instance(*row, timed=True)
        if not instance.terminal:
            self._read_history(instance)
        return instance

    def _read_history(self, instance: Instance) -> None:
        steps = self._database.reader().execute(
            "SELECT step, count, events FROM history WHERE id = ? ORDER BY step", (instance.id,)
        )
        for step, count, events in steps:
            instance.history += events
            instance.events += count
            instance.steps = step + 1


class Entities:
    """Entities by id; one that is not in the file is new and empty."""

    def __init__(self, database: Database, most: int) -> None:
        self._database = database
        self._most = most
        self._loaded: OrderedDict[str, Entity] = OrderedDict()

    def __len__(self) -> int:
        return len(self._loaded)

    def get(self, entity_id: str) -> Entity:
        entity = self._loaded.get(entity_id)
        if entity is None:
            row = (
                self._database.reader()
                .execute(
                    "SELECT id, state, modified_at, locked_by, lock_parent FROM entities WHERE id = ?",
                    (entity_id,),
                )
                .fetchone()
            )
            entity = Entity(*row) if row else Entity(entity_id)
            self._loaded[entity_id] = entity
        else:
            self._loaded.move_to_end(entity_id)
        return entity

    def peek(self, entity_id: str) -> Entity | None:
        """The entity if it is in memory."""
        return self._loaded.get(entity_id)

    def trim(self) -> None:
        if len(self._loaded) > self._most:
            _evict(self._loaded, lambda each: each.idle)

    def remove(self, entity_id: str) -> None:
        self._loaded.pop(entity_id, None)


def _evict[T](loaded: OrderedDict[str, T], idle: Callable[[T], bool]) -> None:
    """Drop a few of the longest unused idle ones, looking at a bounded number so that a step stays O(1)."""
    for key in list(_first(loaded, 16)):
        if idle(loaded[key]):
            del loaded[key]
        else:
            loaded.move_to_end(key)


def _first(loaded: OrderedDict[str, Any], count: int) -> list[str]:
    keys = iter(loaded)
    return [key for key, _ in zip(keys, range(count), strict=False)]
