"""Reading: always what is committed, always a page at a time."""

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loom_local.database.database import Value
from loom_local.engine.protocol import TERMINAL, events_of, pb
from loom_local.engine.state import INSTANCE_COLUMNS, Instance

if TYPE_CHECKING:
    from loom_local.engine.engine import Engine
    from loom_local.engine.waiters import Condition

LARGEST_PAGE = 1_000
_COLUMNS = ", ".join(f"i.{column}" for column in INSTANCE_COLUMNS.split(", "))


@dataclass(frozen=True, slots=True)
class Seen:
    """An instance as it was committed, with its input (JSON) when that was asked for."""

    instance: Instance
    input: str | None


@dataclass(frozen=True, slots=True)
class EntityRow:
    id: str
    state: str | None
    modified_at: float
    locked_by: str | None
    backlog: int


@dataclass(frozen=True, slots=True)
class InstanceFilter:
    statuses: Collection[int] = ()
    created_from: float | None = None
    created_to: float | None = None
    prefix: str = ""


class BadTokenError(Exception):
    """A continuation token that this engine has not given out."""


class Queries:
    def __init__(self, engine: "Engine") -> None:
        self._engine = engine

    async def instance(self, instance_id: str, *, with_input: bool) -> Seen | None:
        loaded = self._engine.instances.peek(instance_id)
        if loaded is not None and loaded.last_commit is not None:
            await loaded.last_commit
        row = self._row(instance_id)
        if row is None:
            return None
        return Seen(row, self._input(instance_id) if with_input else None)

    async def wait(self, instance_id: str, condition: "Condition", *, with_input: bool) -> Seen | None:
        """The instance when `condition` holds, or None when there is no such instance."""
        while True:
            seen = await self.instance(instance_id, with_input=with_input)
            if seen is None or condition(seen.instance):
                return seen
            loaded = self._engine.instances.peek(instance_id)
            if loaded is None or loaded.settled:
                break  # the next change will be noticed
        instance = await self._engine.waiters.wait(instance_id, condition)
        return Seen(instance, self._input(instance_id) if with_input else None)

    def instances(
        self, wanted: InstanceFilter, *, limit: int, token: str | None, with_input: bool
    ) -> tuple[list[Seen], str | None]:
        """One page in order of creation, and the token of the next one."""
        limit = min(limit or LARGEST_PAGE, LARGEST_PAGE)
        where, values = _where(wanted)
        if token:
            created, last = _parse_token(token)
            where.append("(i.created_at, i.id) > (?, ?)")
            values += [created, last]
        joined, extra = ("LEFT JOIN inputs n ON n.id = i.id", ", n.input") if with_input else ("", ", NULL")
        rows = (
            self._engine.database.reader()
            .execute(
                f"SELECT {_COLUMNS}{extra} FROM instances i {joined} WHERE {' AND '.join(where)} "
                "ORDER BY i.created_at, i.id LIMIT ?",
                (*values, limit + 1),
            )
            .fetchall()
        )
        page = [Seen(Instance(*row[:16]), row[16]) for row in rows[:limit]]
        more = len(rows) > limit
        last_seen = page[-1].instance if more else None
        return page, json.dumps([last_seen.created_at, last_seen.id]) if last_seen else None

    def ended_ids(
        self, statuses: Collection[int], ended: tuple[float | None, float | None], *, limit: int, after: str
    ) -> tuple[list[str], str | None]:
        """One page of the ids of ended instances in order of id, and the id to go on after."""
        limit = min(limit or LARGEST_PAGE, LARGEST_PAGE)
        where = [f"status IN ({_ints(set(statuses) & TERMINAL or TERMINAL)})", "id > ?"]
        values: list[Value] = [after]
        _between(where, values, "completed_at", *ended)
        rows = (
            self._engine.database.reader()
            .execute(
                f"SELECT id FROM instances WHERE {' AND '.join(where)} ORDER BY id LIMIT ?",
                (*values, limit + 1),
            )
            .fetchall()
        )
        ids = [row[0] for row in rows[:limit]]
        return ids, ids[-1] if len(rows) > limit else None

    def to_purge(self, wanted: InstanceFilter, limit: int = LARGEST_PAGE) -> list[str]:
        """The ids of up to `limit` ended instances that the filter takes."""
        where, values = _where(wanted)
        where.append(f"i.status IN ({_ints(TERMINAL)})")
        rows = self._engine.database.reader().execute(
            f"SELECT i.id FROM instances i WHERE {' AND '.join(where)} LIMIT ?",
            (*values, limit),
        )
        return [row[0] for row in rows]

    def children(self, instance_id: str) -> list[str]:
        """The ids of the sub-orchestrations of an instance."""
        rows = self._engine.database.reader().execute(
            "SELECT id FROM instances WHERE parent_id = ?", (instance_id,)
        )
        found = {row[0] for row in rows}
        found |= {each.id for each in self._engine.instances.loaded() if each.parent_id == instance_id}
        return sorted(found)

    def history(self, instance_id: str) -> Iterator[list[pb.HistoryEvent]]:
        """The events of the current execution, a step at a time."""
        rows = self._engine.database.reader().execute(
            "SELECT events FROM history WHERE id = ? ORDER BY step", (instance_id,)
        )
        for (events,) in rows.fetchall():
            yield events_of(events)

    def entity(self, entity_id: str) -> EntityRow | None:
        """None for an entity that has no state, no lock and no messages."""
        row = (
            self._engine.database.reader()
            .execute("SELECT id, state, modified_at, lock_parent FROM entities WHERE id = ?", (entity_id,))
            .fetchone()
        )
        _, state, modified_at, locked_by = row or (entity_id, None, 0.0, None)
        found = EntityRow(entity_id, state, modified_at, locked_by, self._backlog(entity_id))
        return found if found.state is not None or found.locked_by or found.backlog else None

    def entities(
        self,
        prefix: str,
        modified: tuple[float | None, float | None],
        *,
        limit: int,
        token: str,
        transient: bool,
    ) -> tuple[list[EntityRow], str | None]:
        """One page in order of id, and the token of the next; `transient` includes those without a state."""
        limit = min(limit or LARGEST_PAGE, LARGEST_PAGE)
        where, values = ["id > ?"], list[Value]([token])
        _begins(where, values, "id", prefix)
        if not transient:
            where.append("state IS NOT NULL")
        _between(where, values, "modified_at", *modified)
        rows = (
            self._engine.database.reader()
            .execute(
                f"SELECT id, state, modified_at, lock_parent FROM entities WHERE {' AND '.join(where)} "
                "ORDER BY id LIMIT ?",
                (*values, limit + 1),
            )
            .fetchall()
        )
        page = [EntityRow(*row, backlog=self._backlog(row[0])) for row in rows[:limit]]
        return page, page[-1].id if len(rows) > limit else None

    def _backlog(self, entity_id: str) -> int:
        loaded = self._engine.entities.peek(entity_id)
        return len(loaded.inbox) + len(loaded.blocked) if loaded else 0

    def _row(self, instance_id: str) -> Instance | None:
        row = (
            self._engine.database.reader()
            .execute(f"SELECT {INSTANCE_COLUMNS} FROM instances WHERE id = ?", (instance_id,))
            .fetchone()
        )
        return Instance(*row) if row else None

    def _input(self, instance_id: str) -> str | None:
        row = (
            self._engine.database.reader()
            .execute("SELECT input FROM inputs WHERE id = ?", (instance_id,))
            .fetchone()
        )
        return row[0] if row else None


def _where(wanted: InstanceFilter) -> tuple[list[str], list[Value]]:
    where, values = ["1"], list[Value]()
    if wanted.statuses:
        where.append(f"i.status IN ({_ints(wanted.statuses)})")
    _between(where, values, "i.created_at", wanted.created_from, wanted.created_to)
    _begins(where, values, "i.id", wanted.prefix)
    return where, values


def _between(
    where: list[str], values: list[Value], column: str, start: float | None, end: float | None
) -> None:
    """Ask for times from `start` on and before `end`, as far as they are given."""
    for comparison, value in ((">=", start), ("<", end)):
        if value is not None:
            where.append(f"{column} {comparison} ?")
            values.append(value)


def _begins(where: list[str], values: list[Value], column: str, prefix: str) -> None:
    """Ask for ids that begin with `prefix`, in a way that an index serves."""
    if prefix:
        where.append(f"{column} >= ? AND {column} < ?")
        values += [prefix, prefix + "\U0010ffff"]


def _ints(numbers: Collection[int]) -> str:
    return ", ".join(str(int(number)) for number in sorted(numbers))


def _parse_token(token: str) -> tuple[float, str]:
    try:
        created, last = json.loads(token)
        return float(created), str(last)
    except (ValueError, TypeError) as error:
        raise BadTokenError(f"not a continuation token: {token[:80]!r}") from error
