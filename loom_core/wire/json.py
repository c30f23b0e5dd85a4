"""JSON as Loom means it: plain, finite, and canonical where it is hashed."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from json import encoder
from typing import Any

type Json = bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None
type JsonObject = Mapping[str, Json]

# What a JSONEncoder without ensure_ascii and allow_nan makes anew for every value, which costs more than most
# values do.
_ENCODER: Any = vars(encoder)
_encode = _ENCODER["c_make_encoder"](
    None, json.JSONEncoder().default, _ENCODER["c_encode_basestring"], None, ":", ",", False, False, False
)
_CONTAINERS: frozenset[type] = frozenset((dict, list, tuple))
_PAYLOAD = re.compile(r"payloads/[0-9a-f]{64}\Z")


def dump(value: Json) -> str:
    """Encode compactly. Raises ValueError for NaN and infinities, TypeError for what JSON cannot hold."""
    return "".join(_encode(value, 0))


def canonical(value: Json) -> bytes:
    """Encode so that equal documents have equal bytes (sorted keys, UTF-8)."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True)
    return text.encode()


def digest(value: Json) -> str:
    """The sha256 of the canonical form, as 64 hex digits."""
    return hashlib.sha256(canonical(value)).hexdigest()


def copied(value: Any) -> Any:
    """The same document in containers of its own."""
    items: Any = value
    if isinstance(value, dict):
        return {key: copied(one) if type(one) in _CONTAINERS else one for key, one in items.items()}
    if isinstance(value, list | tuple):
        return [copied(one) if type(one) in _CONTAINERS else one for one in items]
    return value


def referred(value: Json) -> str | None:
    """The blob that `{"$ref": "payloads/<sha256>", "bytes": n}` names, for a long string kept there.

    None for every other value, whatever else it calls `$ref`.
    """
    if not isinstance(value, dict) or len(value) != 2 or "bytes" not in value:
        return None
    name = value.get("$ref")
    return name if isinstance(name, str) and _PAYLOAD.match(name) else None
