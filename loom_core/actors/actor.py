"""The actor: state that answers messages, one at a time."""

from collections.abc import Callable
from typing import Any, ClassVar, Final

from pydantic import BaseModel, ValidationError

from loom_core.actors.work import Work
from loom_core.errors import InvalidError, Problem, StepFailedError, TimedOutError
from loom_core.resilience.retry import RetryPolicy
from loom_core.schema import problems_of
from loom_core.wire.commands import CallActivity, CallActor, CallEntity, Program, WaitEvent
from loom_core.wire.json import Json, copied, digest
from loom_core.wire.messages import QUEUE, address, split

RESUME: Final = "loom:resume"


class Actor:
    """Override `default_state` and `execute`; everything else is for `execute` to call.

    An `execute` that is a plain function runs at once; all that it does happens or, if it raises, nothing.
    One that is a generator runs as a durable turn, which may take days: what it yields survives any crash.
    Neither reads a clock, randomness or the environment, nor does I/O: activities do. `now` is the time.
    """

    name: ClassVar[str] = ""
    """The actor type, as addresses have it; the name of the class unless it is given."""
    State: ClassVar[type[BaseModel] | None] = None
    """A model that `state` is shown as, and held to."""
    Message: ClassVar[type[BaseModel] | None] = None
    """A model that payloads are held to, and handed to `execute` as."""
    retry: ClassVar[RetryPolicy] = RetryPolicy(max_attempts=3)
    """How often a message is tried before it goes to the dead letters."""
    idle_timeout: ClassVar[float | None] = None
    """Seconds without a message after which `on_deactivate` is called, if at all."""

    def __init_subclass__(cls) -> None:
        cls.name = cls.__dict__.get("name", cls.__name__)

    def __init__(self, work: Work) -> None:
        self._work = work
        self.address = work.address
        self.id = work.address.partition("/")[2]
        self.message = work.message
        self.now = work.now
        """Seconds since the epoch, UTC: when this message's turn began."""

    def default_state(self) -> Any:
        """The state of an actor that nobody has sent a message yet."""
        return self.State().model_dump(mode="json") if self.State else {}

    def execute(self, message: Any) -> Any:
        """Serve a message, given its payload; what it returns is the answer to whoever waits for one."""
        raise NotImplementedError(f"{type(self).__name__} has no execute")

    def on_activate(self) -> None:
        """Called before the first message, and before the first one after `on_deactivate`."""

    def on_deactivate(self) -> None:
        """Called after `idle_timeout`."""

    @property
    def state(self) -> Any:
        """The state, to be read; `update_state` changes it."""
        return self.State.model_validate(self._work.state) if self.State else self._work.state

    def update_state(self, change: Callable[[Any], object]) -> None:
        """Let `change` change a copy of the state, and journal how it differs; what it returns is ignored."""
        draft: Any = copied(self._work.state)
        shown: Any = self.State.model_validate(draft) if self.State else draft
        change(shown)
        self._work.become(shown.model_dump(mode="json") if self.State else shown)

    def call_activity(self, name: str, input: Json = None, *, timeout: float | None = None) -> Program:  # noqa: A002
        """Yield it: the result is the output. Raises TimedOutError after `timeout` seconds."""
        return self._step("activity", name, CallActivity(name, input, timeout, self._work.key()))

    def call_actor(self, type: str, id: str, input: Json = None) -> Program:  # noqa: A002
        """Yield it: the result is the other actor's answer."""
        self._work.check(type)
        return self._step("call", address(type, id), CallActor(type, id, input, self._work.key()))

    def spawn_child(self, type: str, input: Json = None, *, id: str | None = None) -> Program:  # noqa: A002
        """Yield it: a new actor serves `input`, and is cancelled with this turn; the result is its answer."""
        self._work.check(type)
        key = self._work.key()
        child = address(type, id or self._work.child())
        return self._step("child", child, CallActor(type, child.partition("/")[2], input, key))

    def _step(self, kind: str, name: str, command: CallActivity | CallActor) -> Program:
        """The command, journaled; what an actor has answered to an earlier attempt is its result."""
        work = self._work
        mark = f"{command.key} {digest([name, command.input])[:10]}"

        def program() -> Program:
            if mark in work.done:
                return work.done[mark]
            begun = "child_spawned" if kind == "child" else f"{kind}_scheduled"
            work.record(begun, activityId=command.key, name=name, input=command.input)
            if kind != "activity":
                work.children[command.key] = name
            try:
                result = yield command
            except (StepFailedError, TimedOutError) as error:
                work.record(f"{kind}_failed", activityId=command.key, name=name, error=str(error))
                raise
            if work.children.pop(command.key, None):
                work.done[mark] = result
            work.record(f"{kind}_completed", activityId=command.key, name=name, result=result)
            return result

        return self._due(name, program())

    def _due(self, name: str, steps: Program) -> Program:
        """The steps, which are an error unless they are yielded."""
        self._work.due.append((name, steps))
        return steps

    def wait_for_event(self, name: str, timeout: float | None = None) -> Program:
        """Yield it: the result is the event's data. Raises TimedOutError after `timeout` seconds."""
        return self._due(f"event {name}", self._wait(name, f"awaiting_event:{name}", timeout))

    def suspend(self, reason: str) -> Program:
        """Take no message until one of type `resume`; if it is yielded, the result is that one's payload."""
        self._work.suspended = reason
        return self._wait(RESUME, reason, None)

    def _wait(self, name: str, reason: str, timeout: float | None) -> Program:
        number = self._work.number()
        answer = yield self._work.commit(wait=[name, number], suspended=reason)
        if "event" not in answer:
            try:
                answer = yield WaitEvent(f"loom:event:{number}", timeout)
            except TimedOutError:
                # It may have been on its way just then; whoever was handed an event has it.
                answer = yield self._work.commit(unwait=number)
                if "event" not in answer:
                    self._work.record("resumed", reason="timeout")
                    raise TimedOutError(f"{name}: no event within {timeout:g} seconds") from None
        self._work.suspended = None
        self._work.record("resumed", reason=name, wait=number)
        return answer["event"]

    def rollback(self, to_seq: int) -> Program:
        """Yield it: the state becomes what it was at this sequence number, which is journaled as a change."""
        work = self._work

        def program() -> Program:
            yield work.commit()
            answer = yield CallEntity(*split(self.address), "rollback", {"to": to_seq, "turn": work.turn})
            work.state = answer["state"]

        return self._due("rollback", program())

    def send(
        self,
        to: str,
        payload: Json = None,
        *,
        delay: float = 0,
        type: str = "activate",  # noqa: A002
        priority: int = 0,
        ttl: float | None = None,
    ) -> None:
        """Send a message, once this one is committed, to `Type/id` or to the queue `queue:NAME`.

        `delay` and `ttl` are in seconds. Raises InvalidError for what is no address.
        """
        if not to.startswith(QUEUE):
            self._work.check(split(to)[0])
        elif delay or not to.removeprefix(QUEUE):
            raise InvalidError(f"{to} is not a queue that can be sent to now")
        about = {"delay": delay, "type": type, "priority": priority, "ttl": ttl and int(ttl * 1000)}
        kept = {name: value for name, value in about.items() if value and value != "activate"}
        self._work.record("message_sent", to=to, payload=copied(payload), **kept)

    def schedule(self, delay: float, payload: Json = None) -> None:
        """Send this actor itself a message in so many seconds."""
        self.send(self.address, payload, delay=delay)

    def record_event(self, name: str, **properties: Json) -> None:
        """Journal something worth knowing."""
        self._work.record("event", name=name, properties=properties)

    def record_metric(self, name: str, value: float, **properties: Json) -> None:
        """Journal a measurement."""
        self._work.record("metric", name=name, value=value, properties=properties)

    def record_span(self, name: str, start: float, end: float, **properties: Json) -> None:
        """Journal how long something took; times are seconds since the epoch."""
        self._work.record("span", name=name, start=start, end=end, properties=properties)


def payload_of(kind: type[Actor], payload: Json) -> Any:
    """The payload as `execute` is given it. Raises InvalidError with every problem."""
    if kind.Message is None:
        return payload
    try:
        return kind.Message.model_validate(payload)
    except ValidationError as error:
        problems = (Problem(f"$.payload{one.path[1:]}", one.message) for one in problems_of(error))
        raise InvalidError(tuple(problems)) from None
