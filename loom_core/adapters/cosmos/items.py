"""Documents as items of the container, and operations as the SDK takes them."""

import base64
import json
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from loom_core.errors import ConflictError
from loom_core.ports.state import MAX_BATCH_BYTES, Delete, Document, Fence, Operation, Put

# Cosmos DB keeps numbers as doubles and writes 1.0 as 1. JSON in which something may be a number that it
# would give back as another one (16 digits and more, whole floats, exponents) is kept as text. If it was part
# of a string after all, the text costs nothing but looks.
_INEXACT: Final = re.compile(r"[:,\[]-?\d(?:[\d.]*(?:\d{15}|e[+-])|\d*\.0[,\]}])")


def written(
    key: Sequence[str], operations: Sequence[Operation], bodies: Sequence[str]
) -> list[dict[str, Any]]:
    """Make the items that operations write; each body is the JSON of its document.

    JSON that is kept as text grows by a backslash for each of its quotes. A batch that would be too large for
    it has its texts compressed.
    """
    texts = [body for body in bodies if _INEXACT.search(body)]
    grown = sum(len(body.encode()) for body in bodies) + sum(map(_escapes, texts))
    keep = _packed if grown > MAX_BATCH_BYTES else _plain
    return [_item(key, *pair, keep) for pair in zip(operations, bodies, strict=True)]


def _item(
    key: Sequence[str], operation: Operation, body: str, keep: Callable[[str], dict[str, Any]]
) -> dict[str, Any]:
    made: dict[str, Any] = {"id": operation.id, "tenant": key[0], "partition": key[1]}
    match operation:
        case Put():
            made |= keep(body) if _INEXACT.search(body) else {"body": operation.body}
            if operation.ttl is not None:
                made["ttl"] = operation.ttl
        case Fence():
            made["body"] = {"token": operation.token}
        case Delete():
            pass
    return made


def _escapes(text: str) -> int:
    return text.count('"') + text.count("\\")


def _plain(text: str) -> dict[str, Any]:
    return {"json": text}


def _packed(text: str) -> dict[str, Any]:
    return {"zip": base64.b64encode(zlib.compress(text.encode())).decode()}


def document(item: Mapping[str, Any]) -> Document:
    if (text := item.get("json")) is None and (packed := item.get("zip")) is not None:
        text = zlib.decompress(base64.b64decode(packed))
    return Document(item["id"], item["body"] if text is None else json.loads(text), item["_etag"])


def in_batch(operation: Operation, item: dict[str, Any], *, fenced: bool) -> tuple[Any, ...]:
    """Give an operation of a transactional batch; `fenced` says that a Fence's document is there already."""
    match operation:
        case Fence(id, token) if fenced:
            raised = {"op": "set", "path": "/body/token", "value": token}
            return "patch", (id, [raised]), {"filter_predicate": f"from c where c.body.token <= {token:d}"}
        case Fence() | Put(if_absent=True):
            return "create", (item,)
        case Put(if_match=None):
            return "upsert", (item,)
        case Put(id, if_match=etag):
            return "replace", (id, item), {"if_match_etag": etag}
        case Delete(id, etag):
            return "delete", (id,), {"if_match_etag": etag}


def is_condition(error: Any) -> bool:
    """Say whether a document exists, has changed or is missing (404 with a substatus: something else is)."""
    return error.status_code in (409, 412) or (error.status_code == 404 and not error.sub_status)


def conflict(operation: Operation, error: Any) -> ConflictError:
    """Say which condition of the operation failed."""
    match error.status_code, operation:
        case 409, _:
            why = "exists"
        case 412, Fence():
            why = f"has a greater token than {operation.token}"
        case 412, _:
            why = "has changed"
        case _, Delete():
            why = "is not there to delete"
        case _:
            why = "is not there to match"
    return ConflictError(f"document {operation.id} {why}")
