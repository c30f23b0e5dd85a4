"""The outbox: what follows the commit of an actor, as a program, and as the activity that it calls."""

import time
from collections.abc import Callable
from typing import Any, Final

from loom_core.activities import activity
from loom_core.errors import InvalidError, NotFoundError, StepFailedError, failure
from loom_core.journals.dead_letters import DeadLetters
from loom_core.journals.store import Journals
from loom_core.ports.queue import MessageQueue, QueueMessage
from loom_core.wire.commands import CallActivity, CallEntity, ContinueAsNew, Program, SendEvent, Sleep
from loom_core.wire.json import JsonObject
from loom_core.wire.messages import QUEUE, Message, iso, split

ACTIVITY: Final = "loom.flush"
PAUSES: Final = (1.0, 5.0, 30.0)
AT_ONCE: Final = 100
"""Messages that one flush publishes; what is left is for the next."""


def flush(payload: JsonObject) -> Program:
    """Serve `{"actor"}` with any of `replies`, `bury`, `publish` and `compact`, until all is done."""
    given: Any = payload
    for reply in given.get("replies", ()):
        yield SendEvent(reply["instance"], reply["event"], reply["data"])
    work = {name: value for name, value in given.items() if name in {"bury", "publish", "compact"}}
    if not work:
        return
    published: Any = []
    try:
        published = yield CallActivity(ACTIVITY, {"actor": given["actor"], **work})
    except StepFailedError:
        failures: int = given.get("failures", 0)
        yield Sleep(PAUSES[min(failures, len(PAUSES) - 1)])
        yield ContinueAsNew({**work, "actor": given["actor"], "failures": failures + 1})
    if "publish" in work:
        yield CallEntity(*split(given["actor"]), "flushed", {"published": published})


class Outbox:
    """Sends what actors have left for queues, and keeps what they could not serve."""

    def __init__(self, journals: Journals, dead: DeadLetters, queue: MessageQueue) -> None:
        self._journals, self._dead, self._queue = journals, dead, queue

    @property
    def activity(self) -> Callable[..., Any]:
        """`loom.flush`: takes `actor` with any of `bury`, `publish` and `compact`; again changes nothing.

        The result has the numbers of what was published.
        """

        @activity(ACTIVITY)
        async def flush(
            actor: str, bury: list[dict[str, Any]] | None = None, publish: int = 0, compact: int = 0
        ) -> list[int]:
            for letter in bury or ():
                await self._dead.put({"actorId": actor, "source": "actor", **letter})
            published = await self._publish(actor, publish) if publish else []
            if compact:
                await self._journals.compact(actor, compact)
            return published

        return flush

    async def _publish(self, actor: str, upto: int) -> list[int]:
        """Send in order; what a queue will never take is a dead letter."""
        waiting = await self._journals.outbox(actor, 0, AT_ONCE, upto)
        for _, sent in waiting:
            queue = str(sent["actorId"]).removeprefix(QUEUE)
            try:
                await self._queue.send(queue, [_queued(actor, sent)])
            except (InvalidError, NotFoundError) as error:
                about = {"attempts": 1, "failedAt": iso(time.time())}
                letter = {"message": sent, "error": failure(error), **about}
                await self._dead.put({"actorId": actor, "source": "outbox", **letter})
        return [seq for seq, _ in waiting]


def _queued(actor: str, sent: Message) -> QueueMessage:
    """As a queue has it: its id makes a second time harmless, its session keeps the actor's order."""
    ttl = sent["metadata"].get("ttl")
    return QueueMessage(
        body=sent,
        message_id=sent["messageId"],
        session_id=actor,
        correlation_id=sent["correlationId"],
        ttl=ttl and ttl / 1000,
    )
