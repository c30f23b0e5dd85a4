"""The `run_program` orchestration: one Durable orchestrator for every registered program."""

from collections.abc import Callable, Generator, Mapping
from typing import Any

from durabletask import task

from loom_core.durable.driver import Drive
from loom_core.errors import InvalidError
from loom_core.wire.commands import Program
from loom_core.wire.json import JsonObject, dump

type Programs = Mapping[str, Callable[[JsonObject], Program]]


def run_program(
    programs: Programs, context: task.OrchestrationContext, call: dict[str, Any]
) -> Generator[task.Task[Any], Any, Any]:
    """Run `call["program"]` over `call["payload"]`; the program's result is the orchestration's output.

    `call["run"]` is the run it belongs to (by default itself), `call["at"]` the time at which all of its work
    counts as scheduled (by default each its own). Raises InvalidError for a program that nobody registered,
    and what the program raises.
    """
    program = programs.get(call["program"])
    if program is None:
        raise InvalidError(f"no program is called {call['program']!r}")
    drive = Drive(context, call)
    output = yield from drive.run(program(call["payload"]))
    if drive.continued is None:
        dump(output)
        return output
    following = {**call, "payload": drive.continued.input, "number": drive.number, "status": drive.status}
    context.continue_as_new(following, save_events=True)
    return None
