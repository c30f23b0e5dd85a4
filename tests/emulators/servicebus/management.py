"""The operations of an entity's $management node."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from tests.emulators.servicebus import errors, settlement
from tests.emulators.servicebus.amqp.types import AmqpError, Array, Int, Symbol, Timestamp
from tests.emulators.servicebus.errors import ServiceBusError
from tests.emulators.servicebus.locks import Session
from tests.emulators.servicebus.messages import Message, Request
from tests.emulators.servicebus.queue import Queue
from tests.emulators.servicebus.settlement import MAX_PEEKED

_VENDOR = "com.microsoft:"
_RECEIVE_AND_DELETE = 0
NO_CONTENT = 204


def _get(body: dict, name: str, kind: type, *, required: bool = True) -> Any:
    value = body.get(name)
    if (value is None and required) or not isinstance(value, kind | None):
        raise errors.invalid(f"The request has no valid '{name}'.")
    return value


def _tokens(body: dict) -> list[UUID]:
    tokens = _get(body, "lock-tokens", list)
    if not tokens or not all(isinstance(token, UUID) for token in tokens):
        raise errors.invalid("The request has no valid 'lock-tokens'.")
    return tokens


def _numbers(body: dict) -> list[int]:
    numbers = _get(body, "sequence-numbers", list)
    if not numbers or not all(isinstance(number, int) for number in numbers):
        raise errors.invalid("The request has no valid 'sequence-numbers'.")
    return numbers


def _held(queue: Queue, body: dict) -> Session:
    return queue.sessions.held(_get(body, "session-id", str))


def _time(seconds: float) -> Timestamp:
    return Timestamp(int(seconds * 1000))


def _renew(queue: Queue, body: dict) -> dict:
    return {"expirations": Array([_time(settlement.renew(queue, token)) for token in _tokens(body)])}


def _renew_session(queue: Queue, body: dict) -> dict:
    session = _held(queue, body)
    queue.sessions.renew(session)
    return {"expiration": _time(session.until)}


def _get_state(queue: Queue, body: dict) -> dict:
    return {"session-state": _held(queue, body).state}


def _set_state(queue: Queue, body: dict) -> dict:
    session = _held(queue, body)
    state = _get(body, "session-state", bytes, required=False)
    if state is not None and len(state) > queue.properties.max_message_bytes:
        raise errors.too_large(len(state), queue.properties.max_message_bytes)
    session.state = state
    queue.broker.journal.session_state(queue.key, session.id, state)
    return {}


def _schedule(queue: Queue, body: dict) -> dict:
    entries = _get(body, "messages", list)
    payloads = [entry.get("message") if isinstance(entry, dict) else None for entry in entries]
    if not payloads or not all(isinstance(payload, bytes) for payload in payloads):
        raise errors.invalid("The request has no valid 'messages'.")
    size, limit = sum(map(len, payloads)), queue.properties.max_message_bytes
    if size > limit:
        raise errors.too_large(size, limit)
    try:
        messages = [Message.decode(payload) for payload in payloads]
    except AmqpError as error:
        raise errors.invalid(error.description) from error
    return {"sequence-numbers": Array(queue.send(messages))}


def _cancel(queue: Queue, body: dict) -> dict:
    settlement.cancel(queue, _numbers(body))
    return {}


def _peek(queue: Queue, body: dict) -> dict | None:
    found = settlement.peek(
        queue,
        _get(body, "from-sequence-number", int),
        _get(body, "message-count", int),
        _get(body, "session-id", str, required=False),
    )
    return {"messages": [{"message": message} for message in found]} if found else None


def _session(queue: Queue, body: dict) -> Session | None:
    if not queue.sessions_required:
        return None
    return _held(queue, body)


def _take_deferred(queue: Queue, body: dict) -> dict:
    keep = body.get("receiver-settle-mode") != _RECEIVE_AND_DELETE
    found = []
    for message in settlement.take_deferred(queue, _numbers(body), _session(queue, body), keep=keep):
        entry: dict[str, object] = {"message": message.encode()}
        if message.lock is not None:
            entry["lock-token"] = message.lock.token
        found.append(entry)
    return {"messages": found}


def _settle(queue: Queue, body: dict) -> dict:
    properties = _get(body, "properties-to-modify", dict, required=False)
    reason = _get(body, "deadletter-reason", str, required=False)
    description = _get(body, "deadletter-description", str, required=False)
    outcomes: dict[object, Callable[[UUID], None]] = {
        "completed": lambda token: settlement.complete(queue, token),
        "abandoned": lambda token: settlement.abandon(queue, token, properties),
        "defered": lambda token: settlement.defer(queue, token, properties),
        "suspended": lambda token: settlement.dead_letter(queue, token, reason, description, properties),
    }
    outcome = outcomes.get(_get(body, "disposition-status", str))
    if outcome is None:
        raise errors.invalid("The request has no valid 'disposition-status'.")
    for token in _tokens(body):
        outcome(token)
    return {}


def _sessions(queue: Queue, body: dict) -> dict | None:
    skip, top = _get(body, "skip", int, required=False) or 0, _get(body, "top", int, required=False)
    ids = {message.session_id for message in queue.messages.values() if message.session_id}
    ids |= {session.id for session in queue.sessions if session.state is not None}
    found = sorted(ids)[max(skip, 0) :][: MAX_PEEKED if top is None else max(top, 0)]
    return {"skip": Int(skip), "sessions-ids": Array(found)} if found else None


# What faults and statistics call an operation, how it is done, and what an empty answer is called.
_OPERATIONS: dict[str, tuple[str, Callable[[Queue, dict], dict | None], str]] = {
    "renew-lock": ("renew", _renew, ""),
    "renew-session-lock": ("renew", _renew_session, ""),
    "get-session-state": ("state", _get_state, ""),
    "set-session-state": ("state", _set_state, ""),
    "schedule-message": ("schedule", _schedule, ""),
    "cancel-scheduled-message": ("cancel", _cancel, ""),
    "peek-message": ("peek", _peek, "message-not-found"),
    "receive-by-sequence-number": ("deferred", _take_deferred, ""),
    "update-disposition": ("settle", _settle, ""),
    "get-message-sessions": ("peek", _sessions, "session-not-found"),
}


def operation(request: Request) -> str | None:
    """Its name for faults and statistics; None where there is no such operation."""
    known = _OPERATIONS.get(str(request.application.get("operation")).removeprefix(_VENDOR))
    return known[0] if known else None


def expire(queue: Queue, request: Request) -> None:
    """The locks that a request is about end now."""
    body = request.body if isinstance(request.body, dict) else {}
    tokens, session = body.get("lock-tokens"), body.get("session-id")
    if isinstance(tokens, list):
        settlement.expire(queue, [token for token in tokens if isinstance(token, UUID)])
    if isinstance(session, str):
        queue.sessions.expire(queue.sessions.get(session))


def run(queue: Queue, request: Request, owns: Callable[[Session], bool]) -> tuple[dict, object]:
    """The application properties and the body of the answer. Raises ServiceBusError.

    `owns`: whether a session is one of who asks. To everybody else it is lost.
    """
    name = str(request.application.get("operation")).removeprefix(_VENDOR)
    if name not in _OPERATIONS:
        raise ServiceBusError("amqp:not-implemented", f"There is no operation '{name[:100]}'.", 501)
    if not isinstance(request.body, dict):
        raise errors.invalid("The body of a request is a map.")
    _, call, empty = _OPERATIONS[name]
    needs_session = "session-" in name or (name == "receive-by-sequence-number" and queue.sessions_required)
    if needs_session and not owns(_held(queue, request.body)):
        raise errors.session_lock_lost()
    body = call(queue, request.body)
    if body is not None:
        return {"statusCode": Int(200), "statusDescription": "OK"}, body
    condition = Symbol(_VENDOR + empty)
    return {"statusCode": Int(NO_CONTENT), "statusDescription": "", "errorCondition": condition}, {}


def refusal(error: ServiceBusError) -> tuple[dict, object]:
    condition = Symbol(error.condition)
    return {
        "statusCode": Int(error.status),
        "statusDescription": error.description,
        "errorCondition": condition,
    }, None
