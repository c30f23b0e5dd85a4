"""An actor's journal: read page by page, and as lines for people."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from loom_local.cli.api import Api, BrokenError, UnreachableError
from loom_local.cli.board import printable

PAGE = 500
PATIENCE = 60.0  # seconds without a host before who follows gives up
WIDE = 200  # characters of one line
FASTEST, SLOWEST = 0.1, 1.0
BESIDES = frozenset({"seq", "type", "at", "inverse"})


def read(
    api: Api,
    path: str,
    after: int,
    limit: int | None,
    *,
    follow: bool,
    now: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Mapping[str, Any]]:
    """Yield at most `limit` entries after a number, and those to come if it is to `follow`.

    Raises UnreachableError when no host answers for PATIENCE seconds, RefusedError for an unknown actor.
    """
    since, pause = now(), FASTEST
    while limit is None or limit > 0:
        try:
            page = api.get(f"{path}/journal", {"after": after, "limit": min(limit or PAGE, PAGE)})
        except (UnreachableError, BrokenError):
            if not follow or now() - since > PATIENCE:
                raise
            page = {"entries": [], "next": None}
        else:
            since = now()
        for entry in page["entries"]:
            after, pause = entry["seq"], FASTEST
            yield entry
        if limit is not None:
            limit -= len(page["entries"])
        if page["next"] is None:
            if not follow:
                return
            sleep(pause)
            pause = min(pause * 1.5, SLOWEST)


def line(entry: Mapping[str, Any]) -> str:
    """An entry as one line: its number, when, what, and the rest as far as there is room."""
    if entry["type"] == "state_patches":
        rest = "  ".join(map(_patch, entry["patches"]))
    else:
        own = entry.get("messageId")
        told = {name: value for name, value in entry.items() if name not in BESIDES}
        told = {name: value for name, value in told.items() if (name, value) != ("correlationId", own)}
        rest = "  ".join(f"{name}={_text(value)}" for name, value in told.items())
    text = printable(f"{entry['seq']:>6}  {entry['at']}  {entry['type']:18}  {rest}".replace("\n", " "))
    return (text if len(text) <= WIDE else f"{text[: WIDE - 1]}…").rstrip()


def _patch(patch: Mapping[str, Any]) -> str:
    where = patch["path"] or "/"
    match patch["op"]:
        case "remove":
            return f"-{where}"
        case "add":
            return f"+{where}={_text(patch['value'])}"
        case "replace":
            return f"{where}={_text(patch['value'])}"
        case other:
            return f"{other} {where} {_text(patch.get('from'))}"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
