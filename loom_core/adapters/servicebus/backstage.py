"""What Service Bus can do and the SDK has no public word for, until it does."""

# ruff: noqa: SLF001 - it says so

from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from azure.servicebus import ServiceBusReceivedMessage
    from azure.servicebus.aio import ServiceBusReceiver, ServiceBusSender


async def peek_all_sessions(
    sender: "ServiceBusSender", number: int, limit: int
) -> "list[ServiceBusReceivedMessage]":
    """Look at a queue with sessions from this number on, whatever the session.

    The SDK peeks through a receiver, and a receiver of such a queue holds one session.
    """
    from azure.servicebus._common import constants, mgmt_handlers  # noqa: PLC0415 - cold start

    ours: Any = sender
    transport = ours._amqp_transport
    request = {
        constants.MGMT_REQUEST_FROM_SEQUENCE_NUMBER: transport.AMQP_LONG_VALUE(number),
        constants.MGMT_REQUEST_MAX_MESSAGE_COUNT: limit,
    }
    peek_op: Any = getattr(mgmt_handlers, "peek_op")  # noqa: B009 - it is not typed
    understand = partial(peek_op, receiver=SimpleNamespace(), amqp_transport=transport)
    return await ours._mgmt_request_response_with_retry(
        constants.REQUEST_RESPONSE_PEEK_OPERATION, request, understand, keep_alive_associated_link=False
    )


async def want_no_more(receiver: "ServiceBusReceiver") -> None:
    """Take back what was asked for and did not come.

    Else it would be locked for this receiver later, while nobody asks, and keep others waiting.
    """
    ours: Any = receiver
    if ours._handler is not None:
        await ours._amqp_transport.reset_link_credit_async(ours._handler, 0)
