"""What callers of the webhooks say in query and body, read or refused."""

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime

from loom_local.host.exchange import Reply
from loom_local.host.instance_documents import RUNTIME_STATUS

_MOST = 1_000_000


class RefusedError(Exception):
    """The request cannot be served; `reply` says so to the caller."""

    def __init__(self, status: int, message: str = "") -> None:
        super().__init__(message)
        self.reply = Reply(status, {"message": message} if message else None)


def json_text(body: bytes) -> str:
    try:
        text = body.decode()
        json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RefusedError(400, f"Invalid JSON content: {error}") from error
    return text


def flag(query: Mapping[str, str], name: str, *, default: bool = False) -> bool:
    return {"true": True, "false": False}.get(query.get(name, "").lower(), default)


def number(query: Mapping[str, str], name: str, *, default: float = 0.0) -> float:
    """Read a number from 0 to a million."""
    text = query.get(name) or str(default)
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= _MOST:
        raise RefusedError(400, f"{name} must be a number from 0 to {_MOST}")
    return value


def statuses(query: Mapping[str, str]) -> list[int]:
    by_name = {name.lower(): number for number, name in RUNTIME_STATUS.items()}
    names = [name for name in query.get("runtimeStatus", "").split(",") if name]
    unknown = [name for name in names if name.lower() not in by_name]
    if unknown:
        raise RefusedError(
            400, f"runtimeStatus {unknown[0]!r} is none of {', '.join(RUNTIME_STATUS.values())}"
        )
    return [by_name[name.lower()] for name in names]


def moment(query: Mapping[str, str], name: str) -> datetime | None:
    text = query.get(name)
    if not text:
        return None
    try:
        when = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
    except ValueError:
        raise RefusedError(400, f"{name} must be a time in ISO 8601") from None
    return when if when.tzinfo else when.replace(tzinfo=UTC)
