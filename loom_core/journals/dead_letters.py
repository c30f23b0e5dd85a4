"""Dead letters: messages that could not be handled, kept until somebody replays or deletes them."""

from contextlib import suppress

from loom_core.errors import ConflictError, NotFoundError
from loom_core.ports.state import MAX_QUERIED, Delete, Put, StateStore
from loom_core.wire.json import JsonObject, digest

PARTITION = "deadletters"


class DeadLetters:
    def __init__(self, state: StateStore) -> None:
        self._state = state

    async def put(self, letter: JsonObject) -> str:
        """Keep `{"actorId", "message", "error", "attempts", "failedAt", "source"}`; the result is its id.

        The same message of the same actor is one letter, the last one.
        """
        message = letter["message"]
        assert isinstance(message, dict)
        id_ = digest([letter["actorId"], message["messageId"]])
        await self._state.write(PARTITION, [Put(id_, letter)])
        return id_

    async def get(self, id: str) -> JsonObject:  # noqa: A002 - as documents have it
        """Raises NotFoundError."""
        held = await self._state.read(PARTITION, id)
        if held is None:
            raise NotFoundError(f"there is no dead letter {id}")
        return held.body

    async def page(self, limit: int, after: str = "") -> tuple[list[tuple[str, JsonObject]], str | None]:
        """Up to `limit` letters (at most MAX_QUERIED) with their ids, and the `after` of the next page."""
        limit = max(1, min(limit, MAX_QUERIED))
        held = await self._state.query(PARTITION, limit=limit, after=after)
        following = held[-1].id if len(held) == limit else None
        return [(document.id, document.body) for document in held], following

    async def delete(self, id: str) -> None:  # noqa: A002 - as above
        """Delete it if it is there."""
        with suppress(ConflictError):
            await self._state.write(PARTITION, [Delete(id)])
