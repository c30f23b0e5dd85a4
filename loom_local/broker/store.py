"""The broker's SQL: statements to submit, and reads of what is committed."""

import json
from collections.abc import Iterable
from contextlib import closing
from dataclasses import asdict
from typing import Any

from loom_local.broker.messages import (
    DEAD_LETTERS,
    Message,
    QueueProperties,
    StoredMessage,
    pack,
    unpack,
)
from loom_local.database import Database, Statement

PAGE = 256
PAGE_BYTES = 1 << 20
"""A page ends with the message that fills it, so memory is bounded whatever the size of messages."""
IDS_PER_SWEEP = 2_000

_SELECT = (
    "SELECT queue, sequence, enqueued_at, expires_at, deliveries, dead_reason, dead_description, "
    "message_id, session, properties, body FROM messages"
)
_INSERT = (
    "INSERT INTO messages (sequence, queue, lane, session, message_id, enqueued_at, due_at, expires_at, "
    "properties, body) SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?, ?"
)
_INSERT_ONCE = (
    f"{_INSERT} WHERE EXISTS (SELECT 1 FROM message_ids WHERE queue = ? AND message_id = ? AND sequence = ?)"
)
_REMEMBER = (
    "INSERT INTO message_ids (queue, message_id, sequence, expires_at) VALUES (?, ?, ?, ?) "
    "ON CONFLICT (queue, message_id) DO UPDATE SET sequence = excluded.sequence, "
    "expires_at = excluded.expires_at WHERE message_ids.expires_at <= ?"
)
_FORGET = (
    "DELETE FROM message_ids WHERE (queue, message_id) IN "
    f"(SELECT queue, message_id FROM message_ids WHERE expires_at <= ? LIMIT {IDS_PER_SWEEP})"
)
_MOVE = (
    "INSERT INTO messages (sequence, queue, lane, session, message_id, enqueued_at, due_at, expires_at, "
    "deliveries, dead_at, dead_reason, dead_description, properties, body) "
    "SELECT ?, ?, iif(?, session, ''), session, message_id, coalesce(?, enqueued_at), NULL, "
    "coalesce(?, expires_at), coalesce(?, deliveries), ?, ?, ?, properties, body FROM messages "
    "WHERE sequence = ? AND queue = ?"
)


class MessageStore:
    """Tables `queues`, `messages` and `message_ids` of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def rows(self, sql: str, *values: Any) -> list[Any]:
        return self._database.reader().execute(sql, values).fetchall()

    def save_queue(self, name: str, properties: QueueProperties) -> list[Statement]:
        """Keep the properties, and put the messages there are in the lanes they then belong to."""
        return [
            ("INSERT OR REPLACE INTO queues VALUES (?, ?)", (name, json.dumps(asdict(properties)))),
            (
                "UPDATE messages SET lane = iif(?, session, '') WHERE queue = ?",
                (properties.requires_session, name),
            ),
        ]

    def insert(
        self,
        sequence: int,
        queue: str,
        message: Message,
        properties: QueueProperties,
        *,
        generated_id: str,
        now: float,
    ) -> list[Statement]:
        """Store a message; the last statement changes no row if its id was seen within the window."""
        lane = (message.session_id or "") if properties.requires_session else ""
        due = message.scheduled_enqueue_time
        due = due if due is not None and due > now else None
        ttl = properties.default_ttl if message.time_to_live is None else message.time_to_live
        expires = (due or now) + min(ttl, properties.default_ttl)
        values = (sequence, queue, lane, message.session_id, message.message_id or generated_id)
        values += (now, due, expires, pack(message), message.body)
        if message.message_id is None or not properties.duplicate_window:
            return [(_INSERT, values)]
        seen = (queue, message.message_id, sequence)
        return [
            (_REMEMBER, (*seen, now + properties.duplicate_window, now)),
            (_INSERT_ONCE, values + seen),
        ]

    def move(
        self,
        sequence: int,
        queue: str,
        *,
        new: int,
        to: str,
        by_session: bool = False,
        enqueued: float | None = None,
        expires: float | None = None,
        deliveries: int | None = None,
        dead: tuple[float | None, str | None, str | None] = (None, None, None),
    ) -> list[Statement]:
        """Give a message a new number, so that it is the last of the queue it goes to.

        The first statement changes no row if the message is no longer in `queue`. None keeps a value.
        """
        values = (new, to, by_session, enqueued, expires, deliveries, *dead, sequence, queue)
        return [(_MOVE, values), self.remove(sequence, queue)]

    def remove(self, sequence: int, queue: str) -> Statement:
        return "DELETE FROM messages WHERE sequence = ? AND queue = ?", (sequence, queue)

    def remove_scheduled(self, sequence: int, queue: str) -> Statement:
        sql, values = self.remove(sequence, queue)
        return f"{sql} AND due_at IS NOT NULL", values

    def remove_dead(self, queue: str, before: float) -> Statement:
        return "DELETE FROM messages WHERE queue = ? AND dead_at < ?", (queue + DEAD_LETTERS, before)

    def count_delivery(self, stored: StoredMessage) -> Statement:
        return (
            "UPDATE messages SET deliveries = ? WHERE sequence = ? AND queue = ?",
            (stored.delivery_count, stored.sequence_number, stored.queue),
        )

    def forget_ids(self, now: float) -> Statement:
        return _FORGET, (now,)

    def queues(self) -> dict[str, QueueProperties]:
        return {name: QueueProperties(**json.loads(text)) for name, text in self.rows("SELECT * FROM queues")}

    def last_sequence(self) -> int:
        found = self.rows("SELECT seq FROM sqlite_sequence WHERE name = 'messages'")
        return found[0][0] if found else 0

    def first_sequence_of(self, queue: str, message_id: str) -> int:
        sql = "SELECT sequence FROM message_ids WHERE queue = ? AND message_id = ?"
        return self.rows(sql, queue, message_id)[0][0]

    def ready(self, queue: str, lane: str, after: int, limit: int = PAGE) -> list[StoredMessage]:
        """List messages of a lane in order, at most `limit` and about a page's bytes."""
        where = "queue = ? AND lane = ? AND due_at IS NULL AND sequence > ?"
        return self._page(where, (queue, lane, after), limit)

    def peek(self, queue: str, after: int, limit: int) -> list[StoredMessage]:
        """List messages of a queue over all its sessions, in order of number."""
        return self._page("+queue = ? AND due_at IS NULL AND sequence > ?", (queue, after), limit)

    def next_session(self, queue: str, after: str) -> str | None:
        """Name the next session in alphabetical order that has messages."""
        sql = (
            "SELECT lane FROM messages WHERE queue = ? AND lane > ? AND due_at IS NULL ORDER BY lane LIMIT 1"
        )
        found = self.rows(sql, queue, after)
        return found[0][0] if found else None

    def due(self, now: float) -> list[tuple[int, str]]:
        """List scheduled messages whose time has come, as (number, queue), earliest first."""
        sql = f"SELECT sequence, queue FROM messages WHERE due_at <= ? ORDER BY due_at, sequence LIMIT {PAGE}"
        return self.rows(sql, now)

    def next_due(self) -> float | None:
        return self.rows("SELECT min(due_at) FROM messages WHERE due_at IS NOT NULL")[0][0]

    def has_old_ids(self, now: float) -> bool:
        return bool(self.rows("SELECT EXISTS (SELECT 1 FROM message_ids WHERE expires_at <= ?)", now)[0][0])

    def holds_messages_without_session(self, queue: str) -> bool:
        sql = "SELECT EXISTS (SELECT 1 FROM messages WHERE queue = ? AND session IS NULL)"
        return bool(self.rows(sql, queue)[0][0])

    def counts(self, queue: str) -> tuple[int, int, int]:
        """Count (active, scheduled, dead-lettered)."""
        active = "SELECT count(*) FROM messages WHERE queue = ? AND due_at IS NULL"
        scheduled = "SELECT count(*) FROM messages WHERE queue = ? AND due_at IS NOT NULL"
        return (
            self.rows(active, queue)[0][0],
            self.rows(scheduled, queue)[0][0],
            self.rows(active, queue + DEAD_LETTERS)[0][0],
        )

    def _page(self, where: str, values: Iterable[Any], limit: int) -> list[StoredMessage]:
        sql = f"{_SELECT} WHERE {where} ORDER BY sequence LIMIT ?"
        page: list[StoredMessage] = []
        size = 0
        # Closed at once: a statement left open would hold the reader's view of the file in the past.
        with closing(self._database.reader().execute(sql, (*values, limit))) as cursor:
            for stored in map(_stored, cursor):
                page.append(stored)
                size += len(stored.message.body)
                if size >= PAGE_BYTES:
                    break
        return page


def _stored(row: tuple[Any, ...]) -> StoredMessage:
    queue, sequence, enqueued, expires, deliveries, reason, description, *message = row
    return StoredMessage(
        queue=queue,
        sequence_number=sequence,
        message=unpack(*message),
        enqueued_time=enqueued,
        expires_at=expires,
        delivery_count=deliveries,
        dead_letter_reason=reason,
        dead_letter_description=description,
    )
