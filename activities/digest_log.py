"""A log file, digested a chunk at a time: how many lines, of which levels, and which problems."""

import os
import re
from collections import Counter
from pathlib import Path
from typing import NotRequired, TypedDict

from activities._files import open_within
from loom_core.activities import activity
from loom_core.errors import ConflictError, InvalidError, Problem

CHUNK = 256 * 1024
MAX_PROBLEMS = 50
MAX_LENGTH = 160
INBOX = Path(__file__).parents[1] / "inbox"

LEVEL = re.compile(r"\b(TRACE|DEBUG|INFO|NOTICE|WARN|WARNING|ERROR|CRITICAL|FATAL)\b[\s:\]]*")
SAME = {"WARN": "WARNING", "FATAL": "CRITICAL"}
BAD = ("WARNING", "ERROR", "CRITICAL")
VARIES = re.compile(r"\b(?:0x)?(?=[0-9a-f]*[0-9])[0-9a-f]+\b|[0-9]+", re.IGNORECASE)


class Reading(TypedDict):
    """A file as its event tells of it, and how far it has been read."""

    path: str
    size: int
    etag: str | None
    offset: NotRequired[int]
    lines: NotRequired[int]
    levels: NotRequired[dict[str, int]]
    problems: NotRequired[dict[str, int]]
    """Lines that warn, with `#` for what varies in them: the first 50 kinds, and `other`."""


@activity("digest-log-chunk")
def digest_log_chunk(reading: Reading) -> Reading:
    """Read on by at most 256 KB, to the end of a line, and add what is there to the reading.

    Only files in the app's folder `inbox` are read. A line of more than 256 KB counts as several. Raises
    InvalidError for a path that leads elsewhere, or nowhere; ConflictError if the file has changed meanwhile.
    """
    offset = reading.get("offset", 0)
    chunk = _read(reading, offset)
    if offset + len(chunk) < reading["size"]:
        chunk = chunk[: chunk.rfind(b"\n") + 1] or chunk
    lines = chunk.decode("utf-8", "replace").removesuffix("\n").split("\n") if chunk else []
    levels, problems = Counter(reading.get("levels", {})), Counter(reading.get("problems", {}))
    for line in lines:
        if found := LEVEL.search(line):
            level = SAME.get(found[1], found[1])
            levels[level] += 1
            if level in BAD:
                kind = f"{level} {VARIES.sub('#', line[found.end() :])}".strip()[:MAX_LENGTH]
                problems[kind if kind in problems or len(problems) < MAX_PROBLEMS else "other"] += 1
    return {
        "path": reading["path"],
        "size": reading["size"],
        "etag": reading["etag"],
        "offset": offset + len(chunk),
        "lines": reading.get("lines", 0) + len(lines),
        "levels": dict(levels),
        "problems": dict(problems),
    }


def _read(reading: Reading, offset: int) -> bytes:
    path = reading["path"]
    try:
        with open_within(INBOX.resolve(), INBOX / path) as stream:
            if os.fstat(stream.fileno()).st_size != reading["size"]:
                raise ConflictError(f"{path} has changed since it came")
            stream.seek(offset)
            return stream.read(CHUNK)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InvalidError([Problem("$.path", f"{path!r} cannot be read: {reason}")]) from None
