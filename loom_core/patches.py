"""JSON patches (RFC 6902): what changed between two documents, done to one, and undone.

Nothing here changes its arguments. Results share with them what did not change, so treat all of it as frozen.
"""

import marshal
import re
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from typing import Any

from loom_core.errors import InvalidError, Problem
from loom_core.wire.json import Json, JsonObject, dump

MAX_ALIGNED = 1_000  # aligning lists is quadratic at its worst
_POINTER = re.compile(r"(/([^~/]|~[01])*)*")
_INDEX = re.compile(r"0|[1-9][0-9]{0,17}")


def diff(old: Json, new: Json) -> list[dict[str, Any]]:
    """The patch that makes `new` of `old`: adds, removes and replaces, list indexes always explicit.

    Values differ when their JSON does: `1`, `1.0` and `true` are three. The order of keys is no difference.
    Raises InvalidError for what changed and is not plain JSON, or is nested too deeply to compare.
    """
    return both(old, new)[0]


def both(old: Json, new: Json) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """As `diff`, with the patch that undoes it: comparing is most of the work, and is done once."""
    try:
        steps = list(_diff(old, new, ""))
    except (RecursionError, ValueError, TypeError, AttributeError):
        raise InvalidError("not plain JSON, or nested too deeply") from None
    return [step for step, _ in steps], [undo for _, undo in reversed(steps)]


def invert(document: Json, patch: Sequence[JsonObject]) -> list[dict[str, Any]]:
    """The patch that undoes this one: it makes `document` of what `apply` makes. Raises as `apply` does."""
    return diff(apply(document, patch), document)


def apply(document: Json, patch: Sequence[JsonObject]) -> Any:
    """The document with the whole patch done, or InvalidError naming the operation that does not fit.

    A `test` is stricter than the RFC: it tells `1` from `1.0`.
    """
    root = {"": document}
    for number, operation in enumerate(patch):
        try:
            root = _apply(root, operation)
        except (ValueError, LookupError, TypeError, AttributeError):
            raise InvalidError([Problem(f"$[{number}]", "does not fit the document")]) from None
    return root[""]


def _diff(old: Any, new: Any, path: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """The steps from left to right, each with what undoes it."""
    lists, objects = (all(isinstance(value, kind) for value in (old, new)) for kind in (list, dict))
    if _same(old, new):
        return
    if not (old and new and (lists or objects)):
        yield {"op": "replace", "path": path, "value": new}, {"op": "replace", "path": path, "value": old}
    elif lists:
        yield from _diff_lists(old, new, path)
    else:
        for key in {**old, **new}:
            at = f"{path}/{key.replace('~', '~0').replace('/', '~1')}"
            if key not in new:
                yield _removed(at, old[key])
            elif key in old:
                yield from _diff(old[key], new[key], at)
            else:
                yield _added(at, new[key])


def _diff_lists(old: list[Any], new: list[Any], path: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    for old_from, old_to, start, end in _changed(old, new):  # what is left of `start` is as in `new` by then
        paired = start + min(old_to - old_from, end - start)
        for index in range(start, paired):
            yield from _diff(old[old_from + index - start], new[index], f"{path}/{index}")
        yield from (_added(f"{path}/{index}", new[index]) for index in range(paired, end))
        gone = range(old_from + paired - start, old_to)
        yield from (_removed(f"{path}/{paired}", old[index]) for index in gone)


def _added(path: str, value: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    return {"op": "add", "path": path, "value": value}, {"op": "remove", "path": path}


def _removed(path: str, value: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    return {"op": "remove", "path": path}, {"op": "add", "path": path, "value": value}


def _changed(old: list[Any], new: list[Any]) -> Iterator[tuple[int, ...]]:
    """Where the lists differ, from left to right: from and to in `old`, from and to in `new`."""
    most = min(len(old), len(new))
    head = next((i for i in range(most) if not _same(old[i], new[i])), most)
    tail = next((i for i in range(most - head) if not _same(old[~i], new[~i])), most - head)
    a, b = old[head : len(old) - tail], new[head : len(new) - tail]
    blocks = [("replace", 0, len(a), 0, len(b))]
    if a and b and 2 < len(a) + len(b) <= MAX_ALIGNED:
        blocks = SequenceMatcher(None, [*map(_exact, a)], [*map(_exact, b)]).get_opcodes()
    return (tuple(head + bound for bound in bounds) for kind, *bounds in blocks if kind != "equal")


def _same(old: Any, new: Any) -> bool:
    """Certain when true; when false, the same keys may still be in another order."""
    return old is new or (old == new and _exact(old) == _exact(new))


def _exact(value: Any) -> bytes:
    """Bytes at the speed of `==`, which takes 1 for True; later versions of the format depend on identity."""
    try:
        return marshal.dumps(value, 2)
    except ValueError:  # a subclass, such as a StrEnum
        return dump(value).encode()


def _apply(root: dict[str, Any], operation: Any) -> dict[str, Any]:
    match operation:
        case {"op": ("add" | "replace") as name, "path": path, "value": value}:
            return _edit(root, name, path, value)
        case {"op": "remove", "path": path} if path:
            return _edit(root, "remove", path)
        case {"op": "copy", "from": source, "path": path}:
            return _edit(root, "add", path, _read(root, source))
        case {"op": "move", "from": source, "path": path} if source and not path.startswith(f"{source}/"):
            return _edit(_edit(root, "remove", source), "add", path, _read(root, source))
        case {"op": "test", "path": path, "value": value} if not diff(_read(root, path), value):
            return root
        case _:
            raise ValueError(operation)


def _edit(root: Any, name: str, path: str, value: Any = None) -> Any:
    """Do one step, copying nothing but the path to it."""
    *parents, last = _keys(path)
    root = holder = root.copy()
    for key in parents:
        at = _at(holder, key)
        holder[at] = holder = holder[at].copy()
    at = _at(holder, last, name == "add")
    if name == "remove":
        del holder[at]
    elif name == "add" and hasattr(holder, "insert"):
        holder.insert(at, value)
    else:
        holder[at] = value
    return root


def _read(root: Any, path: str) -> Any:
    for key in _keys(path):
        root = root[_at(root, key)]
    return root


def _at(holder: Any, key: str, adding: bool = False) -> Any:
    if hasattr(holder, "insert"):
        at = len(holder) if adding and key == "-" else int(_whole(_INDEX, key))
        return range(len(holder) + adding)[at]
    if adding or key in holder:
        return key
    raise LookupError(key)


def _keys(path: str) -> list[str]:
    """With the first, empty one: the document is what `""` holds."""
    return [key.replace("~1", "/").replace("~0", "~") for key in _whole(_POINTER, path).split("/")]


def _whole(pattern: re.Pattern[str], text: str) -> str:
    if not pattern.fullmatch(text):
        raise ValueError(text)
    return text
