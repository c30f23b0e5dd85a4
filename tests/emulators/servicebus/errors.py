"""Errors as clients see them: an AMQP condition, and an HTTP-like status where $management answers."""

from tests.emulators.servicebus.amqp.types import Described, Symbol, ULong


class ServiceBusError(Exception):
    def __init__(self, condition: str, description: str, status: int = 400) -> None:
        super().__init__(description)
        self.condition, self.description, self.status = condition, description, status


def described(condition: str, description: str) -> Described:
    # The null is not needed by the standard, but the Python SDK reads three elements and hangs on two.
    return Described(ULong(0x1D), [Symbol(condition), description, None])


def not_found(name: str) -> ServiceBusError:
    return ServiceBusError("amqp:not-found", f"The messaging entity '{name}' could not be found.", 404)


def not_allowed(description: str) -> ServiceBusError:
    return ServiceBusError("amqp:not-allowed", description)


def invalid(description: str) -> ServiceBusError:
    return ServiceBusError("com.microsoft:argument-error", description)


def message_not_found(number: object) -> ServiceBusError:
    return ServiceBusError(
        "com.microsoft:message-not-found", f"There is no such message with sequence number {number}.", 404
    )


def message_lock_lost() -> ServiceBusError:
    return ServiceBusError(
        "com.microsoft:message-lock-lost",
        "The lock supplied is invalid. Either the lock expired, or the message has already been removed.",
        410,
    )


def session_lock_lost() -> ServiceBusError:
    return ServiceBusError("com.microsoft:session-lock-lost", "The session lock has expired.", 410)


def session_cannot_be_locked(session: str) -> ServiceBusError:
    return ServiceBusError(
        "com.microsoft:session-cannot-be-locked",
        f"The requested session '{session}' cannot be accepted. It may be locked by another receiver.",
        409,
    )


def timed_out() -> ServiceBusError:
    return ServiceBusError(
        "com.microsoft:timeout", "The operation did not complete within the allotted timeout.", 408
    )


def unauthorized(description: str) -> ServiceBusError:
    return ServiceBusError("amqp:unauthorized-access", description, 401)


def too_large(size: int, limit: int) -> ServiceBusError:
    return ServiceBusError(
        "amqp:link:message-size-exceeded",
        f"The received message has {size} bytes; the limit on the link is {limit} bytes.",
    )


def full(name: str) -> ServiceBusError:
    return ServiceBusError(
        "amqp:resource-limit-exceeded", f"The entity '{name}' has reached its maximum allowed size.", 403
    )
