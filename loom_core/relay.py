"""The relay: a second pair of eyes on outboxes, for what the flush of an actor did not come to."""

import logging
from typing import Final

from loom_core.durable.hub import Hub
from loom_core.errors import InvalidError
from loom_core.journals.documents import actor_of
from loom_core.ports.feed import ChangeFeed
from loom_core.ports.locks import Lock
from loom_core.ports.state import Fence, Put, StateStore

PARTITION: Final = "relay"
OUTBOX: Final = "o:"
PAGE: Final = 1_000
PAGES: Final = 1_000
"""Read in one look at most: while others write, a feed has no end."""
_log = logging.getLogger(__name__)


class Relay:
    """Reads what has changed in a store since it last looked, and wakes the actors whose outbox is not empty.

    It publishes nothing itself: what is in the store may be ahead of what its actor has committed. An actor
    that is woken knows whether a flush runs, and starts one if none was heard of for a minute.
    """

    def __init__(self, feed: ChangeFeed, state: StateStore) -> None:
        self._feed, self._state = feed, state

    async def look(self, hub: Hub, lock: Lock) -> int:
        """Look once, as the holder of the lock; the result is how many actors were woken.

        Where it has come to is kept with the lock's token: who has lost the lock cannot set it back. Raises
        ConflictError then. A cursor that is of another store (this one was restored, or moved) is given up,
        and what changed until now is left to the flushes.
        """
        fence = Fence("token", lock.token)
        await self._state.write(PARTITION, [fence])  # now who had the lock before writes no more
        held = await self._state.read(PARTITION, "cursor")
        cursor = began = str(held.body["cursor"]) if held else None
        woken: set[str] = set()
        for _ in range(PAGES):
            try:
                changed, following = await self._feed.changes(OUTBOX, cursor, PAGE)
            except InvalidError as error:
                if cursor is None:
                    raise
                _log.warning("the feed of outboxes is looked at from now on: %s", error)
                cursor = None
                continue
            actors = {actor for partition, _ in changed if (actor := actor_of(partition))}
            for actor in actors - woken:
                await hub.signal(actor, "wake", {})
            woken |= actors
            if following == cursor:
                break
            cursor = following
        if cursor != began:  # once, at last: it is a change, too, and would be the next to be read
            await self._state.write(PARTITION, [fence, Put("cursor", {"cursor": cursor})])
        return len(woken)
