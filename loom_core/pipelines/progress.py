"""How far a run is, stage by stage, as a small document that is published whenever it changes."""

from collections.abc import Iterable
from typing import Any, Literal

from loom_core.wire.commands import Publish
from loom_core.wire.json import Json

type Status = Literal["pending", "running", "completed", "failed", "skipped"]

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
    """Counts publications in `seq`; `started`, `finished` and `at` say at which of them a stage changed."""

    def __init__(self, stages: Iterable[str]) -> None:
        self._stages = dict.fromkeys(stages, _PENDING)
        self._seq = 0

    def start(self, stage: str, total: int, skipped: int = 0, failed: int = 0) -> Publish:
        started = self._seq + 1
        return self._change(
            stage, status="running", total=total, skipped=skipped, failed=failed, started=started
        )

    def count(self, stage: str, done: int, failed: int) -> Publish:
        now: Any = self._stages[stage]
        return self._change(stage, done=now["done"] + done, failed=now["failed"] + failed)

    def end(self, stage: str, status: Status, **counts: int) -> Publish:
        return self._change(stage, status=status, finished=self._seq + 1, **counts)

    def _change(self, stage: str, **changes: Json) -> Publish:
        self._seq += 1
        self._stages[stage] = {**self._stages[stage], **changes, "at": self._seq}
        return Publish({"stages": dict(self._stages), "seq": self._seq})
