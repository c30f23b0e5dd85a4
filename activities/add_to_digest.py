"""The digest of all log files so far, also as a page for people."""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypedDict

from activities._markdown import cell
from loom_core.activities import activity, current_call
from loom_core.settings import Settings

MAX_FILES = 100
MAX_PROBLEMS = 100


class File(TypedDict):
    path: str
    etag: str | None
    size: int


class Digested(TypedDict):
    path: str
    etag: str | None
    lines: int


class Unread(TypedDict):
    path: str
    reason: str


class Digest(TypedDict):
    files: int
    lines: int
    levels: dict[str, int]
    problems: dict[str, int]
    """The first 100 kinds, and `other`."""
    latest: list[Digested]
    """The last 100 files."""
    unread: list[Unread]
    """The last 100 files that could not be read to their end; what was read of them does not count."""
    page: str
    """The Markdown file in the app's data folder that has all this."""


@activity("add-to-digest")
def add_to_digest(*, file: File, reading: dict[str, Any], digest: Digest | None = None) -> Digest:
    """Add what was read of a file, or its `{"error"}`, to a digest (null: a new one), and write the page.

    A file that is told of a second time, by its path and etag, changes nothing.
    """
    page = (
        Settings.read(os.environ, Path(__file__).parents[1]).data / "digests" / f"{current_call.get().run}.md"
    )
    found: Digest = digest or {
        "files": 0, "lines": 0, "levels": {}, "problems": {}, "latest": [], "unread": [], "page": str(page),
    }  # fmt: skip
    if any((one["path"], one["etag"]) == (file["path"], file["etag"]) for one in found["latest"]):
        return found
    if "error" in reading or reading["offset"] < file["size"]:
        reason = reading["error"]["message"] if "error" in reading else "the run was stopped"
        found["unread"] = [*found["unread"], {"path": file["path"], "reason": reason}][-MAX_FILES:]
    else:
        _add(found, file, reading)
    page.parent.mkdir(parents=True, exist_ok=True)
    part = page.with_suffix(".part")
    part.write_text("\n".join(_markdown(found)) + "\n", encoding="utf-8")
    part.replace(page)
    return found


def _add(found: Digest, file: File, reading: dict[str, Any]) -> None:
    found["files"] += 1
    found["lines"] += reading["lines"]
    found["levels"] = dict(Counter(found["levels"]) + Counter(reading["levels"]))
    problems = Counter(found["problems"])
    for kind, count in reading["problems"].items():
        problems[kind if kind in problems or len(problems) < MAX_PROBLEMS else "other"] += count
    found["problems"] = dict(problems)
    one: Digested = {"path": file["path"], "etag": file["etag"], "lines": reading["lines"]}
    found["latest"] = [*found["latest"], one][-MAX_FILES:]


def _markdown(found: Digest) -> Iterator[str]:
    yield from ("# Digest of the logs", "", f"{found['files']} files, {found['lines']} lines.")
    if found["levels"]:
        yield from ("", "| level | lines |", "|---|---:|")
        yield from (f"| {level} | {count} |" for level, count in Counter(found["levels"]).most_common())
    if found["problems"]:
        yield from ("", "## Problems", "", "| lines | |", "|---:|---|")
        yield from (f"| {count} | {cell(kind)} |" for kind, count in Counter(found["problems"]).most_common())
    if found["unread"]:
        yield from ("", "## Not read", "")
        yield from (f"- {cell(one['path'])}: {cell(one['reason'])}" for one in found["unread"])
    yield from ("", "## Files", "")
    yield from (f"- {cell(one['path'])}: {one['lines']} lines" for one in reversed(found["latest"]))
