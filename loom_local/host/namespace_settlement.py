"""Locks on what was received: renewed while a function runs, and then settled."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from loom_local.broker import LockLostError

if TYPE_CHECKING:
    from azure.servicebus import ServiceBusReceivedMessage
    from azure.servicebus.aio import ServiceBusReceiver

_log = logging.getLogger(__name__)


async def renew(
    receiver: "ServiceBusReceiver", messages: Sequence["ServiceBusReceivedMessage"], *, sessions: bool
) -> bool:
    """Say whether the receiver is still the one that gave the messages: the SDK may open another link."""
    from azure.servicebus.exceptions import ServiceBusServerBusyError  # noqa: PLC0415 - cold start

    try:
        if sessions:
            await receiver.session.renew_lock()
        else:
            for message in messages:
                await receiver.renew_message_lock(message)
    except ServiceBusServerBusyError:
        return True
    except Exception as error:  # noqa: BLE001 - what follows from it is told when it is settled
        _log.debug("a lock was not renewed: %s", type(error).__name__)
        return False
    return True


async def settle(
    queue: str,
    how: "Callable[[ServiceBusReceivedMessage], Awaitable[None]]",
    messages: Sequence["ServiceBusReceivedMessage"],
) -> bool:
    """Settle what is not settled yet; say whether all was.

    A lock that has run out is one message's; whatever else fails is the link's, and on another link the
    rest would have other numbers.
    """
    from azure.servicebus.exceptions import (  # noqa: PLC0415 - cold start
        MessageAlreadySettled,
        MessageLockLostError,
    )

    failed: list[Exception] = []
    for message in messages:
        try:
            await how(message)
        except MessageAlreadySettled:
            continue
        except Exception as error:  # noqa: BLE001 - the service has it still, and delivers it again
            failed.append(error)
            if not isinstance(error, MessageLockLostError):
                break
    if failed:
        _log.warning(
            "a message of queue %s was handled, but will be delivered again: %s",
            queue,
            type(failed[-1]).__name__,
        )
    return not failed


async def lost(message: "ServiceBusReceivedMessage") -> None:
    raise LockLostError(f"message {message.sequence_number}")
