"""An actor as those outside see it."""

from collections.abc import Mapping
from typing import Any

from loom_core.wire.json import Json
from loom_core.wire.messages import iso


def shown(address: str, document: Mapping[str, Any]) -> dict[str, Json]:
    """Everything but the state."""
    kind, _, id_ = address.partition("/")
    suspended: dict[str, Any] = document.get("suspended") or {}
    current: dict[str, Any] = document.get("current") or {}
    is_in_turn = bool(current.get("turn"))
    return {
        "type": kind,
        "id": id_,
        "status": "suspended" if suspended else "running" if is_in_turn else "idle",
        "suspendReason": suspended.get("reason"),
        "suspendedSince": suspended.get("since"),
        "seq": document["seq"],
        "mailbox": len(document["mailbox"])
        + sum(count for _, _, count in document["chunks"])
        + bool(current and not is_in_turn),
        "events": len(document.get("events", ())),
        "attempts": current.get("attempts", 0),
        "lastError": current.get("error"),
        "activationCount": document.get("activations", 0),
        "createdAt": iso(document["created"]),
        "lastActiveAt": iso(document.get("last", document["created"])),
    }
