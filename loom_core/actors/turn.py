"""The turn: the program that a generator `execute` runs as, from its message to its end."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

from loom_core.actors.actor import Actor, payload_of
from loom_core.actors.work import MAX_INLINE, Work
from loom_core.errors import StepFailedError, failure
from loom_core.wire.commands import AnyOf, CallEntity, Program, Stop, WaitEvent
from loom_core.wire.json import JsonObject, copied
from loom_core.wire.messages import split

CANCEL: Final = "loom:cancel"


def turn(types: Mapping[str, type[Actor]], states: Callable[[str], Any], payload: JsonObject) -> Program:
    """Serve `{"actor", "message", "state", "now", "turn"}`, with what `done` says of earlier attempts.

    Without a `state`, `states` has it, by the turn's id.

    The actor's entity is told how it ended: `{"result"}`, `{"error", "done"}` or `{"cancelled"}`.
    """
    given: Any = payload
    kind = types[given["actor"].partition("/")[0].lower()]
    before = given["state"] if "state" in given else states(given["turn"])
    work = Work(
        address=given["actor"],
        message=given["message"],
        state=copied(before),
        now=given["now"],
        turn=given["turn"],
        types=types,
        done=dict(given["done"]),
    )
    index, end = yield AnyOf((_body(kind, work, given.get("size", MAX_INLINE)), WaitEvent(CANCEL)))
    if index:
        yield Stop(work.scope)
        for key, child in work.children.items():
            with suppress(StepFailedError):  # it has ended
                yield CallEntity(*split(child), "cancel", {"messageId": key})
        end = {"cancelled": True}
    if "result" in end:
        yield work.commit(suspended=work.suspended, end=end)
    else:
        # What is not committed never happens; what is, the entity undoes.
        dropped = {"state_patches", "message_sent"}
        work.entries = [entry for entry in work.entries if entry["type"] not in dropped]
        yield work.commit(end=end, before=before)


def _body(kind: type[Actor], work: Work, size: int) -> Program:
    try:
        program: Program = kind(work).execute(payload_of(kind, work.message["payload"]))
        result: Any = yield from program
        work.settle(result, size)
    except Exception as error:  # noqa: BLE001 - whatever an actor raises is the turn's end
        return {"error": failure(error), "done": work.done}
    return {"result": result}
