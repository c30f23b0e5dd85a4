"""Taking up failed runs: whatever they still wait for must come."""

import asyncio
from datetime import timedelta
from pathlib import Path

from durabletask import task

from loom_local.engine.protocol import COMPLETED, FAILED
from tests.engine.bare import bare, start
from tests.engine.sdk import App, until


def fragile(broken: list) -> App:
    app = App()

    @app.activity
    def fragile(_):
        if broken:
            raise ValueError("no")
        return "mended"

    return app


async def ended(engine, instance_id: str):
    async with asyncio.timeout(5):
        seen = await engine.queries.wait(instance_id, lambda i: i.terminal, with_input=False)
    await until(lambda: engine.instances.peek(instance_id) is None)
    return seen.instance


async def test_what_is_sent_right_after_a_rewind_arrives_after_it(path: Path) -> None:
    broken = [True]
    app = fragile(broken)

    @app.orchestrator
    def parent(context, _):
        first = yield context.call_activity("fragile")
        second = yield context.wait_for_external_event("go")
        return [first, second]

    async with bare(app, path) as (engine, operations):
        await start(operations, "parent", "p")
        assert (await ended(engine, "p")).status == FAILED
        broken.clear()
        await asyncio.gather(operations.rewind("p", "mended"), operations.raise_event("p", "go", "1"))
        assert (await ended(engine, "p")).output == '["mended", 1]'


async def test_activities_and_timers_abandoned_by_a_failure_are_begun_anew(path: Path) -> None:
    broken, long = [True], asyncio.Event()
    app = fragile(broken)

    @app.activity
    async def slow(_):
        await long.wait()
        return "slow"

    @app.orchestrator
    def parent(context, _):
        timer = context.create_timer(timedelta(seconds=0.2))
        slow, fragile = context.call_activity("slow"), context.call_activity("fragile")
        results = [(yield fragile), (yield slow)]
        yield timer
        return results

    async with bare(app, path) as (engine, operations):
        await start(operations, "parent", "p")
        assert (await ended(engine, "p")).status == FAILED
        broken.clear()
        long.set()
        await operations.rewind("p", "mended")
        assert (await ended(engine, "p")).output == '["mended", "slow"]'


async def test_a_child_that_outlives_its_parents_failure_answers_the_rewound_parent(path: Path) -> None:
    broken = [True]
    app = fragile(broken)

    @app.orchestrator
    def child(context, _):
        return (yield context.wait_for_external_event("go"))

    @app.orchestrator
    def parent(context, _):
        children = [context.call_sub_orchestrator("child", instance_id=f"c{n}") for n in range(2)]
        yield context.call_activity("fragile")
        return (yield task.when_all(children))

    async with bare(app, path) as (engine, operations):
        await start(operations, "parent", "p")
        assert (await ended(engine, "p")).status == FAILED
        await operations.raise_event("c0", "go", '"while it had failed"')
        assert (await ended(engine, "c0")).status == COMPLETED
        broken.clear()
        await operations.rewind("p", "mended")
        await until(lambda: engine.instances.peek("p") and engine.instances.peek("p").steps > 1)
        await operations.raise_event("c1", "go", '"after the rewind"')
        assert (await ended(engine, "p")).output == '["while it had failed", "after the rewind"]'


async def test_a_child_that_is_gone_fails_in_the_rewound_parent(path: Path) -> None:
    app = fragile([])

    @app.orchestrator
    def child(context, _):
        raise ValueError("never")
        yield

    @app.orchestrator
    def parent(context, _):
        return (yield context.call_sub_orchestrator("child", instance_id="c"))

    async with bare(app, path) as (engine, operations):
        await start(operations, "parent", "p")
        assert (await ended(engine, "p")).status == FAILED
        assert await operations.purge(["c"]) == 1
        await operations.rewind("p", "hope")
        assert (await ended(engine, "p")).status == FAILED
