"""Work that may be ending the process.

An item that was pending in several crashes is run alone, and marked in the file first. If the process ends
while it runs, it was the one: it gets a strike, and is failed after a few. An innocent item that was merely
waiting each time is cleared by its first run.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loom_local.engine.engine import Engine


class Suspects:
    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self._alone = asyncio.Lock()
        self.strikes: dict[str, int] = {}
        """Crashes an item has caused, by item."""

    def trusts(self, item: str, crashes: int) -> bool:
        """Whether the item needs no guard."""
        return crashes < self._engine.limits.crashes and item not in self.strikes

    @asynccontextmanager
    async def watch(self, item: str, crashes: int) -> AsyncGenerator[str | None]:
        """Guard one run of `item`, which was pending in `crashes` crashes.

        Yields None, or the reason why the item must be failed instead of run.
        """
        limit = self._engine.limits.crashes
        strikes = self.strikes.get(item, 0)
        if self.trusts(item, crashes):
            yield None
            return
        if strikes >= limit:
            yield f"the process ended {strikes} times while this ran; it is not run again"
        else:
            async with self._alone:
                await self._engine.database.submit(
                    [("INSERT OR REPLACE INTO suspects VALUES (?, ?, 1)", (item, strikes))]
                )
                yield None
        self.strikes.pop(item, None)
        await self._engine.database.submit([("DELETE FROM suspects WHERE item = ?", (item,))])
