"""Documents from outside that are JSON in form, and in what they hold."""

from collections.abc import Iterator, Sequence
from itertools import chain
from math import isfinite
from typing import Any, cast

from loom_core.errors import InvalidError, Problem
from loom_core.expressions.parse import member
from loom_core.payloads import MAX_DEPTH
from loom_core.wire.json import dump, referred


def check_plain(documents: Sequence[Any], *, several: bool) -> None:
    """Refuse what JSON cannot hold, and references, which are Loom's own."""
    try:
        text = dump(documents)
        text.encode()
        if '"$ref"' not in text:
            return
    except RecursionError:
        raise InvalidError("it is nested too deep") from None
    except ValueError:
        pass
    found = [Problem(path, words) for path, value in _parts(documents, several) if (words := _flaw(value))]
    if found:
        raise InvalidError(found)


def _flaw(value: Any) -> str:
    if isinstance(value, float) and not isfinite(value):
        return "numbers are finite"
    if isinstance(value, str):
        return "" if _is_whole(value) else "the text has half a character"
    if isinstance(value, dict) and not all(map(_is_whole, cast("dict[str, Any]", value))):
        return "a key has half a character"
    return "references to payloads are Loom's own" if referred(cast("Any", value)) else ""


def _is_whole(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def _parts(documents: Sequence[Any], several: bool) -> Iterator[tuple[str, Any]]:
    """Every value and its path; not those under a key that is broken."""
    pending = [(f"$[{index}]" if several else "$", one) for index, one in enumerate(documents)]
    while pending:
        path, value = pending.pop()
        yield path, value
        if isinstance(value, dict):
            items = cast("dict[str, Any]", value).items()
            pending += [(member(path, key), part) for key, part in items if _is_whole(key)]
        elif isinstance(value, list):
            parts = enumerate(cast("list[Any]", value))
            pending += [(f"{path}[{index}]", part) for index, part in parts]


def is_deep(value: Any) -> bool:
    """Whether it is nested deeper than MAX_DEPTH."""
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH + 1):
        objects: list[Any] = [part.values() for part in level if isinstance(part, dict)]
        lists: list[Any] = [part for part in level if isinstance(part, list)]
        level = [*chain.from_iterable(objects), *chain.from_iterable(lists)]
        if not level:
            return False
    return True
