"""Messages from outside: checked, and given what they leave out."""

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final, cast

from loom_core.clients.actors import Actors
from loom_core.clients.plain import check_plain, is_deep
from loom_core.clients.run import new_id
from loom_core.errors import InvalidError, NotFoundError, Problem
from loom_core.expressions.parse import member
from loom_core.payloads import MAX_DEPTH
from loom_core.wire.json import Json
from loom_core.wire.messages import Message, iso, message

MAX_MESSAGES: Final = 1_000
"""In one request."""
MAX_ID: Final = 128
MAX_NAME: Final = 100
MAX_PRIORITY: Final = 1_000_000
MAX_TTL: Final = 10 * 366 * 24 * 3600 * 1000
TYPES: Final = frozenset({"activate", "event", "resume"})
RESERVED: Final = "loom:"
REPLAYED: Final = re.compile(r"(.*)#r(\d{1,9})\Z", re.DOTALL)
"""The id of a message that was replayed: that which it first had, and how often."""
_OWN: Final = re.compile(rf".+/.+:\d+\Z|{REPLAYED.pattern}")
_TRACE: Final = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")

type _Check = tuple[Callable[[Any], bool], str]


def read(
    given: Json,
    actors: Actors,
    now: datetime,
    *,
    to: str | None = None,
    trace: str | None = None,
    by_actors: bool = False,
) -> list[Message]:
    """The message, or the list of up to MAX_MESSAGES, in a document.

    They are for the actor `to`, or each for its own `actorId`. `now` is the time in UTC, `trace` a W3C
    traceparent, which is ignored unless it is one. Those sent `by_actors` may have ids of Loom's own form.
    Raises InvalidError with every problem, those that the actors' types have with the payloads too.
    """
    several = isinstance(given, list)
    documents: Sequence[Any] = cast("list[Any]", given) if several else [given]
    if not 0 < len(documents) <= MAX_MESSAGES:
        raise InvalidError(f"1 to {MAX_MESSAGES} messages are taken at a time, not {len(documents)}")
    check_plain(documents, several=several)
    fields = _FIELDS | {"messageId": _TEXT} if by_actors else _FIELDS
    reading = _Reading(actors, now, to, trace if trace and _TRACE.fullmatch(trace) else None, fields)
    own = new_id("msg-")
    read_ = (
        [reading.read(one, f"$[{index}]", f"{own}-{index}") for index, one in enumerate(documents)]
        if several
        else [reading.read(given, "$", own)]
    )
    if reading.problems:
        raise InvalidError(reading.problems)
    return cast("list[Message]", read_)


class _Reading:
    """The messages of one request."""

    def __init__(
        self, actors: Actors, now: datetime, to: str | None, trace: str | None, fields: dict[str, _Check]
    ) -> None:
        self.problems: list[Problem] = []
        self._fields = fields
        self._actors, self._to, self._trace = actors, to, trace
        self._at = iso(now.timestamp())
        self._known: dict[str, str] = {}

    def read(self, one: Any, path: str, own: str) -> Message | None:
        before = len(self.problems)
        if not isinstance(one, dict):
            return self._refuse(path, "a message is an object")
        given = cast("dict[str, Any]", one)
        self._check(given, path, self._fields)
        metadata: Any = given.get("metadata", {})
        if isinstance(metadata, dict):
            self._check(cast("dict[str, Any]", metadata), f"{path}.metadata", _METADATA)
        kind = given.get("messageType", "activate")
        self._check_payload(given, kind, path)
        to = self._address(given, path)
        if to is None or len(self.problems) > before:
            return None
        made = self._made(given, to, kind, cast("dict[str, Any]", metadata), own)
        self.problems += self._actors.problems(made, path)
        return made

    def _made(self, given: dict[str, Any], to: str, kind: str, metadata: dict[str, Any], own: str) -> Message:
        about: dict[str, Any] = {"type": kind, "traceparent": self._trace, **metadata}
        if "messageId" not in given:
            about["unique"] = True
        if "correlationId" in given:
            about["correlation"] = given["correlationId"]
        at = about.pop("timestamp", self._at)
        return message(to, given.get("payload"), given.get("messageId", own), at, **about)

    def _check(self, given: dict[str, Any], path: str, checks: dict[str, _Check]) -> None:
        for name, value in given.items():
            is_good, words = checks.get(name, _UNKNOWN)
            if not is_good(value):
                self._refuse(member(path, name), words)

    def _check_payload(self, given: dict[str, Any], kind: Any, path: str) -> None:
        payload = given.get("payload")
        if kind == "event":
            if not isinstance(payload, dict):
                return self._refuse(f"{path}.payload", 'that of an event is {"eventType", "data"}')
            if "eventType" not in payload:
                self._refuse(f"{path}.payload.eventType", "is required")
            self._check(cast("dict[str, Any]", payload), f"{path}.payload", _EVENT)
        elif "payload" not in given and kind != "resume":
            self._refuse(f"{path}.payload", "is required")
        if is_deep(payload):
            self._refuse(f"{path}.payload", f"is nested deeper than {MAX_DEPTH} levels")
        return None

    def _address(self, given: dict[str, Any], path: str) -> str | None:
        target = given.get("actorId", self._to)
        if not isinstance(target, str):
            return self._refuse(f"{path}.actorId", "is required") if target is None else None
        if target not in self._known:
            try:
                self._known[target] = self._actors.known(target)
            except NotFoundError as error:
                return self._refuse(f"{path}.actorId", str(error))
            except InvalidError as error:
                return self._refuse(f"{path}.actorId", error.problems[0].message)
        if self._to not in {None, self._known[target]}:
            return self._refuse(f"{path}.actorId", f"the address of the request is that of {self._to}")
        return self._known[target]

    def _refuse(self, path: str, words: str) -> None:
        self.problems.append(Problem(path, words))


def _is_text(value: Any, most: int = MAX_ID) -> bool:
    return isinstance(value, str) and 0 < len(value) <= most and value.isprintable()


def _is_id(value: Any) -> bool:
    return _is_text(value) and not _OWN.match(value)


def _is_number(value: Any, least: int, most: int) -> bool:
    return type(value) is int and least <= value <= most


def _is_time(value: Any) -> bool:
    try:
        return isinstance(value, str) and datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False


def _is_event(value: Any) -> bool:
    return _is_text(value, MAX_NAME) and not value.casefold().startswith(RESERVED)


_TEXT: Final[_Check] = (_is_text, f"1 to {MAX_ID} printable characters")
_FREE: Final[_Check] = (lambda _: True, "")
_UNKNOWN: Final[_Check] = (lambda _: False, "there is no such field")
_FIELDS: Final[dict[str, _Check]] = {
    "payload": _FREE,
    "messageId": (
        _is_id,
        f"1 to {MAX_ID} printable characters, not of the form of Loom's own: Type/id:number, …#r1",
    ),
    "messageType": (lambda value: isinstance(value, str) and value in TYPES, "activate, event or resume"),
    "correlationId": _TEXT,
    "metadata": (lambda value: isinstance(value, dict), "is an object"),
    "actorId": (lambda value: isinstance(value, str), "is the address of an actor: Type/id"),
}
_METADATA: Final[dict[str, _Check]] = {
    "traceparent": (
        lambda value: isinstance(value, str) and bool(_TRACE.fullmatch(value)),
        "a W3C traceparent",
    ),
    "priority": (
        lambda value: _is_number(value, -MAX_PRIORITY, MAX_PRIORITY),
        f"a whole number from -{MAX_PRIORITY} to {MAX_PRIORITY}; higher goes first",
    ),
    "ttl": (
        lambda value: value is None or _is_number(value, 1, MAX_TTL),
        f"a whole number of milliseconds from 1 to {MAX_TTL}",
    ),
    "timestamp": (_is_time, "a time in ISO 8601 with its offset, such as 2027-01-01T12:30:00Z"),
    "sender": _TEXT,
}
_EVENT: Final[dict[str, _Check]] = {
    "eventType": (
        _is_event,
        f"1 to {MAX_NAME} printable characters; names that begin with {RESERVED} are Loom's own",
    ),
    "data": _FREE,
}
