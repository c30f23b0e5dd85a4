"""Callers that go away, and user code that is cancelled, take nobody else's work along."""

import asyncio
from pathlib import Path

from loom_local.engine.protocol import COMPLETED
from tests.engine.bare import bare, slow_disk, start
from tests.engine.sdk import App, hub, until
from tests.engine.test_entities import counter, value, with_counter


def with_step(app: App) -> App:
    @app.activity
    def step(value):
        return value

    @app.orchestrator
    def one(context, value):
        return (yield context.call_activity("step", input=value))

    return app


async def test_a_caller_that_gives_up_waiting_for_a_commit_takes_nobody_along(path: Path) -> None:
    async with bare(with_step(App()), path) as (engine, operations):
        with slow_disk(engine.database) as disk:
            starting = asyncio.create_task(start(operations, "one", "a"))
            await until(lambda: engine.outstanding["a"])
            impatient = asyncio.create_task(engine.queries.instance("a", with_input=False))
            await asyncio.sleep(0)
            impatient.cancel()
            await asyncio.sleep(0)
            await asyncio.sleep(0)

            assert engine.activities.started == 0  # nothing leaves the engine before its commit
            disk.set()
        assert await starting == "a"
        seen = await engine.queries.wait("a", lambda i: i.terminal, with_input=False)
        assert seen is not None
        assert seen.instance.status == COMPLETED


async def test_a_caller_that_gives_up_its_own_start_does_not_hasten_it(path: Path) -> None:
    async with bare(with_step(App()), path) as (engine, operations):
        with slow_disk(engine.database) as disk:
            starting = asyncio.create_task(start(operations, "one", "a"))
            await until(lambda: engine.outstanding["a"])
            starting.cancel()
            await asyncio.sleep(0)
            await asyncio.sleep(0)

            instance = engine.instances.peek("a")
            assert instance is not None
            assert instance.uncommitted == 2
            disk.set()
        assert await engine.queries.wait("a", lambda i: i.terminal, with_input=False)


async def test_an_activity_whose_code_is_cancelled_is_tried_again(app: App, path: Path) -> None:
    real, cancelled = app.run_activity, [True, True]

    async def cancels(call):
        if cancelled:
            cancelled.pop()
            raise asyncio.CancelledError
        return await real(call)

    app.run_activity = cancels
    async with hub(with_step(app), path) as (_, client):
        await client.schedule_new_orchestration("one", input=5, instance_id="a")
        state = await client.wait_for_orchestration_completion("a", timeout=5)
        assert state.serialized_output == "5"


async def test_an_entity_whose_code_is_cancelled_keeps_its_messages_in_order(app: App, path: Path) -> None:
    real, cancelled = app.run_entity, [True]

    async def cancels(name, request):
        if cancelled:
            cancelled.pop()
            raise asyncio.CancelledError
        return await real(name, request)

    app.run_entity = cancels
    async with hub(with_counter(app), path) as (_, client):
        for n in range(5):
            await client.signal_entity(counter("a"), "append", n)
        await value(client, "a", [0, 1, 2, 3, 4], list)
