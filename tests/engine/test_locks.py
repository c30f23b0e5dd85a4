"""Locks asked for by those who have gone on or ended."""

from pathlib import Path

from durabletask import task

from loom_local.engine.operations import Operations
from tests.engine.bare import bare, start
from tests.engine.sdk import App, until
from tests.engine.test_entities import counter, with_counter


async def test_a_lock_request_of_an_earlier_generation_locks_nothing(path: Path) -> None:
    app = with_counter(App())

    @app.orchestrator
    def holds(context, _):
        with (yield context.lock_entities([counter("b")])):
            yield context.wait_for_external_event("release")

    @app.orchestrator
    def eternal(context, round_):
        if not round_:
            lock = context.lock_entities([counter("a"), counter("b")])
            yield task.when_any([lock, context.wait_for_external_event("again")])
            context.continue_as_new(1)
        else:
            yield context.wait_for_external_event("never")

    async with bare(app, path) as (engine, operations):
        await start(operations, "holds", "h")
        await until(lambda: engine.locks.held_by("h"))
        await start(operations, "eternal", "e")
        await until(lambda: (b := engine.entities.peek("@counter@b")) and b.blocked)
        await operations.raise_event("e", "again", None)
        await until(lambda: len(app.dispatches) and not engine.locks.held_by("e"))
        await operations.raise_event("h", "release", None)
        await until(lambda: not engine.locks.held_by("h"))
        await signal(operations, "@counter@b", "add", "1")
        await until(lambda: engine.entities.peek("@counter@b").state == "1")
        assert engine.locks.held_by("e") == []


async def test_a_lock_request_of_a_run_that_was_replaced_locks_nothing(path: Path) -> None:
    app = with_counter(App())

    @app.orchestrator
    def holds(context, _):
        with (yield context.lock_entities([counter("b")])):
            yield context.wait_for_external_event("release")

    @app.orchestrator
    def waits(context, _):
        yield context.wait_for_external_event("never")

    async with bare(app, path) as (engine, operations):
        await start(operations, "holds", "h")
        await until(lambda: engine.locks.held_by("h"))
        await start(operations, "holds", "late")
        await until(lambda: engine.entities.peek("@counter@b").blocked)
        await operations.terminate("late", None, recursive=False)
        await until(lambda: engine.instances.peek("late") is None)
        await start(operations, "waits", "late")
        await operations.raise_event("h", "release", None)
        await signal(operations, "@counter@b", "add", "1")
        await until(lambda: engine.entities.peek("@counter@b").state == "1")


async def signal(operations: Operations, entity: str, operation: str, encoded: str) -> None:
    await operations.signal(entity, operation, encoded, "", None)
