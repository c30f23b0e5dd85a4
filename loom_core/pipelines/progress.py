"""How far a run is, stage by stage, as a small document that is published whenever it changes."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any, Final, Literal

from loom_core.wire.commands import Publish
from loom_core.wire.json import Json, JsonObject, dump

type Status = Literal["pending", "running", "completed", "failed", "skipped", "cancelled"]

MAX_MESSAGE: Final = 200
MAX_NOTES: Final = 20
MAX_SIZE: Final = 15_500
"""Characters of what is published, about: of 16 KB."""
_STAGE_SIZE: Final = 160
"""Characters of a stage whose numbers are large, without its name and its error."""

_OVER: Final = ("completed", "skipped")
_COUNTS: Final = dict.fromkeys(("done", "total", "skipped", "failed"), 0)
_PENDING: Final[dict[str, Any]] = {"status": "pending", **_COUNTS, "started": None, "finished": None, "at": 0}


class Progress:
    """Counts publications in `seq`; `started`, `finished` and `at` say at which of them a stage changed.

    `kept` is what a later execution of the same run begins with.
    """

    def __init__(self, stages: Iterable[str], kept: Mapping[str, Any]) -> None:
        self._stages: dict[str, dict[str, Any]] = {
            **dict.fromkeys(stages, _PENDING),
            **kept.get("stages", {}),
        }
        self._before: dict[str, dict[str, Any]] = {**kept.get("before", {})}
        """What stages in loops had come to when the round before was over."""
        self._notes: dict[str, Json] = {**kept.get("notes", {})}
        self._seq: int = kept.get("seq", 0)

    @property
    def kept(self) -> JsonObject:
        return {"stages": self._stages, "before": self._before, "notes": self._notes, "seq": self._seq}

    def start(
        self, stage: str, total: int, skipped: int = 0, failed: int = 0, *, again: bool = False
    ) -> Publish:
        """A stage begins; `again`, in a loop, so that its counts go on from those of the rounds before.

        A round that is begun anew, after a failure or in a further execution, counts once.
        """
        now = self._stages.get(stage, _PENDING)
        if now["status"] in _OVER:
            self._before[stage] = now
        before: dict[str, Any] = self._before.get(stage, _PENDING) if again else _PENDING
        counts = {"done": 0, "total": total, "skipped": skipped, "failed": failed}
        grown: dict[str, Json] = {key: before[key] + more for key, more in counts.items()}
        self._stages[stage] = _PENDING
        return self._change(stage, status="running", started=self._seq + 1, **grown)

    def count(self, stage: str, done: int, failed: int) -> Publish:
        now = self._stages[stage]
        return self._change(stage, done=now["done"] + done, failed=now["failed"] + failed)

    def end(
        self, stages: Sequence[str], status: Status, done: int, failed: int, error: JsonObject | None
    ) -> Publish:
        """The first of the stages has ended, and with it whatever runs in it still; the others are in it."""
        stage = stages[0]
        self._cancel(stages, but=stage)
        if status in _OVER:
            # Whatever has become of them, they count: they are not taken up again, but run in another round.
            for name, shown in self._stages.items():
                if shown["status"] in ("failed", "cancelled") and is_within(name, stages):
                    self._before[name] = shown
        now = self._stages.setdefault(stage, _PENDING)
        told = {} if error is None else {"error": error}
        counts = {"done": now["done"] + done, "failed": now["failed"] + failed}
        return self._change(stage, status=status, finished=self._seq + 1, **counts, **told)

    def note(self, key: str, notes: Sequence[Json]) -> Publish:
        """Show these under a key of their own; only the first MAX_NOTES of them are kept."""
        self._notes[key] = notes[:MAX_NOTES]
        return self._publish()

    def abandon(self) -> Publish:
        """Nothing goes on any more: what was running has been cancelled."""
        self._cancel(self._stages)
        return self._publish()

    def _cancel(self, stages: Iterable[str], but: str = "") -> None:
        at = self._seq + 1
        for name, stage in self._stages.items():
            if stage["status"] == "running" and name != but and is_within(name, stages):
                self._stages[name] = {**stage, "status": "cancelled", "finished": at, "at": at}

    def _change(self, stage: str, **changes: Json) -> Publish:
        self._stages[stage] = {**self._stages[stage], **changes, "at": self._seq + 1}
        return self._publish()

    def _publish(self) -> Publish:
        self._seq += 1
        document = {**self._notes, "stages": dict(self._stages), "seq": self._seq}
        left = MAX_SIZE - (len(dump(self._notes)) if self._notes else 0)
        if sum(map(_estimate, self._stages, self._stages.values())) > left:
            document["stages"] = self._newest(left)
            document["more"] = len(self._stages) - len(document["stages"])
        return Publish(document)

    def _newest(self, left: int) -> dict[str, Json]:
        """As many stages as there is space for: those that changed last, what is running or failed first."""
        stages, quiet = self._stages, (*_OVER, "pending")
        order = sorted(stages, key=lambda name: (stages[name]["status"] in quiet, -stages[name]["at"]))
        sizes = accumulate(len(name) + 4 + len(dump(stages[name])) for name in order)
        chosen = {name for name, size in zip(order, sizes, strict=True) if size <= left}
        return {name: stage for name, stage in stages.items() if name in chosen}


def is_within(name: str, stages: Iterable[str]) -> bool:
    """Whether this is one of these stages, or a stage of a pipeline within one."""
    return any(name == stage or name.startswith(f"{stage}/") for stage in stages)


def _estimate(name: str, stage: Mapping[str, Any]) -> int:
    return len(name) + _STAGE_SIZE + (len(dump(stage["error"])) if "error" in stage else 0)
