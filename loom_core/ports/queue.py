"""MessageQueue: JSON in named queues, in order within a session, delivered at least once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from loom_core.wire.json import Json

MAX_MESSAGES = 1_000
# Of JSON, body and properties: Service Bus's 256 KB but for what the wire adds.
MAX_MESSAGE_BYTES = 252 * 1024
# The dead letters of queue `q` are the messages of the queue `q/$deadletterqueue`, which has no sessions.
DEAD_LETTERS = "/$deadletterqueue"


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueMessage:
    """What a sender says. Ids have 1 to 128 characters; `due` is seconds since the epoch, `ttl` seconds."""

    body: Json
    message_id: str
    session_id: str | None = None
    correlation_id: str | None = None
    due: float | None = None
    ttl: float | None = None
    properties: Mapping[str, str | float | bool] = field(default_factory=dict[str, str | float | bool])


@dataclass(frozen=True, slots=True)
class DeadLetter:
    reason: str
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A message in a queue, for the `attempts`th time; `number` is its place, `token` its lock ("": peeked).

    Of a message that others sent, `body` is text where it is no JSON. `dead` says why a dead letter died.
    `due` and `ttl` are the sender's business and not told.
    """

    queue: str
    number: int
    message: QueueMessage
    attempts: int
    enqueued_at: float
    token: str = ""
    locked_until: float = 0.0
    dead: DeadLetter | None = None


type Outcome = Literal["complete", "abandon"] | DeadLetter


class MessageQueue(Protocol):
    """Every method raises InvalidError for a bad argument, NotFoundError for a queue that is not there (an
    adapter may create it), UnavailableError if it cannot be reached. Where a host's trigger receives, only
    `send`, `cancel` and `peek` are called.
    """

    async def send(self, queue: str, messages: Sequence[QueueMessage]) -> tuple[int | None, ...]:
        """Add up to MAX_MESSAGES in order, durably; give the number of each scheduled one, None for the rest.

        One whose id was sent within the queue's window (30 minutes) is dropped. After UnavailableError the
        first few may be in the queue: send all again. Raises InvalidError with the problems of all messages.
        """
        ...

    async def cancel(self, queue: str, number: int) -> None:
        """Remove a scheduled message. Raises NotFoundError once it is gone or due."""
        ...

    async def receive(
        self, queue: str, *, session: str | None = None, limit: int = 1, wait: float = 0.0
    ) -> tuple[Delivery, ...]:
        """Lock up to `limit` messages, waiting up to `wait` seconds for the first; () if none came.

        Of a queue with sessions they are of one session: of `session`, else of the next that has messages.
        Nobody else receives from it until they are all settled, or their lock runs out.
        """
        ...

    async def renew(self, delivery: Delivery) -> float:
        """Lock it (and its session) anew; give the time until when. Raises ConflictError once it is lost."""
        ...

    async def settle(self, delivery: Delivery, outcome: Outcome) -> None:
        """Remove the message, make it ready again at once, or move it to the dead letters.

        What is abandoned (or outlives its lock) too often is dead-lettered, as is what outlives its ttl.
        Raises ConflictError once the lock is lost: the message comes, or came, again.
        """
        ...

    async def peek(self, queue: str, *, after: int = 0, limit: int = 100) -> tuple[Delivery, ...]:
        """The first `limit` (at most 250) behind number `after`, locked or not, but none still scheduled."""
        ...
