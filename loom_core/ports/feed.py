"""ChangeFeed: what has changed in a StateStore since one last looked."""

from typing import Protocol

from loom_core.ports.state import Document


class ChangeFeed(Protocol):
    async def changes(
        self, prefix: str, cursor: str | None, limit: int = 100
    ) -> tuple[list[tuple[str, Document]], str]:
        """Documents whose id begins with `prefix`, with their partitions, as their last change left them.

        Without a `cursor` it begins now, with nothing. The cursor it gives is plain text and leads on from
        there in any process; it comes even if nothing has changed, and no documents do not mean the end. Of
        one document only the last change is sure to be seen, of a deleted one none, and the same may be seen
        twice. Changes of one partition come in their order. What was written together may come together, and
        be more than `limit` (1 to MAX_QUERIED). Raises InvalidError for what is no cursor of this store,
        UnavailableError if the store cannot be reached.
        """
        ...
