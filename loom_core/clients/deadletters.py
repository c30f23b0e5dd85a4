"""Dead letters as outsiders see them: looked at, replayed, dropped."""

import asyncio
import re
from collections.abc import Sequence
from datetime import datetime
from itertools import batched
from typing import Any, Final

from loom_core.clients.actors import Actors
from loom_core.clients.incoming import REPLAYED, read
from loom_core.errors import ConflictError, LoomError, NotFoundError
from loom_core.wire.json import Json, JsonObject
from loom_core.wire.messages import Message, iso

_ID: Final = re.compile(r"[0-9a-f]{64}\Z")
_KEPT: Final = ("sender", "priority", "ttl", "traceparent")
_AT_ONCE: Final = 16


class Quarantine:
    """The messages that actors could not serve. Every method raises UnavailableError."""

    def __init__(self, actors: Actors) -> None:
        self._letters, self._actors = actors.dead_letters, actors

    async def page(
        self, limit: int, after: str = "", actor: str | None = None
    ) -> tuple[list[dict[str, Json]], str | None]:
        """Of at most `limit` dead letters those of the actor, without payloads; and where to go on."""
        found, following = await self._letters.page(limit, after)
        mine = [(id_, letter) for id_, letter in found if actor in (None, letter["actorId"])]
        return [_brief(id_, letter) for id_, letter in mine], following

    async def get(self, id_: str) -> dict[str, Json]:
        """A dead letter with its message. Raises NotFoundError."""
        letter = await self._letter(id_)
        return {**_brief(id_, letter), "message": letter["message"]}

    async def replay(self, id_: str, now: datetime) -> dict[str, Json]:
        """Send the message again, as new, and delete the dead letter. Replayed twice, it arrives once.

        The result is `{"id", "actorId", "messageId"}`. Raises NotFoundError, and ConflictError for one that
        no type of actors takes.
        """
        letter: Any = await self._letter(id_)
        try:
            message = again(self._whole(letter, now), now)
            self._actors.known(message["actorId"])
        except LoomError as error:
            raise ConflictError(f"it cannot be replayed: {error}") from error
        await self._actors.deliver([message])
        await self._letters.delete(id_)
        return {"id": id_, "actorId": message["actorId"], "messageId": message["messageId"]}

    async def replay_many(self, ids: Sequence[str], now: datetime) -> list[JsonObject]:
        """As `replay`, for each, in order; for those that are refused the result is `{"id", "error"}`."""

        async def one(id_: str) -> JsonObject:
            try:
                return await self.replay(id_, now)
            except (NotFoundError, ConflictError) as error:
                return {"id": id_, "error": str(error)}

        groups = [await asyncio.gather(*map(one, group)) for group in batched(ids, _AT_ONCE, strict=False)]
        return [result for group in groups for result in group]

    async def drop(self, id_: str) -> None:
        """Delete a dead letter, and its message with it. Raises NotFoundError."""
        await self._letter(id_)
        await self._letters.delete(id_)

    def _whole(self, letter: dict[str, Any], now: datetime) -> Message:
        """The message, which no actor's type may have agreed to yet if it came through a queue."""
        found: dict[str, Any] = letter["message"]
        if letter["source"] == "actor":
            return found
        given = {name: value for name, value in found.items() if name != "messageId"}
        return {**read(given, self._actors, now)[0], "messageId": found["messageId"]}

    async def _letter(self, id_: str) -> JsonObject:
        if not _ID.match(id_):
            raise NotFoundError(f"there is no dead letter {id_[:100]!r}")
        return await self._letters.get(id_)


def again(message: Message, now: datetime) -> Message:
    """The same message, sent now: under an id of its own, else it would be taken for its own duplicate."""
    replayed = REPLAYED.match(message["messageId"])
    first, times = (replayed[1], int(replayed[2])) if replayed else (message["messageId"], 0)
    metadata = {name: message["metadata"][name] for name in _KEPT if name in message["metadata"]}
    metadata["timestamp"] = iso(now.timestamp())
    return {**message, "messageId": f"{first}#r{times + 1}", "metadata": metadata}


def _brief(id_: str, letter: JsonObject) -> dict[str, Json]:
    message: Any = letter["message"]
    told = {"id": id_, "actorId": letter["actorId"], "messageId": message["messageId"]}
    return told | {name: letter.get(name) for name in ("error", "attempts", "failedAt", "source")}
