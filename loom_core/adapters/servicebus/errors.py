"""What Service Bus and its SDK raise, in the words of the ports."""

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from loom_core.errors import ConflictError, InvalidError, LoomError, NotFoundError, UnavailableError

_SECRET = re.compile(r"(SharedAccess(?:Key|Signature)|sig|SASToken)=[^;&\s'\"]+", re.IGNORECASE)
_LONGEST = 500


@asynccontextmanager
async def spoken(queue: str, budget: float) -> AsyncGenerator[None]:
    """Give the work `budget` seconds, and raise what went wrong as a LoomError."""
    time = asyncio.timeout(budget)
    try:
        async with time:
            yield
    except LoomError:
        raise
    except Exception as error:
        if time.expired():
            said = f"queue {queue!r}: Service Bus did not answer within {budget:g} seconds"
            raise UnavailableError(said) from error
        raise translated(queue, error) from error


def translated(queue: str, error: Exception) -> LoomError:  # noqa: PLR0911 - a kind, an answer
    from azure.core.exceptions import ClientAuthenticationError  # noqa: PLC0415 - cold start
    from azure.servicebus import exceptions as sdk  # noqa: PLC0415 - cold start

    told = f"queue {queue!r}: {words(error)}"
    inner = getattr(error, "inner_exception", None)  # of a credential: the SDK wraps it
    match inner if isinstance(inner, ClientAuthenticationError) else error:
        case sdk.MessagingEntityNotFoundError():
            return NotFoundError(f"there is no queue {queue!r} in this Service Bus namespace")
        case sdk.MessageNotFoundError():
            return NotFoundError(told)
        case sdk.MessageLockLostError() | sdk.SessionLockLostError() | sdk.MessageAlreadySettled():
            return ConflictError(f"queue {queue!r}: the lock is lost: {words(error)}")
        # The link that gave the message is gone, and no other may settle it.
        case ValueError() if is_shut(error):
            return ConflictError(f"queue {queue!r}: the link was lost, and the lock with it")
        case sdk.MessageSizeExceededError():
            return InvalidError(told)
        case sdk.ServiceBusAuthenticationError() | sdk.ServiceBusAuthorizationError():
            return UnavailableError(
                f"{told}; give the app's identity the roles Azure Service Bus Data Sender and Data Receiver "
                "on the queue or its namespace"
            )
        case ClientAuthenticationError():
            return UnavailableError(
                f"{told}; sign in (`az login`), or set AZURE_CLIENT_ID to the app's managed identity"
            )
        case _:
            return UnavailableError(told)


def is_refused(error: BaseException | None) -> bool:
    """Whether the service takes no such thing: a session where there are none, or none where there are."""
    return "amqp:not-allowed" in str(error)


def is_shut(error: BaseException | None) -> bool:
    """Whether the sender or receiver was closed."""
    return isinstance(error, ValueError) and "already been shutdown" in str(error)


def is_busy(error: BaseException | None) -> bool:
    """Whether the service only has no time now, and all links are as they were."""
    from azure.servicebus.exceptions import ServiceBusServerBusyError  # noqa: PLC0415 - cold start

    return isinstance(error, ServiceBusServerBusyError)


def words(error: Exception) -> str:
    """What an error says, in few words and without secrets."""
    said = " ".join(str(error).split()) or type(error).__name__
    return _SECRET.sub(r"\1=…", said)[:_LONGEST]
