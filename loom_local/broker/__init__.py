"""Queues with Service Bus's semantics, kept in the host's SQLite file."""

from loom_local.broker.broker import Broker
from loom_local.broker.messages import (
    DEAD_LETTERS,
    Delivery,
    LockLostError,
    Message,
    QueueCounts,
    QueueProperties,
    SendResult,
    SessionLock,
    StoredMessage,
)

__all__ = [
    "DEAD_LETTERS",
    "Broker",
    "Delivery",
    "LockLostError",
    "Message",
    "QueueCounts",
    "QueueProperties",
    "SendResult",
    "SessionLock",
    "StoredMessage",
]
