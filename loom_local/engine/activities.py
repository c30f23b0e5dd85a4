"""Running activities: at least once, their result recorded exactly once."""

import asyncio
import logging
from typing import TYPE_CHECKING

from loom_local.engine.protocol import event, failure, pb, text
from loom_local.engine.state import Task
from loom_local.engine.worker import ActivityCall, ActivityOutcome

if TYPE_CHECKING:
    from loom_local.engine.engine import Engine
    from loom_local.engine.transaction import Transaction

log = logging.getLogger("loom.engine")


class Activities:
    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self._results: Transaction | None = None

    async def run(self, task: Task) -> None:
        """Run one task and hand its outcome to the instance that scheduled it, if it still wants it."""
        engine = self._engine
        if task.seq not in engine.outstanding.get(task.instance_id, ()):
            return
        item = f"task:{task.seq}"
        if engine.suspects.trusts(item, task.crashes):
            self._finish(task, await self._outcome(task))
            return
        async with engine.suspects.watch(item, task.crashes) as refusal:
            self._finish(task, _poisoned(refusal) if refusal else await self._outcome(task))

    def _finish(self, task: Task, outcome: ActivityOutcome) -> None:
        engine = self._engine
        waiting = engine.outstanding.get(task.instance_id, {})
        if waiting.pop(task.seq, None) is None:
            return
        if not waiting:
            engine.outstanding.pop(task.instance_id, None)
        results = self._results
        if results is None:
            results = self._results = engine.transaction()
            asyncio.get_running_loop().call_soon(self._commit)
        results.done(task.seq)
        results.send(task.instance_id, _event(results.now, task, outcome), execution_id=task.execution_id)

    def _commit(self) -> None:
        """Commit the results of one burst together."""
        results, self._results = self._results, None
        assert results is not None
        # The step of the orchestration that this wakes is synced with it: nobody was told of the result yet.
        results.commit(patient=True)

    async def _outcome(self, task: Task) -> ActivityOutcome:
        call = ActivityCall(task.name, task.input, task.instance_id, task.task_id)
        attempts = self._engine.limits.attempts
        reason = ""
        for attempt in range(1, attempts + 1):
            try:
                return await self._engine.worker.run_activity(call)
            except Exception as error:
                log.exception("activity %s could not be run (attempt %d of %d)", task.name, attempt, attempts)
                reason = f"{task.name} could not be run in {attempts} attempts: {error}"
            if attempt < attempts:
                await asyncio.sleep(backoff(attempt))
        return _poisoned(reason)


def backoff(attempt: int) -> float:
    """Seconds to wait after the given failed attempt: 0.1, 0.2, 0.4 … 10."""
    return min(0.1 * 2 ** (attempt - 1), 10.0)


def _poisoned(reason: str) -> ActivityOutcome:
    return ActivityOutcome(failure=failure("PoisonWorkItem", reason).SerializeToString())


def _event(now: float, task: Task, outcome: ActivityOutcome) -> pb.HistoryEvent:
    if outcome.failure is None:
        done = pb.TaskCompletedEvent(taskScheduledId=task.task_id, result=text(outcome.result))
        return event(now, taskCompleted=done)
    failed = pb.TaskFailedEvent(taskScheduledId=task.task_id)
    failed.failureDetails.ParseFromString(outcome.failure)
    return event(now, taskFailed=failed)
