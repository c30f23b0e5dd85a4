"""What a batch of operations brings about: entries for the journal, and what follows the commit."""

import hashlib
from collections.abc import Iterable
from typing import Any, Final

from loom_core.wire.json import Json
from loom_core.wire.messages import QUEUE, Message, iso, message

PATIENCE: Final = 60.0
"""Seconds until a flush that has not been heard of is started again."""
COMPACTED: Final = 1_000
"""Entries from one look at whether old ones are to be archived to the next."""


class Changes:
    """Of one actor, whose `document` counts entries and what it starts."""

    def __init__(self, address: str, document: dict[str, Any], now: float) -> None:
        self.address, self.document, self.now, self.at = address, document, now, iso(now)
        self.before: int = document["seq"]
        self.entries: list[dict[str, Any]] = []
        self.signals: list[tuple[str, str, Json, float | None]] = []
        """To whom, the operation, its input, and when, in seconds since the epoch."""
        self.starts: list[tuple[str, str, Json]] = []
        """The orchestration, the id of its instance, and its input."""
        self.outbox: list[tuple[int, Message]] = []
        self.published: list[int] = []
        self.ids: list[str] = []
        self.begun: tuple[str, Json, int] | None = None
        """The turn that has begun over a state too large to go along, and that state's characters at most."""
        self._flush: dict[str, Any] = {}

    def journal(self, kind: str, **about: Any) -> int:
        self.document["seq"] += 1
        self.entries.append({"seq": self.document["seq"], "type": kind, "at": self.at, **about})
        return self.document["seq"]

    def fold(self, entries: Iterable[dict[str, Any]], cause: Message) -> None:
        """Journal what was done because of a message, and have what it sends sent."""
        told: dict[tuple[str, float], list[Json]] = {}
        for entry in entries:
            kind = entry.pop("type")
            seq = self.journal(kind, **entry)
            if kind != "message_sent":
                continue
            sent = self._message(entry, seq, cause)
            if entry["to"].startswith(QUEUE):
                self.outbox.append((seq, sent))
                self.document.setdefault("outbox", []).append(seq)
            else:
                told.setdefault((entry["to"], entry.get("delay", 0)), []).append(sent)
        for (to, wait), messages in told.items():
            # What is delayed arrives out of order, and is known by its whole id.
            operation, due = ("deliver", self.now + wait) if wait else ("tell", None)
            self.signals.append((to, operation, {"messages": messages}, due))

    def _message(self, entry: dict[str, Any], seq: int, cause: Message) -> Message:
        metadata = {name: entry[name] for name in ("type", "priority", "ttl") if name in entry}
        if "metadata" in cause:
            trace = cause["metadata"].get("traceparent")
            metadata |= {"correlation": cause["correlationId"], "traceparent": trace}
        id_ = f"{self.address}:{seq}"
        return message(entry["to"], entry["payload"], id_, self.at, sender=self.address, **metadata)

    def notify(self, instance: str, name: str, data: Json) -> None:
        """Send an event to an instance."""
        self._flush.setdefault("replies", []).append({"instance": instance, "event": name, "data": data})

    def bury(self, one: Message, error: dict[str, Json], attempts: int) -> None:
        """Make it a dead letter."""
        self.journal("quarantined", messageId=one["messageId"], error=error, attempts=attempts)
        letter = {"message": one, "error": error, "attempts": attempts, "failedAt": self.at}
        self._flush.setdefault("bury", []).append(letter)

    def wake(self, moment: float, *, idle: bool = False) -> None:
        """Unless it is to wake before that anyway, and will see to what else there is."""
        wakes, kind = self.document.setdefault("wakes", {}), "idle" if idle else "due"
        if not self.now - PATIENCE <= wakes.get(kind, 0.0) <= moment:
            wakes[kind] = moment
            self.signals.append((self.address, "wake", {"idle": True} if idle else {}, moment))

    def woken(self, *, is_idle: bool) -> None:
        """Have a flush that has not been heard of for long started again."""
        self.document.get("wakes", {}).pop("idle" if is_idle else "due", None)
        begun = self.document.get("flushing") or self.now
        if begun <= self.now - PATIENCE:
            self.document["flushing"] = None
        elif begun < self.now:
            self.wake(begun + PATIENCE)

    def instance(self, prefix: str) -> str:
        """The actor's next id for an instance: the same again if this batch runs again."""
        self.document["starts"] = number = self.document.get("starts", 0) + 1
        return f"{prefix}-{hashlib.sha256(f'{self.address}#{number}'.encode()).hexdigest()[:26]}"

    def finish(self) -> None:
        """What is to happen after the commit is one flush."""
        if self.document.get("outbox") and not self.document.get("flushing"):
            self.document["flushing"] = self.now
            self._flush["publish"] = self.document["outbox"][-1]
            self.wake(self.now + PATIENCE)
        if self.before // COMPACTED < self.document["seq"] // COMPACTED:
            self._flush["compact"] = self.before
        if self._flush:
            self.starts.append(("flush", self.instance("flush"), {"actor": self.address, **self._flush}))

    def flushed(self, published: list[int]) -> None:
        self.published += published
        kept = [seq for seq in self.document.get("outbox", ()) if seq not in published]
        self.document |= {"outbox": kept, "flushing": None}
