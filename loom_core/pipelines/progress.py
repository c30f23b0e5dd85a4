"""How far a run is, stage by stage, as a small document that is published whenever it changes."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from loom_core.wire.commands import Publish
from loom_core.wire.json import Json, JsonObject

type Status = Literal["pending", "running", "completed", "failed", "skipped", "cancelled"]

MAX_MESSAGE = 200
MAX_NOTES = 20

_PENDING: dict[str, Json] = {
    "status": "pending",
    "done": 0,
    "total": 0,
    "skipped": 0,
    "failed": 0,
    "started": None,
    "finished": None,
    "at": 0,
}


class Progress:
    """Counts publications in `seq`; `started`, `finished` and `at` say at which of them a stage changed.

    `document` is what was published last, and what a later execution of the same run begins with.
    """

    def __init__(self, stages: Iterable[str], document: JsonObject) -> None:
        self.document = document
        shown: Any = document.get("stages", {})
        self._stages: dict[str, JsonObject] = {name: shown.get(name, _PENDING) for name in stages} | shown
        self._seq: Any = document.get("seq", 0)

    def start(
        self, stage: str, total: int, skipped: int = 0, failed: int = 0, *, again: bool = False
    ) -> Publish:
        """A stage begins; `again`, in a further round of a loop, so that its counts go on."""
        before: Any = self._stages[stage] if again and stage in self._stages else _PENDING
        counts = {"total": total, "skipped": skipped, "failed": failed}
        grown = {key: before[key] + more for key, more in counts.items()}
        self._stages[stage] = {**_PENDING, "done": before["done"]}
        return self._change(stage, status="running", started=self._seq + 1, **grown)

    def count(self, stage: str, done: int, failed: int) -> Publish:
        now: Any = self._stages[stage]
        return self._change(stage, done=now["done"] + done, failed=now["failed"] + failed)

    def end(self, stage: str, status: Status, done: int = 0, failed: int = 0, error: Json = None) -> Publish:
        now: Any = self._stages.setdefault(stage, _PENDING)
        told = {} if error is None else {"error": error}
        counts = {"done": now["done"] + done, "failed": now["failed"] + failed}
        return self._change(stage, status=status, finished=self._seq + 1, **counts, **told)

    def note(self, key: str, notes: Iterable[Mapping[str, Json]]) -> Publish:
        """Show these under a key of their own; only the first MAX_NOTES of them are kept."""
        kept = list(map(dict, notes))[:MAX_NOTES]
        return self._publish({**self.document, key: kept})

    def abandon(self) -> Publish:
        """Nothing goes on any more: what was running has been cancelled."""
        for name, stage in self._stages.items():
            if stage["status"] == "running":
                at = self._seq + 1
                self._stages[name] = {**stage, "status": "cancelled", "finished": at, "at": at}
        return self._publish(self.document)

    def _change(self, stage: str, **changes: Json) -> Publish:
        self._stages[stage] = {**self._stages[stage], **changes, "at": self._seq + 1}
        return self._publish(self.document)

    def _publish(self, document: JsonObject) -> Publish:
        self._seq += 1
        self.document = {**document, "stages": dict(self._stages), "seq": self._seq}
        return Publish(self.document)
