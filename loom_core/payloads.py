"""Payloads: long strings travel beside a run's history, in the blob store, named by their content."""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import batched

from loom_core.errors import ConflictError, IntegrityError, InvalidError, NotFoundError
from loom_core.ports.blobs import BlobStore
from loom_core.schema import encode
from loom_core.wire.json import Json, referred

INLINE_BYTES = 16 * 1024
MAX_VALUE_BYTES = 32 * 1024 * 1024
STRING_BYTES = 1024
MAX_RESOLVED_BYTES = 64 * 1024 * 1024
MAX_DEPTH = 200

_AT_ONCE = 16


async def refer(blobs: BlobStore, value: Json) -> Json:
    """Spill a value over INLINE_BYTES. Raises InvalidError for one over MAX_VALUE_BYTES, or for no JSON."""
    size = len(encode(value))
    if size > MAX_VALUE_BYTES:
        raise InvalidError(f"the value has {size} bytes; {MAX_VALUE_BYTES} are allowed")
    return await spill(blobs, value) if size > INLINE_BYTES else value


async def spill(blobs: BlobStore, value: Json) -> Json:
    """Store each string over STRING_BYTES and put `{"$ref": "payloads/<sha256>", "bytes": n}` in its place.

    Raises InvalidError for a document nested deeper than MAX_DEPTH.
    """
    stored: dict[str, bytes] = {}

    def replace(leaf: Json) -> Json:
        data = leaf.encode() if isinstance(leaf, str) and len(leaf) * 4 > STRING_BYTES else b""
        if len(data) <= STRING_BYTES:
            return leaf
        name = f"payloads/{hashlib.sha256(data).hexdigest()}"
        stored[name] = data
        return {"$ref": name, "bytes": len(data)}

    spilled = _map(value, replace)
    for group in batched(stored.items(), _AT_ONCE, strict=False):
        await asyncio.gather(*(store(blobs, name, data) for name, data in group))
    return spilled


async def resolve(blobs: BlobStore, value: Json) -> Json:
    """Put back every string that `spill` has taken out.

    Raises IntegrityError for a payload that is missing or is not what its name says, and InvalidError above
    MAX_RESOLVED_BYTES in all or below MAX_DEPTH.
    """
    found = list(_references(value))
    if not found:
        return value
    wanted = Counter(found)
    texts: dict[str, str] = {}
    size = 0
    for group in batched(wanted, _AT_ONCE, strict=False):
        for name, data in zip(
            group, await asyncio.gather(*(fetch(blobs, name) for name in group)), strict=True
        ):
            texts[name] = data.decode()
            size += len(data) * wanted[name]
        if size > MAX_RESOLVED_BYTES:
            raise InvalidError(f"the payloads referred to have more than {MAX_RESOLVED_BYTES} bytes")
    return _map(value, lambda leaf: texts.get(referred(leaf) or "", leaf))


async def store(blobs: BlobStore, name: str, data: bytes) -> None:
    """Keep what is named by its content: `FOLDER/<sha256>`."""
    with suppress(ConflictError):  # the same content is there already
        await blobs.put(name, data, if_absent=True)


async def fetch(blobs: BlobStore, name: str) -> bytes:
    """What `store` has kept. Raises IntegrityError if it is missing, or is not what its name says."""
    try:
        data = (await blobs.get(name)).data
    except NotFoundError:
        raise IntegrityError(f"{name} is missing") from None
    if name.rpartition("/")[2] != hashlib.sha256(data).hexdigest():
        raise IntegrityError(f"{name} is not what was stored under this name")
    return data


def _references(value: Json) -> Iterator[str]:
    pending = [value]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            if name := referred(value):
                yield name
            else:
                pending.extend(value.values())
        elif isinstance(value, list | tuple):
            pending.extend(value)


def _map(value: Json, leaf: Callable[[Json], Json], depth: int = 0) -> Json:
    """Rebuild a document from its leaves: everything that is no list and no object, and references."""
    if depth > MAX_DEPTH:
        raise InvalidError(f"nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, list | tuple):
        return [_map(item, leaf, depth + 1) for item in value]
    if isinstance(value, dict) and not referred(value):
        return {key: _map(item, leaf, depth + 1) for key, item in value.items()}
    return leaf(value)
