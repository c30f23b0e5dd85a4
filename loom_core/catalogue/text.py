"""Reading a definition as text: strictly, within limits, and with the lines its parts stand on."""

import json
import re
from collections.abc import Iterator
from itertools import islice

from loom_core.errors import InvalidError, Problem
from loom_core.expressions.parse import member
from loom_core.notations import MAX_BYTES, refuse_vast
from loom_core.wire.json import Json, canonical

MAX_TWICE = 200
"""As many keys that are given twice are told."""
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:,]|[^\s"{}\[\]:,]+')


class NotJsonError(InvalidError):
    """The text is no JSON document."""


def decode(data: bytes) -> Json:
    """The document in a text.

    Raises NotJsonError, and InvalidError for keys that are given twice (each with its path) and for a
    document that is too large, too deep or has too much in it.
    """
    doubled: list[str] = []

    def pairs(found: list[tuple[str, Json]]) -> dict[str, Json]:
        made = dict(found)
        if len(made) < len(found):
            doubled.append("")
        return made

    try:
        text = data.decode("utf-8-sig")
        document: Json = json.loads(text, object_pairs_hook=pairs)
        size = len(canonical(document))
    except RecursionError:
        raise NotJsonError("not JSON that can be read: it is nested too deep") from None
    except ValueError as error:
        raise NotJsonError(f"not JSON: {_reason(error)}") from None
    if size > MAX_BYTES:
        raise InvalidError(f"a definition has at most {MAX_BYTES} bytes, this one has {size}")
    refuse_vast(document)
    if doubled:
        twice = (Problem(path, "is given twice") for path, _, again in places(text) if again)
        raise InvalidError([*islice(twice, MAX_TWICE)])
    return document


def lines(text: str) -> dict[str, int]:
    """The line (from 1) on which each key or item of a JSON document begins, by its JSONPath."""
    return {path: line for path, line, _ in places(text)}


def places(text: str) -> Iterator[tuple[str, int, bool]]:
    """Every value of a well-formed document: its path, its line, and whether its key was there already."""
    stack: list[tuple[str, set[str] | int]] = []
    path, line, end, key = "$", 1, 0, False
    yield "$", 1, False
    for token in _TOKEN.finditer(text):
        line, end = line + text.count("\n", end, token.start()), token.start()
        sign = token[0]
        if sign in ("}", "]"):
            stack.pop()
            key = False
            continue
        if sign == ":":
            key = False
            continue
        if sign == ",":
            parent, seen = stack[-1]
            if isinstance(seen, int):
                stack[-1] = (parent, seen + 1)
            key = not isinstance(seen, int)
            continue
        parent, seen = stack[-1] if stack else ("$", 0)
        if key and isinstance(seen, set):
            name = json.loads(sign)
            path = member(parent, name)
            yield path, line, name in seen
            seen.add(name)
            continue
        if stack and isinstance(seen, int):
            path = f"{parent}[{seen}]"
            yield path, line, False
        if sign in ("{", "["):
            stack.append((path, set() if sign == "{" else 0))
            key = sign == "{"


def _reason(error: ValueError) -> str:
    """What is wrong, without the document itself, which a UnicodeError carries."""
    if isinstance(error, UnicodeError):
        return "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else "it has half a character"
    return str(error)
