"""The entity: what one actor keeps between messages, and the operations that change it."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import GeneratorType
from typing import Any, Final

from loom_core import errors
from loom_core.actors import turns
from loom_core.actors.actor import RESUME, Actor, payload_of
from loom_core.actors.changes import Changes
from loom_core.actors.mailbox import Mailbox
from loom_core.actors.turn import CANCEL
from loom_core.actors.work import Work
from loom_core.errors import failure
from loom_core.patches import apply, both
from loom_core.resilience.retry import delay
from loom_core.wire.json import Json, dump
from loom_core.wire.messages import Message, expiry

AT_ONCE: Final = 1_000
"""Messages served in one commit."""
PAUSE: Final = 5.0
"""Seconds from one look at whether a store can be reached again to the next."""
UNKNOWN: Final = object()
"""The state of an actor that cannot be read just now."""


@dataclass(frozen=True, slots=True)
class World:
    """What an entity needs of the world: `types` by lower-case name, and what is stored elsewhere."""

    types: Mapping[str, type[Actor]]
    resolve: Callable[[Json], Awaitable[Json]]
    chunk: Callable[[str, int], Awaitable[list[Any]]]
    state_at: Callable[[str, int, int], Awaitable[Json]]


class Entity:
    """One actor during one batch of operations, over its document.

    The document's `current` is the message that is served, tried again later, or has a `turn`.
    """

    def __init__(
        self, world: World, address: str, document: dict[str, Any] | None, state: Any, now: float
    ) -> None:
        self.address, self.state, self.now = address, state, now
        self.closed = state is UNKNOWN
        """A closed one takes messages and serves none."""
        self.document: dict[str, Any] = document or {"seq": 0, "base": 0, "created": now}
        self.changes = Changes(address, self.document, now)
        self.mailbox = Mailbox(self.document)
        self._world, self._kind = world, world.types[address.partition("/")[0].lower()]
        self._answers: dict[str, Any] = {}
        if document is None:
            self.changes.journal("created")

    async def operate(self, operation: str, taken: Any) -> Json:
        """Raises InvalidError, ConflictError and UnavailableError, having done nothing."""
        if self.closed and operation not in {"deliver", "tell", "wake", "flushed"}:
            raise errors.UnavailableError(f"{self.address} cannot be read just now")
        match operation:
            case "deliver" | "tell":
                return await self._deliver(taken["messages"], counted=operation == "tell")
            case "turn":
                return await self._turn(taken)
            case "cancel":
                return await self._cancel(taken.get("messageId"))
            case "rollback":
                return await self._rollback(taken["to"], taken.get("turn"))
            case "flushed":
                return self.changes.flushed(taken["published"])
            case "wake":
                return await self._wake(is_idle="idle" in taken)
            case _:
                raise errors.InvalidError(f"actors have no operation {operation!r}")

    def finish(self) -> None:
        """Call when all operations are done."""
        self.mailbox.overflow()
        self.changes.finish()

    def keep(self) -> None:
        """Call when the journal could not be written: it will be with the next batch, which is soon."""
        self.mailbox.keep()
        self.changes.wake(self.now + PAUSE)

    async def _deliver(self, messages: list[Message], *, counted: bool) -> Json:
        for one in messages:
            id_, is_unique = one["messageId"], one["metadata"].get("unique")
            if not is_unique and self.mailbox.is_known(id_, counted=counted):
                self._answers.setdefault(id_, {"status": "duplicate"})
                continue
            self._answers[id_] = {"status": "accepted"}
            if not is_unique and not counted:
                self.changes.ids.append(id_)
            if one["messageType"] == "activate":
                self.mailbox.put(one)
            else:
                self._received(one)
                self._event(one)
        await self._drain()
        answers, self._answers = self._answers, {}
        return [{"messageId": one["messageId"], **answers[one["messageId"]]} for one in messages]

    def _event(self, one: Message) -> None:
        payload: Any = one["payload"]
        if one["messageType"] == "event":
            name, data = payload["eventType"], payload.get("data")
            turns.hand_over(self.document, name, data, one, self.changes)
        elif self._is_in_turn:
            turns.hand_over(self.document, RESUME, payload, one, self.changes)
        elif self.document.pop("suspended", None):
            self.changes.journal("resumed", messageId=one["messageId"])

    @property
    def _is_in_turn(self) -> bool:
        current: Any = self.document.get("current")
        return bool(current and current.get("turn"))

    async def _drain(self) -> None:
        """Serve what waits, up to AT_ONCE messages, until something has to be waited for."""
        if self.closed:
            self.changes.wake(self.now + PAUSE)
        for _ in range(AT_ONCE):
            if self.closed or self.document.get("suspended"):
                return
            current: Any = self.document.get("current") or await self._next()
            if current is None or current.get("turn") or current["due"] > self.now:
                return
            await self._serve(current)
        self.changes.wake(self.now)

    async def _next(self) -> dict[str, Any] | None:
        """Take the next message; None while there is none to be had."""
        try:
            while (number := self.mailbox.missing) is not None:
                self.mailbox.refill(number, await self._world.chunk(self.address, number))
        except errors.UnavailableError:
            self.changes.wake(self.now + PAUSE)
            return None
        while one := self.mailbox.take():
            if (expiry(one) or self.now) >= self.now:
                self._received(one)
                new: dict[str, Any] = {"message": one, "attempts": 0, "due": 0.0, "sent": [], "done": {}}
                self.document["current"] = new
                return new
            self.changes.journal("expired", messageId=one["messageId"])
            self._answer(
                one, {"status": "expired", "error": failure(errors.TimedOutError("its ttl is over"))}
            )
        return None

    async def _serve(self, current: dict[str, Any]) -> None:
        one = current["message"]
        try:
            # What is kept may have references in the place of long strings; the actor is given those.
            payload = await self._world.resolve(one["payload"])
        except errors.UnavailableError as error:
            current |= {"due": self.now + PAUSE, "error": failure(error)}
            self.changes.wake(current["due"])
            return
        except errors.LoomError as error:
            self._failed(current, failure(error))
            return
        work = self._work({**one, "payload": payload})
        try:
            actor, taken = self._kind(work), payload_of(self._kind, payload)
            if not self.document.get("activations"):
                work.become(actor.default_state())
            if not self.document.get("active"):
                actor.on_activate()
            outcome = actor.execute(taken)
            is_turn = isinstance(outcome, GeneratorType)
            self.document["size"] = work.settle(None if is_turn else outcome, self.document.get("size", 0))
        except Exception as error:  # noqa: BLE001 - whatever an actor raises is the message's failure
            self._failed(current, failure(error))
            return
        self._activated()
        self.state = work.state
        self.changes.fold(work.entries, one)
        if is_turn:
            turns.begin(current, work.message, self.state, self.changes)
        else:
            self.document["current"] = None
            self._suspend(work.suspended)
            self._answer(one, {"status": "done", "result": outcome})

    def _activated(self) -> None:
        document = self.document
        document["last"] = self.now
        if not document.get("active"):
            document |= {"active": True, "activations": document.get("activations", 0) + 1}
            self.changes.journal("activated")
            if self._kind.idle_timeout:
                self.changes.wake(self.now + self._kind.idle_timeout, idle=True)

    def _received(self, one: Message) -> None:
        about = {name: one[name] for name in ("messageId", "correlationId", "payload")}
        if one["messageType"] != "activate":
            about["messageType"] = one["messageType"]
        if "sender" in one["metadata"]:
            about["sender"] = one["metadata"]["sender"]
        self.changes.journal("message_received", **about)

    def _failed(self, current: dict[str, Any], error: dict[str, Json]) -> None:
        """Have the message tried again later, or make it a dead letter."""
        one, attempts = current["message"], current["attempts"] + 1
        wait = delay(self._kind.retry, attempts, one["messageId"]) if error["retryable"] else None
        self.changes.journal("turn_failed", messageId=one["messageId"], attempt=attempts, error=error)
        if wait is not None:
            current |= {"turn": None, "attempts": attempts, "error": error, "due": self.now + wait}
            self.changes.wake(current["due"])
        else:
            self.document["current"] = None
            self.changes.bury(one, error, attempts)
            self._answer(one, {"status": "failed", "error": error})

    def _answer(self, one: Message, outcome: dict[str, Json]) -> None:
        """Tell whoever waits: with this operation's answer if that brought the message, else by an event."""
        if one["messageId"] in self._answers:
            self._answers[one["messageId"]] = outcome
        elif reply := one["metadata"].get("replyTo"):
            self.changes.notify(reply["instance"], reply["event"], outcome)

    async def _turn(self, taken: dict[str, Any]) -> Json:
        """Take over what a turn has done; `{"event"}` if one that it wants to wait for has come."""
        current = self.document.get("current")
        if not current or current.get("turn") != taken["turn"]:
            raise errors.ConflictError(f"{self.address} does not wait for {taken['turn']}")
        for entry in taken["entries"]:
            if entry["type"] == "state_patches":
                self.state = apply(self.state, entry["patches"])
                self.document["size"] = self.document.get("size", 0) + len(dump(entry["patches"]))
        turns.take(current, taken["entries"], self.changes)
        self._suspend(taken.get("suspended"))
        if "before" in taken:
            self._become(taken["before"], "undone")
        if "end" in taken:
            await self._end(current, taken["end"])
        elif "wait" in taken:
            name, number = taken["wait"]
            return turns.wait(self.document, name, number, self.now)
        elif "unwait" in taken:
            return turns.unwait(current, taken["unwait"])
        return {}

    async def _end(self, current: dict[str, Any], end: dict[str, Any]) -> None:
        one = current["message"]
        self.document["last"] = self.now
        if "error" in end:
            sent = max(current["told"], current["sent"], key=len)
            current |= {"done": end["done"], "sent": sent}
            self._failed(current, end["error"])
        elif "cancelled" in end:
            self._cancelled(one)
        else:
            self.document["current"] = None
            self._answer(one, {"status": "done", "result": end["result"]})
        await self._drain()

    async def _cancel(self, message_id: str | None) -> Json:
        """Cancel the turn, or the message with this id wherever it is."""
        current: Any = self.document.get("current")
        is_current = current and message_id in {None, current["message"]["messageId"]}
        if is_current and current.get("turn"):
            self.changes.notify(current["turn"], CANCEL, None)
            return {"status": "cancelling"}
        one = current["message"] if is_current else self.mailbox.remove(message_id or "")
        if one is None:
            raise errors.ConflictError("there is nothing to cancel")
        self._cancelled(one)
        await self._drain()
        return {"status": "cancelled"}

    def _cancelled(self, one: Message) -> None:
        current = self.document.get("current")
        if current and current["message"]["messageId"] == one["messageId"]:
            self.document["current"] = None
        self.changes.journal("turn_cancelled", messageId=one["messageId"])
        self._answer(
            one, {"status": "cancelled", "error": failure(errors.CancelledError("it was cancelled"))}
        )

    async def _rollback(self, to: int, turn: str | None) -> Json:
        if self._is_in_turn and self.document["current"]["turn"] != turn:
            raise errors.ConflictError(f"{self.address} is in a turn; cancel that first, or wait for its end")
        if to > self.changes.before:
            raise errors.ConflictError(f"{self.address} has not come to {to} yet, or only just now")
        target = await self._world.state_at(self.address, to, self.changes.before)
        self.changes.journal("rolled_back", to=to)
        self._become(target, "rolled_back")
        return {"seq": self.document["seq"], "state": self.state}

    async def _wake(self, *, is_idle: bool) -> None:
        document = self.document
        self.changes.woken(is_idle=is_idle)
        await self._drain()
        current: Any = document.get("current") or {}
        if not current.get("turn") and current.get("due", 0) > self.now:
            self.changes.wake(current["due"])
        idle = self._kind.idle_timeout
        if is_idle and idle and document.get("active"):
            left = document["last"] + idle - self.now
            if left > 0 or self.closed or self._is_in_turn:
                self.changes.wake(self.now + (left if left > 0 else idle), idle=True)
            else:
                self._deactivate()

    def _deactivate(self) -> None:
        one = {"messageId": f"idle-{self.document['seq']}"}
        work = self._work(one)
        try:
            self._kind(work).on_deactivate()
            work.settle(None, self.document.get("size", 0))
        except Exception as error:  # noqa: BLE001 - nobody waits for it, and it is not tried again
            work = self._work(one)
            work.record("turn_failed", **one, error=failure(error))
        self.changes.journal("deactivated")
        self.state = work.state
        self.changes.fold(work.entries, work.message)
        self.document["active"] = False

    def _suspend(self, reason: str | None) -> None:
        self.document["suspended"] = reason and {"reason": reason, "since": self.changes.at}
        if reason:
            self.changes.journal("suspended", reason=reason)

    def _work(self, one: Message) -> Work:
        return Work(
            address=self.address, message=one, state=self.state, now=self.now, types=self._world.types
        )

    def _become(self, state: Json, reason: str) -> None:
        patches, inverse = both(self.state, state)
        if patches:
            self.changes.journal("state_patches", patches=patches, inverse=inverse, reason=reason)
            self.state = state
