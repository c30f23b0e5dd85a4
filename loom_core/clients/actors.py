"""Actors as outsiders see them: sent messages, looked at, steered."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, Final

from loom_core import errors
from loom_core.actors.actor import Actor, payload_of
from loom_core.actors.ask import grouped
from loom_core.clients.run import new_id
from loom_core.durable.hub import Hub
from loom_core.errors import (
    ConflictError,
    InvalidError,
    LoomError,
    NotFoundError,
    Problem,
    TimedOutError,
    UnavailableError,
)
from loom_core.journals.dead_letters import DeadLetters
from loom_core.journals.states import replay
from loom_core.journals.store import Journals
from loom_core.journals.view import shown
from loom_core.wire.json import Json, JsonObject, digest, dump
from loom_core.wire.messages import Message, address, split

OPERATION_SECONDS: Final = 30.0
_AT_ONCE: Final = 64
"""Signals under way for one request."""


class Actors:
    """Every method raises UnavailableError when the backend or the store cannot be reached."""

    def __init__(
        self, hub: Hub, types: Mapping[str, type[Actor]], journals: Journals, dead: DeadLetters
    ) -> None:
        self._hub, self._types, self._journals = hub, types, journals
        self.dead_letters = dead

    def known(self, target: str) -> str:
        """The address, its type as it is spelt.

        Raises NotFoundError for a type that there is not, InvalidError for what can be no actor's id.
        """
        kind, _, id_ = target.partition("/")
        found = self._types.get(kind.lower())
        if found is None:
            raise NotFoundError(
                f"there is no actor type {kind[:100]!r}; there are: {', '.join(self.types) or 'none'}"
            )
        return address(found.name, id_)

    @property
    def types(self) -> list[str]:
        return sorted(kind.name for kind in self._types.values())

    def problems(self, one: Message, path: str) -> list[Problem]:
        """What is wrong with a message's payload, as far as its actor's type says."""
        kind = self._types[one["actorId"].partition("/")[0].lower()]
        try:
            if one["messageType"] == "activate":
                payload_of(kind, one["payload"])
        except InvalidError as error:
            return [Problem(f"{path}{problem.path[1:]}", problem.message) for problem in error.problems]
        return []

    async def deliver(self, messages: Sequence[Message]) -> list[JsonObject]:
        """Hand messages over; each is kept when this returns. The answers are in order.

        Those for one actor arrive in order. After UnavailableError some may have been handed over.
        """
        groups = grouped(messages)
        pending, statuses = iter(groups.items()), dict[str, Iterator[str]]()

        async def work() -> None:
            for actor, own in pending:
                statuses[actor] = await self._hand_over(actor, own)

        if len(groups) == 1:
            await work()
        else:
            workers = (work() for _ in range(min(len(groups), _AT_ONCE)))
            outcomes = await asyncio.gather(*workers, return_exceptions=True)
            if failed := next((one for one in outcomes if one), None):
                raise failed
        return [
            {
                "messageId": one["messageId"],
                "actorId": one["actorId"],
                "status": next(statuses[one["actorId"]]),
            }
            for one in messages
        ]

    async def _hand_over(self, actor: str, own: list[Message]) -> Iterator[str]:
        """What became of each of an actor's messages, in order."""
        given = [one["messageId"] for one in own if not one["metadata"].get("unique")]
        old = await self._journals.seen(actor, given) if given else set[str]()
        fresh: dict[str, Message] = {}
        statuses: list[str] = []
        for one in own:
            is_fresh = one["messageId"] not in old and fresh.setdefault(one["messageId"], one) is one
            statuses.append("accepted" if is_fresh else "duplicate")
        if fresh:
            await self._hub.signal(actor, "deliver", {"messages": [*fresh.values()]})
        return iter(statuses)

    async def ask(self, messages: Sequence[Message], seconds: float) -> list[JsonObject]:
        """Deliver messages and wait for their answers; those that are not there in time are `accepted`.

        The same messages asked again are answered from the first time.
        """
        instance = f"ask-{digest([[one['actorId'], one['messageId']] for one in messages])[:26]}"
        call = {"program": "ask", "payload": {"instance": instance, "messages": messages}}
        with contextlib.suppress(ConflictError):  # asked before
            await self._hub.schedule(instance, call, replace_failed=True, name="ask")
        ended = await self._hub.wait(instance, seconds)
        if ended is None:
            return [
                {"messageId": one["messageId"], "actorId": one["actorId"], "status": "accepted"}
                for one in messages
            ]
        if ended.status != "completed":
            raise UnavailableError(f"{instance} {ended.status}: {ended.error}")
        answers: Any = ended.output
        return [{**answer, "actorId": one["actorId"]} for one, answer in zip(messages, answers, strict=True)]

    async def get(self, target: str) -> JsonObject:
        """The actor with its state. Raises NotFoundError for one that nobody has sent a message."""
        held = await self._held(target)
        document = held["document"]
        late = held.get("late", {}).get("entries", [])
        state = await self._journals.load(target, held["state"], document["seq"], late)
        return {**shown(target, document), "state": state}

    async def page(self, kind: str, limit: int, after: str | None) -> tuple[list[str], str | None]:
        """The addresses of at most `limit` actors of a type, and where the listing goes on."""
        name = self.known(f"{kind}/x").partition("/")[0]
        found, following = await self._hub.entities(f"@{name.lower()}@", limit, after)
        return [f"{name}/{one.split('@', 2)[2]}" for one in found], following

    async def journal(self, target: str, after: int, limit: int) -> tuple[list[Any], int | None]:
        """At most `limit` entries after this number, and the number to go on after, if there are more."""
        stored, late = await self._journaled(target)
        found: list[Any] = []
        following: int | None = None
        if after < stored:
            found, following = await self._journals.entries(target, after, limit, stored)
        if following is None and (rest := [entry for entry in late if entry["seq"] > after]):
            found += rest[: limit - len(found)]
            following = found[-1]["seq"] if found[-1] is not late[-1] else None
        return found, following

    async def state_at(self, target: str, seq: int) -> Json:
        """The state as it was after this entry. Raises InvalidError for a number that there is not."""
        stored, late = await self._journaled(target)
        if not stored < seq <= stored + len(late):
            return await self._journals.state_at(target, seq, stored)
        state = await self._journals.state_at(target, stored, stored)
        return replay(state, late[: seq - stored])

    async def export(self, target: str) -> AsyncIterator[bytes]:
        """The whole journal as JSON Lines."""
        stored, late = await self._journaled(target)

        async def lines() -> AsyncIterator[bytes]:
            async for some in self._journals.export(target, stored):
                yield some
            for entry in late:
                yield f"{dump(entry)}\n".encode()

        return lines()

    async def cancel(self, target: str, message_id: str | None = None) -> Json:
        """Cancel the running turn, or one message. Raises ConflictError if there is nothing to cancel."""
        return await self._operate(target, "cancel", {"messageId": message_id} if message_id else {})

    async def rollback(self, target: str, to: int) -> Json:
        """Make the state what it was at this number, as a change that is journaled. Raises ConflictError."""
        return await self._operate(target, "rollback", {"to": to})

    async def _operate(self, target: str, operation: str, given: Json) -> Json:
        await self._held(target)
        instance = new_id("ask-")
        kind, id_ = split(target)
        payload = {"type": kind, "id": id_, "operation": operation, "input": given}
        await self._hub.schedule(instance, {"program": "operate", "payload": payload}, name="ask")
        ended = await self._hub.wait(instance, OPERATION_SECONDS)
        if ended is None:
            raise TimedOutError(f"{target} has not answered within {OPERATION_SECONDS:g} s")
        if ended.error:
            raise _error(ended.error)
        return ended.output

    async def _journaled(self, target: str) -> tuple[int, list[Any]]:
        """How far the journal in the store counts, and the entries that could not be written to it yet."""
        held = await self._held(target)
        late: list[Any] = held.get("late", {}).get("entries", [])
        return held["document"]["seq"] - len(late), late

    async def _held(self, target: str) -> dict[str, Any]:
        held: Any = await self._hub.entity(target)
        if not held:
            raise NotFoundError(f"there is no actor {target}: nobody has sent it a message")
        return held


def _error(failure: JsonObject) -> LoomError:
    """What an operation of the entity raised, as the driver tells it: `Type: Kind: words`."""
    _, kind, words = (*str(failure["message"]).split(": ", 2), "", "")[:3]
    found: Any = getattr(errors, kind, UnavailableError)
    return found(words.removeprefix("$: "))
