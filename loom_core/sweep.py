"""The sweep: turns that broke are told to their actors, and what orchestrations leave is forgotten later."""

import asyncio
import logging
from datetime import datetime, timedelta
from itertools import batched
from typing import Any, Final

from loom_core.durable.hub import Hub
from loom_core.errors import LoomError
from loom_core.journals.turns import TurnStates
from loom_core.locked import locked
from loom_core.ports.locks import LockManager
from loom_core.relay import Relay

SCHEDULE: Final = "0 */10 * * * *"
KEPT: Final = timedelta(days=1)
"""As long as the same question is answered from the first time."""
PREFIXES: Final = ("ask-", "flush-", "turn-")
PAGE: Final = 200
AT_ONCE: Final = 16
_NAME: Final = "sweep"
_log = logging.getLogger(__name__)


async def mend(hub: Hub, states: TurnStates) -> int:
    """Tell actors of turns whose orchestration failed, or that somebody ended behind their backs.

    The message is tried again, as after any other failure. The result is how many there were; one whose
    state cannot be read is left to the next sweep.
    """
    broken, _ = await hub.page("turn-", ["failed", "cancelled"], PAGE, None)
    for instance in broken:
        call: Any = instance.input
        given = call["payload"]
        try:
            before = await states.prepare(call)
        except LoomError as error:
            _log.warning(
                "%s of %s broke off, and its state cannot be read: %s", instance.id, given["actor"], error
            )
            continue
        why = (instance.error or {}).get("message") or "somebody ended it"
        error = {"type": "StepFailedError", "message": f"the turn broke off: {why}", "retryable": True}
        told: dict[str, Any] = {"turn": given["turn"], "entries": [], "before": before}
        await hub.signal(given["actor"], "turn", {**told, "end": {"error": error, "done": {}}})
        await hub.purge(instance.id)
        _log.warning("%s of %s broke off: %s", instance.id, given["actor"], why)
    return len(broken)


async def sweep(
    hub: Hub, locks: LockManager, states: TurnStates, now: datetime, relay: Relay | None = None
) -> int:
    """Mend, forget and look at outboxes, one host at a time, as long as its lock can be held.

    The result is how many orchestrations are forgotten.
    """
    swept = woken = 0
    async with locked(locks, _NAME) as lock:
        if lock is None:
            return 0
        await mend(hub, states)
        for prefix in PREFIXES:
            while ended := await hub.ended(prefix, now - KEPT, PAGE):
                for group in batched(ended, AT_ONCE, strict=False):
                    await asyncio.gather(*map(hub.purge, group))
                swept += len(ended)
        if relay is not None:
            woken = await relay.look(hub, lock)
    if swept or woken:
        _log.info("%d orchestrations of actors were forgotten, %d outboxes looked at", swept, woken)
    return swept
