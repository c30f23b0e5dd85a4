"""Partial updates: the operations of a PATCH on a document."""

import copy

from tests.emulators.cosmos.errors import bad_request, whole
from tests.emulators.cosmos.indexing import SYSTEM
from tests.emulators.cosmos.sql.values import is_number

MOST = 10
NEEDS_VALUE = ("add", "set", "replace", "incr")


def patched(document, operations):
    """A copy of the document with the operations applied, in order."""
    if not isinstance(operations, list) or not operations:
        raise bad_request("A patch needs operations.")
    if len(operations) > MOST:
        raise bad_request(f"The number of patch operations can't exceed '{MOST}'.")
    document = copy.deepcopy(document)
    for operation in operations:
        if not isinstance(operation, dict):
            raise bad_request("A patch operation must be an object.")
        kind = str(operation.get("op")).lower()
        if kind not in OPERATIONS:
            raise bad_request(f"The patch operation '{kind}' is not supported.")
        if kind in NEEDS_VALUE and "value" not in operation:
            raise bad_request(f"The patch operation '{kind}' needs a value.")
        OPERATIONS[kind](document, operation)
    return document


def _names(path):
    if not isinstance(path, str) or not path.startswith("/") or len(path) < 2:
        raise bad_request(f"The patch path '{path}' is invalid.")
    names = [name.replace("~1", "/").replace("~0", "~") for name in path[1:].split("/")]
    if names[0] in SYSTEM:
        raise bad_request(f"Cannot patch the system property '{names[0]}'.")
    return names


def _holder(document, path):
    """What holds the value at a path, and under which name or index ("-" for after the last)."""
    *parents, last = _names(path)
    holder = document
    for name in parents:
        holder = _inside(holder, name, path)
    if isinstance(holder, list):
        return holder, last if last == "-" else _index(last, len(holder), path)
    if not isinstance(holder, dict):
        raise _missing(path)
    return holder, last


def _inside(holder, name, path):
    if isinstance(holder, list):
        index = _index(name, len(holder) - 1, path)
        return holder[index]
    if isinstance(holder, dict) and name in holder:
        return holder[name]
    raise _missing(path)


def _index(name, last, path):
    index = whole(name)
    if index is None or index > last:
        raise bad_request(f"The index in the patch path '{path}' is out of the array's bounds.")
    return index


def _missing(path):
    return bad_request(f"The patch path '{path}' does not exist.")


def _exists(holder, at):
    return at != "-" and at < len(holder) if isinstance(holder, list) else at in holder


def _put(holder, at, value, *, insert):
    if not isinstance(holder, list):
        holder[at] = value
    elif at == "-" or at == len(holder):
        holder.append(value)
    elif insert:
        holder.insert(at, value)
    else:
        holder[at] = value


def _add(document, operation):
    _put(*_holder(document, operation["path"]), operation["value"], insert=True)


def _set(document, operation):
    _put(*_holder(document, operation["path"]), operation["value"], insert=False)


def _replace(document, operation):
    holder, at = _holder(document, operation["path"])
    if not _exists(holder, at):
        raise _missing(operation["path"])
    holder[at] = operation["value"]


def _remove(document, operation):
    holder, at = _holder(document, operation.get("path"))
    if not _exists(holder, at):
        raise _missing(operation.get("path"))
    del holder[at]


def _increment(document, operation):
    holder, at = _holder(document, operation["path"])
    amount = operation["value"]
    old = holder[at] if _exists(holder, at) else 0
    if not is_number(amount) or not is_number(old):
        raise bad_request("Only numbers can be incremented, and by numbers.")
    _put(holder, at, old + amount, insert=False)


def _move(document, operation):
    origin, path = operation.get("from"), operation.get("path")
    if _names(path)[: len(_names(origin))] == _names(origin) and path != origin:
        raise bad_request(f"'{path}' is inside of '{origin}', which is to be moved.")
    holder, at = _holder(document, origin)
    if not _exists(holder, at):
        raise _missing(origin)
    value = holder[at]
    del holder[at]
    _put(*_holder(document, path), value, insert=True)


OPERATIONS = {
    "add": _add,
    "set": _set,
    "replace": _replace,
    "remove": _remove,
    "incr": _increment,
    "move": _move,
}
