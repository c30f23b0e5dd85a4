"""The mailbox: messages that wait, in order, and the ids of those that have come.

What an entity holds of it is bounded: chunks of the order's end lie in the journal's store, and are read
again when it is their turn.
"""

import base64
import hashlib
import re
from bisect import insort
from typing import Any, Final

from loom_core.wire.json import dump
from loom_core.wire.messages import Message

MAX_HELD: Final = 64 * 1024
"""Characters of messages held in the entity; what is over that is put into a chunk."""
CHUNK: Final = 100
WINDOW: Final = 1_000
SENDERS: Final = 1_000
_DIGITS: Final = 10
_COUNTED: Final = re.compile(r"(.+/.+):(\d+)\Z")


class Mailbox:
    """Over the entity's document, which it changes.

    `chunks_put` are those to be stored, `chunks_deleted` those to be deleted, by number.
    """

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document
        self._waiting: list[list[Any]] = document.setdefault("mailbox", [])
        self._chunks: list[list[Any]] = document.setdefault("chunks", [])
        self.chunks_put: dict[int, list[Any]] = {}
        # Only what an earlier commit has given up: this one may yet fail, and be done again.
        self.chunks_deleted: list[int] = document.pop("spent", [])

    def put(self, message: Message) -> None:
        """Queue behind those of the same priority and higher."""
        self._document["arrivals"] = number = self._document.get("arrivals", 0) + 1
        insort(self._waiting, [-message["metadata"].get("priority", 0), number, message], key=_order)

    def keep(self) -> None:
        """Have nothing stored or deleted now: it could not be."""
        for number, chunk in list(self.chunks_put.items()):
            self.refill(number, chunk)
        self._document.setdefault("spent", []).extend(self.chunks_deleted)

    @property
    def missing(self) -> int | None:
        """The number of the chunk that has the next message, if it is in none of those at hand."""
        first = min(self._chunks, key=lambda chunk: chunk[1], default=None)
        if first is None or (self._waiting and _order(self._waiting[0]) < first[1]):
            return None
        return first[0]

    def refill(self, number: int, chunk: list[list[Any]]) -> None:
        for item in chunk:
            insort(self._waiting, item, key=_order)
        self._chunks[:] = [known for known in self._chunks if known[0] != number]
        if self.chunks_put.pop(number, None) is None:
            self._document.setdefault("spent", []).append(number)

    def take(self) -> Message | None:
        """The next message; None while there is none, or while a chunk is `missing`."""
        return self._waiting.pop(0)[2] if self._waiting and self.missing is None else None

    def remove(self, message_id: str) -> Message | None:
        """The message with this id, which waits no longer; None if it does not, or is in a chunk."""
        for place, (_, _, message) in enumerate(self._waiting):
            if message["messageId"] == message_id:
                return self._waiting.pop(place)[2]
        return None

    def overflow(self) -> None:
        """Put what is too much to be held into chunks."""
        sizes = [len(dump(message)) for _, _, message in self._waiting] if len(self._waiting) > 1 else []
        while len(sizes) > 1 and sum(sizes) > MAX_HELD:
            count = min(CHUNK, len(sizes) - 1)
            while count > 1 and sum(sizes[-count:]) > MAX_HELD:
                count //= 2
            self._document["stored"] = number = self._document.get("stored", 0) + 1
            self.chunks_put[number] = self._waiting[-count:]
            self._chunks.append([number, _order(self._waiting[-count]), count])
            del self._waiting[-count:], sizes[-count:]

    def is_known(self, message_id: str, *, counted: bool) -> bool:
        """Whether a message of this id has come before; from now on it has.

        The ids of one actor's messages count up, so for `counted` ones their last number is enough.
        """
        found = _COUNTED.match(message_id) if counted else None
        if found:
            marks: dict[str, int] = self._document.setdefault("marks", {})
            sender, number = found[1], int(found[2])
            last = marks.pop(sender, 0)
            marks[sender] = max(last, number)
            if len(marks) > SENDERS:
                del marks[next(iter(marks))]
            return number <= last
        mark = base64.b64encode(hashlib.sha256(message_id.encode()).digest())[:_DIGITS].decode()
        window: str = self._document.get("ids", "")
        place = window.find(mark)
        while place % _DIGITS and place > 0:
            place = window.find(mark, place + 1)
        if place < 0:
            self._document["ids"] = (window + mark)[-WINDOW * _DIGITS :]
        return place >= 0


def _order(item: list[Any]) -> list[Any]:
    return item[:2]
