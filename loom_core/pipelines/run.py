"""A pipeline as a program: from its start to its end, and what is made good when it ends badly."""

from collections.abc import Callable
from typing import Any

from loom_core.errors import CancelledError, InvalidError, LoomError, described, kept, restored
from loom_core.pipelines.calls import Calls, call
from loom_core.pipelines.interpreter import MOMENTS, Interpreter
from loom_core.pipelines.plan import Plan, names_of
from loom_core.pipelines.progress import MAX_MESSAGE
from loom_core.pipelines.scope import Here
from loom_core.pipelines.session import CANCEL, Session
from loom_core.wire.commands import AnyOf, ContinueAsNew, Program, Stop, WaitEvent
from loom_core.wire.json import Json, JsonObject


def pipeline_program(parse: Callable[[Json], Plan], payload: JsonObject) -> Program:
    """Run `{"run": id, "definition": document, "input": json}`; the result is the run's output.

    Also takes `library` (definitions by the names that other pipelines have for them), `key` (what the keys
    of its calls begin with), `state` (the checkpoint it goes on from) and `failure` (how it has ended: no
    more is done). Raises InvalidError for a wrong definition and for expressions that cannot be evaluated,
    StepFailedError for a stage that failed, TimedOutError for one that took too long, CancelledError.
    """
    if "failure" in payload:
        raise restored(payload["failure"])
    plan = parse(payload["definition"])
    session = Session(payload, names_of(plan.stages, shown=True))
    work = Interpreter(
        parse, session, plan, taken=payload["input"], state=session.state, here=Here(session.seed)
    ).program()
    try:
        first, output = yield AnyOf((WaitEvent(CANCEL), session.listen(), work))
        if first == 0:
            raise CancelledError("the run was cancelled")
    except LoomError as error:
        return (yield from _give_up(session, error))
    return output


def _give_up(session: Session, error: LoomError) -> Program:
    """Stop what is under way and undo what is done, then fail in an execution whose input can be taken up."""
    yield session.progress.abandon()
    if session.active:
        yield Stop(session.seed)
    yield from _compensate(session)
    _forget_moments(session.state)
    yield ContinueAsNew({**session.checkpoint(), "failure": kept(error)})


def _forget_moments(state: dict[str, Any]) -> None:
    """A run that is taken up has new deadlines, and tries the branches again that failed."""
    state.pop("deadline", None)
    for under_way in state.get("underWay", {}).values():
        for key in MOMENTS:
            under_way.pop(key, None)
        _forget_moments(under_way.get("inner", {}))


def _compensate(session: Session) -> Program:
    """Undo the stages, the last one first; one that cannot be undone is told and keeps no other from it."""
    saga: list[Any] = session.state["saga"]
    session.state["compensated"] = bool(saga)
    told: list[dict[str, Json]] = []
    while saga:
        entry = saga.pop()
        told.append({"stage": entry["stage"], "status": "running"})
        yield session.progress.note("compensations", told)
        try:
            if "error" in entry:
                raise InvalidError(entry["error"])
            calls = Calls.from_json(entry["calls"])
            calls.run = session.needed_by(calls.chains)
            yield from call(calls, entry["input"], calls.seed, "", entry["actor"])
            told[-1]["status"] = "completed"
        except LoomError as error:
            told[-1] |= {"status": "failed", "error": described(error, MAX_MESSAGE)}
        yield session.progress.note("compensations", told)
