"""Messages and addresses: how actors are named, and what is sent to them."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from loom_core.errors import InvalidError
from loom_core.wire.json import Json

TYPE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,39}\Z")
QUEUE: Final = "queue:"
MAX_KEY: Final = 98
"""Characters of type and id together: Azure's instance ids have 100, with an `@` before each."""

type Message = Mapping[str, Any]
"""`{"messageId", "actorId", "messageType", "correlationId", "payload", "metadata"}`; types are `activate`,
`event` (its payload is `{"eventType", "data"}`) and `resume`; metadata are `timestamp`, `sender`, `priority`
(higher goes first), `ttl` (milliseconds) and what Loom adds."""


def address(type: str, id: str) -> str:  # noqa: A002 - the field's words
    """`Type/id`. Raises InvalidError for what is no type, and for an id that Azure would refuse."""
    if not TYPE.match(type):
        raise InvalidError(f"{type[:100]!r} is not a type of actors: a letter and up to 39 of A-Za-z0-9_-")
    fits = id and id == id.strip() and id.isprintable() and not set(id) & set("/\\#?")
    if not fits or len(type) + len(id) > MAX_KEY:
        raise InvalidError(
            f"{id[:100]!r} is not an actor's id: printable, without / \\ # ?, "
            f"of at most {MAX_KEY - len(type)} characters for this type"
        )
    return f"{type}/{id}"


def split(target: str) -> tuple[str, str]:
    """The type and the id of an address. Raises InvalidError."""
    type_, _, id_ = target.partition("/")
    address(type_, id_)
    return type_, id_


def expiry(one: Message) -> float | None:
    """When its ttl is over, in seconds since the epoch; None if it has none."""
    metadata = one["metadata"]
    if not metadata.get("ttl"):
        return None
    return datetime.fromisoformat(metadata["timestamp"]).timestamp() + metadata["ttl"] / 1000


def iso(moment: float) -> str:
    """A time in seconds since the epoch as ISO 8601 has it, in UTC."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def instance_id(target: str) -> str:
    """The id that an actor's entity has in the durable backend, which knows names in lower case only."""
    kind, _, id_ = target.partition("/")
    return f"@{kind.lower()}@{id_}"


def message(to: str, payload: Json, id: str, at: str, **metadata: Json) -> dict[str, Any]:  # noqa: A002
    """A message document; what is None is left out of its metadata."""
    known = {"timestamp": at} | {name: value for name, value in metadata.items() if value is not None}
    kind = known.pop("type", "activate")
    correlation = known.pop("correlation", id)
    return {
        "messageId": id,
        "actorId": to,
        "messageType": kind,
        "correlationId": correlation,
        "payload": payload,
        "metadata": known,
    }
