"""JSON as Loom means it: plain, finite, and canonical where it is hashed."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence

type Json = bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None
type JsonObject = Mapping[str, Json]

_COMPACT = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_PAYLOAD = re.compile(r"payloads/[0-9a-f]{64}\Z")


def dump(value: Json) -> str:
    """Encode compactly. Raises ValueError for NaN and infinities, TypeError for what JSON cannot hold."""
    return _COMPACT.encode(value)


def canonical(value: Json) -> bytes:
    """Encode so that equal documents have equal bytes (sorted keys, UTF-8)."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True)
    return text.encode()


def digest(value: Json) -> str:
    """The sha256 of the canonical form, as 64 hex digits."""
    return hashlib.sha256(canonical(value)).hexdigest()


def referred(value: Json) -> str | None:
    """The blob that `{"$ref": "payloads/<sha256>", "bytes": n}` names, for a long string kept there.

    None for every other value, whatever else it calls `$ref`.
    """
    if not isinstance(value, dict) or len(value) != 2 or "bytes" not in value:
        return None
    name = value.get("$ref")
    return name if isinstance(name, str) and _PAYLOAD.match(name) else None
