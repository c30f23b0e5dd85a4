"""Payloads: long strings travel beside a run's history, in the blob store, named by their content."""

import asyncio
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from itertools import batched

from loom_core.errors import ConflictError, IntegrityError, InvalidError, NotFoundError
from loom_core.ports.blobs import BlobStore
from loom_core.wire.json import Json

INLINE_BYTES = 16 * 1024
STRING_BYTES = 1024
MAX_RESOLVED_BYTES = 64 * 1024 * 1024

_NAME = re.compile(r"payloads/[0-9a-f]{64}\Z")
_AT_ONCE = 16


async def spill(blobs: BlobStore, value: Json) -> Json:
    """Store each string longer than STRING_BYTES and put `{"$ref": "payloads/<sha256>", "bytes": n}` in its place."""
    long: dict[str, bytes] = {}
    for leaf in _leaves(value):
        if (
            isinstance(leaf, str)
            and len(leaf) * 4 > STRING_BYTES
            and len(data := leaf.encode()) > STRING_BYTES
        ):
            long[leaf] = data
    if not long:
        return value
    references = {text: _reference(data) for text, data in long.items()}
    for group in batched(long.items(), _AT_ONCE, strict=False):
        await asyncio.gather(*(_store(blobs, str(references[text]["$ref"]), data) for text, data in group))
    return _replace(value, lambda leaf: references.get(leaf, leaf) if isinstance(leaf, str) else leaf)


async def resolve(blobs: BlobStore, value: Json) -> Json:
    """Put back every string that `spill` has taken out.

    Raises IntegrityError for a payload that is missing or is not what its name says, and InvalidError above
    MAX_RESOLVED_BYTES in all.
    """
    names: dict[str, int] = {}
    for leaf in _leaves(value):
        if (name := _referred(leaf)) is not None:
            names[name] = names.get(name, 0) + 1
    if not names:
        return value
    texts: dict[str, str] = {}
    size = 0
    for group in batched(names, _AT_ONCE, strict=False):
        for name, data in zip(
            group, await asyncio.gather(*(_fetch(blobs, name) for name in group)), strict=True
        ):
            size += len(data) * names[name]
            texts[name] = data.decode()
        if size > MAX_RESOLVED_BYTES:
            raise InvalidError(f"the referenced payloads have more than {MAX_RESOLVED_BYTES} bytes")
    return _replace(value, lambda leaf: leaf if (name := _referred(leaf)) is None else texts[name])


def _reference(data: bytes) -> dict[str, Json]:
    return {"$ref": f"payloads/{hashlib.sha256(data).hexdigest()}", "bytes": len(data)}


def _referred(value: Json) -> str | None:
    """The blob a reference names; None for every other value, whatever else it calls `$ref`."""
    if not isinstance(value, Mapping) or set(value) != {"$ref", "bytes"}:
        return None
    name = value["$ref"]
    return name if isinstance(name, str) and _NAME.match(name) else None


async def _store(blobs: BlobStore, name: str, data: bytes) -> None:
    try:
        await blobs.put(name, data, if_absent=True)
    except ConflictError:
        return  # the same content is there already


async def _fetch(blobs: BlobStore, name: str) -> bytes:
    try:
        data = (await blobs.get(name)).data
    except NotFoundError:
        raise IntegrityError(f"{name} is missing") from None
    if hashlib.sha256(data).hexdigest() != name.removeprefix("payloads/"):
        raise IntegrityError(f"{name} is not what was stored under this name")
    return data


def _leaves(value: Json) -> Iterator[Json]:
    """Every string, number and reference of a document, without recursion."""
    pending = [value]
    while pending:
        value = pending.pop()
        if isinstance(value, Mapping) and _referred(value) is None:
            pending.extend(value.values())
        elif isinstance(value, list | tuple):
            pending.extend(value)
        else:
            yield value


def _replace(value: Json, leaf: Callable[[Json], Json]) -> Json:
    if isinstance(value, Mapping) and _referred(value) is None:
        return {key: _replace(item, leaf) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_replace(item, leaf) for item in value]
    return leaf(value)
