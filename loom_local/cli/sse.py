"""Read a stream of server-sent events (WHATWG HTML, section 9.2) from untrusted bytes, within bounds."""

import codecs
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

LIMIT = 4 * 1024 * 1024  # characters of one event
LINE = re.compile(r"[^\r\n]*(?:\r\n|\n|\r(?=.))", re.DOTALL)


class StreamError(ValueError):
    """The bytes are no event stream, or one event is larger than the limit."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event; `id` is the last id the stream has set, to be sent back as Last-Event-ID."""

    name: str
    data: str
    id: str


def parse(chunks: Iterable[bytes], *, last_id: str = "", limit: int = LIMIT) -> Iterator[Event]:
    """Yield the events in `chunks`; an event that the stream leaves unfinished is dropped.

    Raises StreamError when the bytes are not UTF-8 or an event is larger than `limit`.
    """
    name, data, size = "", list[str](), 0
    for line in _lines(chunks, limit):
        if not line:
            if data:
                yield Event(name or "message", "\n".join(data), last_id)
            name, data, size = "", [], 0
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            size += len(value) + 1
            if size > limit:
                raise StreamError(f"an event is larger than {limit} characters")
            data.append(value)
        elif field == "event":
            name = value
        elif field == "id" and "\0" not in value:
            last_id = value


def _lines(chunks: Iterable[bytes], limit: int) -> Iterator[str]:
    """Split at CR, LF or CRLF. A CR at the end of a chunk waits: an LF may follow."""
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    rest = ""
    for chunk in chunks:
        try:
            rest += decoder.decode(chunk)
        except UnicodeDecodeError as error:
            raise StreamError("the stream is not UTF-8") from error
        end = 0
        for match in LINE.finditer(rest):
            end = match.end()
            yield match.group().rstrip("\r\n")
        rest = rest[end:]
        if len(rest) > limit:
            raise StreamError(f"a line is longer than {limit} characters")
