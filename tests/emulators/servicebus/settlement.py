"""What a receiver does with a message it has locked; and messages asked for by number."""

from uuid import UUID

from tests.emulators.servicebus import errors
from tests.emulators.servicebus.locks import Lock, Session
from tests.emulators.servicebus.messages import DEFERRED, SCHEDULED, Message
from tests.emulators.servicebus.queue import Queue

# What one answer to a peek holds at most.
MAX_PEEKED_BYTES = 1024 * 1024
MAX_PEEKED = 250


def _lock(queue: Queue, token: UUID) -> Lock:
    lock = queue.locks.get(token)
    if lock is None or lock.until <= queue.broker.now():
        raise errors.session_lock_lost() if queue.sessions_required else errors.message_lock_lost()
    return lock


def complete(queue: Queue, token: UUID) -> None:
    lock = _lock(queue, token)
    queue.locks.remove(lock)
    queue.discard(lock.message)


def abandon(queue: Queue, token: UUID, properties: dict | None = None, *, count: bool = True) -> None:
    """Or release it, where it does not count."""
    lock = _lock(queue, token)
    if properties:
        lock.message.amend(properties)
        queue.broker.journal.put(queue, lock.message)
    queue.unlock(lock, count=count)


def defer(queue: Queue, token: UUID, properties: dict | None = None) -> None:
    lock = _lock(queue, token)
    queue.locks.remove(lock)
    lock.message.state = DEFERRED
    lock.message.amend(properties)
    queue.broker.journal.put(queue, lock.message)


def dead_letter(
    queue: Queue,
    token: UUID,
    reason: str | None = None,
    description: str | None = None,
    properties: dict | None = None,
) -> None:
    lock = _lock(queue, token)
    if queue.is_dead_letters:
        raise errors.not_allowed("A dead letter cannot be dead-lettered.")
    queue.locks.remove(lock)
    lock.message.amend(properties)
    queue.bury(lock.message, reason, description)


def renew(queue: Queue, token: UUID) -> float:
    if queue.sessions_required:
        raise errors.not_allowed("A message in a session has no lock of its own: renew that of the session.")
    lock = _lock(queue, token)
    queue.locks.renew(lock, queue.broker.now() + queue.properties.lock_duration)
    return lock.until


def expire(queue: Queue, tokens: list[UUID]) -> None:
    """These locks end now; in a session, its lock does."""
    for token in tokens:
        lock = queue.locks.get(token)
        if lock is not None and lock.session is not None:
            queue.sessions.expire(lock.session)
        elif lock is not None:
            queue.unlock(lock, count=True)


def cancel(queue: Queue, numbers: list[int]) -> None:
    """All, or none where one is not scheduled (any more)."""
    found = [queue.messages.get(number) for number in numbers]
    for number, message in zip(numbers, found, strict=True):
        if message is None or message.state != SCHEDULED:
            raise errors.message_not_found(number)
    for message in found:
        queue.discard(message)


def take_deferred(queue: Queue, numbers: list[int], session: Session | None, *, keep: bool) -> list[Message]:
    """Lock them, or with `keep` False give them away."""
    found = []
    for number in numbers:
        message = queue.messages.get(number)
        if message is not None and message.state == DEFERRED and _outlived(queue, message):
            message = None
        if message is None or message.state != DEFERRED:
            raise errors.message_not_found(number)
        if session is not None and message.session_id != session.id:
            raise errors.message_not_found(number)
        if message.lock is not None:
            raise errors.message_lock_lost()
        found.append(message)
    for message in found:
        if keep:
            queue.lock(message, session)
        else:
            queue.discard(message)
    return found


def _outlived(queue: Queue, message: Message) -> bool:
    """A deferred message is not looked at until somebody asks for it."""
    if message.lock is not None or message.expires is None or message.expires > queue.broker.now():
        return False
    queue.expire(message)
    return True


def peek(queue: Queue, first: int, count: int, session: str | None) -> list[bytes]:
    found: list[bytes] = []
    size = 0
    for number in sorted(queue.messages):
        message = queue.messages[number]
        if number < first or (session is not None and message.session_id != session):
            continue
        lock, message.lock = message.lock, None  # a peek tells nothing of locks
        encoded = message.encode()
        message.lock = lock
        size += len(encoded)
        if len(found) == min(count, MAX_PEEKED) or (found and size > MAX_PEEKED_BYTES):
            break
        found.append(encoded)
    return found
