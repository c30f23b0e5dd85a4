"""What every adapter refuses, in the same words: the limits that the ports promise."""

import re
from collections.abc import Iterator, Sequence

from loom_core.errors import ConflictError, InvalidError, Problem
from loom_core.ports import blobs
from loom_core.ports.locks import MAX_TTL, MIN_TTL
from loom_core.ports.queue import DEAD_LETTERS, MAX_MESSAGE_BYTES, MAX_MESSAGES, QueueMessage
from loom_core.ports.state import MAX_BATCH_BYTES, MAX_OPERATIONS, Fence, Operation, Put
from loom_core.wire.json import dump

LONGEST_TTL = 2**31 - 1
LONGEST_ID = 128
_LAST_TIME = 253_402_300_799

_BLOB = re.compile(r"(?=.{1,200}\Z)[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*\Z")
_QUEUE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._/-]{0,258}[A-Za-z0-9])?\Z")
# ASCII only, so that every store sorts ids alike; without what Cosmos DB refuses in an id.
_ID = re.compile(r"[!-~](?:[ -~]{0,253}[!-~])?\Z")
_ETAG = re.compile(r"[!-~]+\Z")
_FORBIDDEN = frozenset("/\\?#")


def check_name(name: str) -> None:
    """Refuse what is no name of a blob or a lock."""
    if not _BLOB.match(name):
        raise InvalidError(f"{name[:200]!r} is not a name for a blob or a lock")


def check_blob(name: str, data: bytes) -> None:
    check_name(name)
    if len(data) > blobs.MAX_BLOB_BYTES:
        raise InvalidError(f"blob {name} has {len(data)} bytes; {blobs.MAX_BLOB_BYTES} are allowed")


def check_etag(what: str, if_match: str | None) -> None:
    """Refuse what no store ever gave for an etag: for some `*` is any etag, and others cannot send it."""
    if if_match is not None and (if_match.strip('"') == "*" or not _ETAG.match(if_match)):
        raise ConflictError(f"{what} has another etag")


def check_lock(name: str, ttl: int) -> None:
    check_name(name)
    if not MIN_TTL <= ttl <= MAX_TTL:
        raise InvalidError(f"a lock lasts {MIN_TTL} to {MAX_TTL} seconds, not {ttl}")


def check_address(partition: str, *ids: str) -> None:
    problems = [Problem("$", f"{id_[:255]!r} is not a document id") for id_ in ids if not _is_id(id_)]
    if not (0 < len(partition) <= 512 and partition.isprintable()):
        problems.append(Problem("$", f"{partition[:512]!r} is not a partition"))
    if problems:
        raise InvalidError(problems)


def check_batch(partition: str, operations: Sequence[Operation]) -> list[str]:
    """Check a batch; the result is the JSON that each operation writes (`""` for a Delete)."""
    check_address(partition, *(operation.id for operation in operations))
    puts = [operation for operation in operations if isinstance(operation, Put)]
    if any(put.if_absent and put.if_match is not None for put in puts):
        raise InvalidError("a Put is conditional on absence or on an etag, not on both")
    if any(put.ttl is not None and not 1 <= put.ttl <= LONGEST_TTL for put in puts):
        raise InvalidError(f"a document lives 1 to {LONGEST_TTL} seconds, or for ever")
    if not 0 < len(operations) <= MAX_OPERATIONS:
        raise InvalidError(f"a batch has 1 to {MAX_OPERATIONS} operations, this one has {len(operations)}")
    try:
        bodies = [*map(_body, operations)]
        size = sum(len(body.encode()) for body in bodies)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidError(f"a document is not plain JSON: {error}") from None
    if size > MAX_BATCH_BYTES:
        raise InvalidError(f"a batch has at most {MAX_BATCH_BYTES} bytes of JSON, this one has {size}")
    for operation in operations:
        check_etag(f"document {operation.id}", None if isinstance(operation, Fence) else operation.if_match)
    return bodies


def _body(operation: Operation) -> str:
    match operation:
        case Put():
            return dump(operation.body)
        case Fence():
            return dump({"token": operation.token})
        case _:
            return ""


def _is_id(id_: str) -> bool:
    return bool(_ID.match(id_)) and _FORBIDDEN.isdisjoint(id_)


def check_queue(queue: str) -> None:
    if not _QUEUE.match(queue.removesuffix(DEAD_LETTERS)):
        raise InvalidError(f"{queue[:80]!r} is not a queue name")


def check_messages(queue: str, messages: Sequence[QueueMessage]) -> list[str]:
    """Check what is to be sent; the result is the JSON of each body."""
    check_queue(queue)
    if queue.endswith(DEAD_LETTERS):
        raise InvalidError("nobody sends to dead letters")
    if not 1 <= len(messages) <= MAX_MESSAGES:
        raise InvalidError(f"send 1 to {MAX_MESSAGES} messages at a time, not {len(messages)}")
    bodies: list[str] = []
    problems: list[Problem] = []
    for index, message in enumerate(messages):
        problems += _ids_and_times(f"$[{index}]", message)
        try:
            bodies.append(dump(message.body))
            size = len(bodies[-1].encode()) + len(dump(message.properties).encode())
        except (TypeError, ValueError, RecursionError) as error:
            problems.append(Problem(f"$[{index}]", f"is not plain JSON: {error}"))
            continue
        if size > MAX_MESSAGE_BYTES:
            remedy = "store a larger payload elsewhere and send a reference"
            told = f"has {size} bytes; at most {MAX_MESSAGE_BYTES} are allowed: {remedy}"
            problems.append(Problem(f"$[{index}]", told))
    if problems:
        raise InvalidError(problems)
    return bodies


def _ids_and_times(at: str, message: QueueMessage) -> Iterator[Problem]:
    optional = {"sessionId": message.session_id, "correlationId": message.correlation_id}
    ids = {"messageId": message.message_id} | {k: v for k, v in optional.items() if v is not None}
    for name, value in ids.items():
        if not (1 <= len(value) <= LONGEST_ID and _is_text(value)):
            yield Problem(f"{at}.{name}", f"must be text of 1 to {LONGEST_ID} characters")
    if message.due is not None and not 0 <= message.due <= _LAST_TIME:
        yield Problem(f"{at}.due", "must be a time between 1970 and 9999")
    if message.ttl is not None and not message.ttl > 0:
        yield Problem(f"{at}.ttl", "must be longer than nothing")
    for name, value in message.properties.items():
        if not isinstance(value, str | int | float):  # pyright: ignore[reportUnnecessaryIsInstance] - users'
            yield Problem(f"{at}.properties.{name}", "must be text, a number or a boolean")


def _is_text(value: str) -> bool:
    """Say whether it can be stored: JSON may hold half a surrogate pair, UTF-8 cannot."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
