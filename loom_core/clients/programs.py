"""Programs that run for clients: what only an orchestration can ask of an actor, and hear the answer."""

from typing import Any

from loom_core.actors.ask import ask
from loom_core.wire.commands import CallEntity, Program
from loom_core.wire.json import JsonObject


def answer_messages(payload: JsonObject) -> Program:
    """The program `ask`: serves `{"instance", "messages"}`."""
    given: Any = payload
    return (yield from ask(given["instance"], given["messages"]))


def operate(payload: JsonObject) -> Program:
    """The program `operate`: one operation of an actor, `{"type", "id", "operation", "input"}`."""
    given: Any = payload
    return (yield CallEntity(**given))
