"""States: the one an actor has, from its snapshot and journal, or from the memory of the last commit."""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any

from loom_core.errors import ConflictError, IntegrityError, NotFoundError
from loom_core.journals.documents import Snapshot
from loom_core.patches import apply
from loom_core.ports.blobs import BlobStore
from loom_core.wire.json import Json


class RecentStates:
    """The last state of each actor, the least recently used ones forgotten above a number of bytes.

    A state belongs to the batch that led to it: another batch that reached the same seq has another state.
    """

    def __init__(self, max_bytes: int) -> None:
        self._left = max_bytes
        self._held: OrderedDict[str, tuple[str, Json, int]] = OrderedDict()

    def put(self, actor: str, batch: str, state: Json, size: int) -> None:
        self._forget(actor)
        self._held[actor] = (batch, state, size)
        self._left -= size
        while self._left < 0:
            self._forget(next(iter(self._held)))

    def get(self, actor: str, batch: str) -> tuple[Json] | None:
        """The state in a tuple, since a state may be null."""
        held = self._held.get(actor)
        if held is None or held[0] != batch:
            return None
        self._held.move_to_end(actor)
        return (held[1],)

    def _forget(self, actor: str) -> None:
        if held := self._held.pop(actor, None):
            self._left += held[2]


async def save(blobs: BlobStore, snapshot: Snapshot) -> None:
    try:
        await blobs.put(snapshot.name, snapshot.data, if_absent=True)
    except ConflictError:
        return  # the same content is there already


async def fetch(blobs: BlobStore, name: str) -> Json:
    """Raises IntegrityError for a snapshot that is missing or is not what its name says."""
    try:
        data = (await blobs.get(name)).data
    except NotFoundError:
        raise IntegrityError(f"{name} is missing") from None
    if name != f"snapshots/{hashlib.sha256(data).hexdigest()}":
        raise IntegrityError(f"{name} is not what was stored under this name")
    return json.loads(data)


def replay(state: Json, entries: Iterable[Mapping[str, Any]]) -> Json:
    for entry in entries:
        if entry["type"] == "state_patches":
            state = apply(state, entry["patches"])
    return state
