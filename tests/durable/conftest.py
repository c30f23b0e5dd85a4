"""Plays the backend of one orchestration for the real SDK.

Every dispatch replays the whole history, and is handed to a worker that kept the program too: both must ask
for the very same.
"""

import base64
import json
from datetime import UTC, datetime, timedelta
from functools import partial

import durabletask.internal.helpers as make
import durabletask.internal.orchestrator_service_pb2 as pb
import pytest
from azure.durable_functions.worker import DurableFunctionsWorker
from google.protobuf.wrappers_pb2 import StringValue

from loom_core.durable.driver import run_program

NAMES = {
    pb.ORCHESTRATION_STATUS_COMPLETED: "completed",
    pb.ORCHESTRATION_STATUS_FAILED: "failed",
    pb.ORCHESTRATION_STATUS_CONTINUED_AS_NEW: "continued",
    pb.ORCHESTRATION_STATUS_TERMINATED: "terminated",
}


class Backend:
    """One instance of `run_program` over the given program; `answer(kind, payload)` does the work.

    `call` is what else it is called with.
    """

    def __init__(self, program, payload=None, *, answer=None, instance="run-1", **call):
        self.instance = instance
        self.now = datetime(2027, 1, 1, tzinfo=UTC)
        self.answer = answer or (lambda kind, payload: payload.get("input", payload.get("payload")))
        self.open = {}  # sequence number -> ("activity" | "child" | "timer", payload, fire_at)
        self.log = []  # every piece of work that was ever scheduled, in order
        self.sent = []  # events to other instances
        self.generations = 1
        self.dispatches = self.begun = 0
        """Work items, and how often the worker that keeps programs had to begin at the beginning."""
        self.status = self.end = self.output = self.failure = self.custom = None
        self._orchestrator = partial(run_program, {"main": program})
        self.restart()
        self._begin(json.dumps({"program": "main", "payload": payload, **call}))

    def _begin(self, encoded, carried=()):
        self.past = []
        self.open = {}
        started = make.new_execution_started_event("run_program", self.instance, encoded)
        execution = StringValue(value=f"execution-{self.generations}")
        started.executionStarted.orchestrationInstance.executionId.CopyFrom(execution)
        self.inbox = [started, *carried]

    # -- what the world does
    def complete(self, number):
        kind, payload, fire_at = self.open.pop(number)
        if kind == "timer":
            self.now = max(self.now, fire_at)
            self.inbox.append(make.new_timer_fired_event(number, fire_at))
            return
        try:
            result = json.dumps(self.answer(kind, payload))
        except Exception as error:
            if kind == "entity":
                name = type(error).__name__  # told as loom_core/durable/entities.py tells it
                failure = pb.TaskFailureDetails(errorType=name, errorMessage=f"{name}: {error}")
                given = {"requestId": payload["request"], "failureDetails": failure}
                self.inbox.append(
                    pb.HistoryEvent(eventId=-1, entityOperationFailed=pb.EntityOperationFailedEvent(**given))
                )
                return
            failed = (
                make.new_task_failed_event if kind == "activity" else make.new_sub_orchestration_failed_event
            )
            self.inbox.append(failed(number, error))
        else:
            if kind == "entity":
                given = {"requestId": payload["request"], "output": StringValue(value=result)}
                self.inbox.append(
                    pb.HistoryEvent(
                        eventId=-1, entityOperationCompleted=pb.EntityOperationCompletedEvent(**given)
                    )
                )
                return
            ended = (
                make.new_task_completed_event
                if kind == "activity"
                else make.new_sub_orchestration_completed_event
            )
            self.inbox.append(ended(number, result))

    def raise_event(self, name, data):
        self.inbox.append(make.new_event_raised_event(name, json.dumps(data)))

    def restart(self):
        """Have a new process, which has kept nothing."""
        self._worker = DurableFunctionsWorker()

        def orchestrator(context, call):
            self.begun += 1
            return (yield from self._orchestrator(context, call))

        self._sticky = orchestrator

    def dispatch(self, *, lost=False):
        """Deliver the inbox in one work item; if its outcome gets lost, it is delivered again."""
        self.dispatches += 1
        self.now += timedelta(milliseconds=1)
        new = [make.new_orchestrator_started_event(self.now), *self.inbox]
        request = pb.OrchestratorRequest(instanceId=self.instance, pastEvents=self.past, newEvents=new)
        encoded = base64.b64encode(request.SerializeToString()).decode()

        def orchestrator(context, call):
            return (yield from self._orchestrator(context, call))

        response = _execute(DurableFunctionsWorker(), orchestrator, encoded)
        assert _execute(self._worker, self._sticky, encoded) == response
        if lost:
            return
        self.inbox = []
        self.past += new
        self.custom = json.loads(response.customStatus.value) if response.HasField("customStatus") else None
        for action in response.actions:
            self._act(action)

    def _act(self, action):
        kind = action.WhichOneof("orchestratorActionType")
        number = action.id
        if kind == "scheduleTask":
            payload = json.loads(action.scheduleTask.input.value)
            self._schedule(number, "activity", payload)
            self.past.append(make.new_task_scheduled_event(number, action.scheduleTask.name))
        elif kind == "createTimer":
            fire_at = action.createTimer.fireAt.ToDatetime(UTC)
            self._schedule(number, "timer", None, fire_at)
            self.past.append(make.new_timer_created_event(number, fire_at))
        elif kind == "createSubOrchestration":
            child = action.createSubOrchestration
            payload = json.loads(child.input.value) | {"instance": child.instanceId}
            self._schedule(number, "child", payload)
            self.past.append(make.new_sub_orchestration_created_event(number, child.name, child.instanceId))
        elif kind == "sendEntityMessage":
            called = action.sendEntityMessage.entityOperationCalled
            asked = {"to": called.targetInstanceId.value, "operation": called.operation}
            asked |= {"input": json.loads(called.input.value), "request": called.requestId}
            self._schedule(number, "entity", asked)
            self.past.append(pb.HistoryEvent(eventId=number, entityOperationCalled=called))
        elif kind == "sendEvent":
            sent = action.sendEvent
            self.sent.append((sent.instance.instanceId, sent.name, json.loads(sent.data.value)))
            event = make.new_event_sent_event(number, sent.instance.instanceId, sent.data.value)
            event.eventSent.name = sent.name
            self.past.append(event)
        elif kind == "completeOrchestration":
            done = action.completeOrchestration
            status = NAMES[done.orchestrationStatus]
            if status == "continued":
                self.generations += 1
                self._begin(done.result.value, done.carryoverEvents)
                return
            self.status = status
            self.output = json.loads(done.result.value) if done.result.value else None
            self.failure = done.failureDetails
        else:
            raise AssertionError(kind)

    def _schedule(self, number, kind, payload, fire_at=None):
        self.open[number] = (kind, payload, fire_at)
        self.log.append((kind, payload))

    # -- whole runs
    def play(self, *, coalesced=False, order=sorted):
        """Answer all open work until the run ends, one event a dispatch or all of them in one."""
        self.dispatch()
        while self.status is None:
            if self.inbox:  # a new generation
                self.dispatch()
                continue
            assert self.open, "nothing is open and the run has not ended"
            work = [n for n in order(self.open) if self.open[n][0] != "timer"] or [self._next_timer()]
            for number in work if coalesced else work[:1]:
                self.complete(number)
            self.dispatch()
        return self

    def _next_timer(self):
        return min(self.open, key=lambda number: self.open[number][2])


def _execute(worker, orchestrator, encoded):
    answer = base64.b64decode(worker.execute_orchestration_request(orchestrator, encoded))
    response = pb.OrchestratorResponse.FromString(answer)
    for action in response.actions:
        if action.HasField("completeOrchestration"):  # where an error passed through asks for nothing
            action.completeOrchestration.failureDetails.ClearField("stackTrace")
    return response


@pytest.fixture(scope="session")
def backend():
    return Backend


@pytest.fixture
def play():
    """Run a program both ways; the outcomes must agree, and one of them is returned."""

    def run(program, payload=None, **options):
        single = Backend(program, payload, **options).play()
        joint = Backend(program, payload, **options).play(coalesced=True)
        backwards = Backend(program, payload, **options).play(
            order=lambda numbers: sorted(numbers, reverse=True)
        )
        outcomes = [(b.status, b.output, b.failure.errorMessage) for b in (single, joint, backwards)]
        assert outcomes[0] == outcomes[1]
        if single.status == "completed":
            assert outcomes[0] == outcomes[2]
        return single

    return run
