"""Ending, replacing and purging instances while something of theirs is under way."""

import asyncio
import contextlib
from pathlib import Path

import pytest

from loom_local.engine.operations import AlreadyExistsError, WrongStateError
from loom_local.engine.protocol import COMPLETED, RUNNING, TERMINAL, TERMINATED
from tests.engine.bare import bare, left_by_a_crash, slow_disk, start
from tests.engine.sdk import App, until

ANY = TERMINAL | {RUNNING, 5, 0, 6}


class Held:
    """Lets the first steps of an orchestrator wait."""

    def __init__(self, app: App, steps: int = 1) -> None:
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()
        self._left = steps
        self._real = app.run_orchestrator
        app.run_orchestrator = self._run

    async def _run(self, name: str, request: bytes) -> bytes:
        self._left -= 1
        if self._left == 0:
            self.begun.set()
            await self.go_on.wait()
        return await self._real(name, request)


def listening() -> App:
    app = App()

    @app.activity
    def echo(value):
        return value

    @app.orchestrator
    def listens(context, _):
        return (yield context.wait_for_external_event("go"))

    return app


async def ended(engine, instance_id: str):
    async with asyncio.timeout(5):
        seen = await engine.queries.wait(instance_id, lambda i: i.terminal, with_input=False)
    return seen.instance


async def test_a_message_in_the_hands_of_a_replaced_run_never_reaches_its_successor(path: Path) -> None:
    app = listening()
    async with bare(app, path) as (engine, operations):
        await start(operations, "listens", "a")
        await until(lambda: engine.instances.peek("a").status == RUNNING)
        held = Held(app)
        await operations.raise_event("a", "go", '"old"')
        await held.begun.wait()
        await operations.start("a", "listens", None, None, tags={}, at=None, replaceable=ANY)
        crashed = left_by_a_crash(path)
        held.go_on.set()

    async with bare(listening(), crashed) as (engine, operations):
        await operations.raise_event("a", "go", '"new"')
        assert (await ended(engine, "a")).output == '"new"'


async def test_terminating_a_scheduled_run_whose_first_step_is_under_way_ends_it_once(path: Path) -> None:
    app = App()

    @app.orchestrator
    def quick(context, _):
        return "ran"

    held = Held(app)
    async with bare(app, path) as (engine, operations):
        await start(operations, "quick", "a", at=engine.clock() - 1)
        await held.begun.wait()
        await operations.terminate("a", '"stop"', recursive=False)
        held.go_on.set()
        await ended(engine, "a")
        await until(lambda: engine.instances.peek("a") is None)
        history = [e for step in engine.queries.history("a") for e in step]
        assert sum(e.HasField("executionCompleted") for e in history) == 1


async def test_an_event_never_overtakes_the_start_of_a_scheduled_run(path: Path) -> None:
    now = [1000.0]
    async with bare(listening(), path, clock=lambda: now[0]) as (engine, operations):
        await start(operations, "listens", "a", at=1000.5)
        now[0] = 1001.0  # it is due, but its timer has not fired yet
        await operations.raise_event("a", "go", '"x"')
        engine.timers._deliver_due()
        seen = await ended(engine, "a")
        assert (seen.status, seen.output) == (COMPLETED, '"x"')


async def test_nothing_is_left_of_a_scheduled_run_that_was_terminated_with_events_waiting(path: Path) -> None:
    async with bare(listening(), path) as (engine, operations):
        await start(operations, "listens", "a", at=engine.clock() + 1000)
        await operations.raise_event("a", "go", '"x"')
        await operations.terminate("a", None, recursive=False)
        assert (await ended(engine, "a")).status == TERMINATED
        assert engine.database.reader().execute("SELECT COUNT(*) FROM inbox").fetchone() == (0,)
        assert len(engine.timers) == 0


async def test_the_parent_of_a_replaced_run_is_told_that_its_child_was_ended(path: Path) -> None:
    app = listening()

    @app.orchestrator
    def parent(context, _):
        try:
            return (yield context.call_sub_orchestrator("listens", instance_id="child"))
        except Exception as error:
            return str(error)

    async with bare(app, path) as (engine, operations):
        await start(operations, "parent", "p")
        await until(lambda: (c := engine.instances.peek("child")) and c.status == RUNNING)
        await operations.start("child", "listens", None, None, tags={}, at=None, replaceable=ANY)
        assert "child" in (await ended(engine, "p")).output


async def test_a_start_is_refused_only_when_the_run_that_exists_is_on_disk(path: Path) -> None:
    async with bare(listening(), path) as (engine, operations):
        with slow_disk(engine.database) as disk:
            first = asyncio.create_task(start(operations, "listens", "a"))
            await asyncio.sleep(0)
            second = asyncio.create_task(start(operations, "listens", "a"))
            await asyncio.wait([second], timeout=0.02)
            assert not second.done()
            disk.set()
            await first
            with pytest.raises(AlreadyExistsError):
                await second


async def test_an_operation_is_refused_only_when_the_end_of_the_run_is_on_disk(path: Path) -> None:
    async with bare(listening(), path) as (engine, operations):
        await start(operations, "listens", "a")
        await until(lambda: engine.instances.peek("a").status == RUNNING)
        with slow_disk(engine.database) as disk:
            raising = asyncio.create_task(operations.raise_event("a", "go", None))
            await until(lambda: engine.instances.peek("a").terminal)
            late = asyncio.create_task(operations.raise_event("a", "go", None))
            await asyncio.wait([late], timeout=0.02)
            assert not late.done()
            disk.set()
            await raising
            with pytest.raises(WrongStateError):
                await late


async def test_purging_a_run_whose_end_is_not_yet_on_disk_does_not_bring_it_back(path: Path) -> None:
    async with bare(listening(), path) as (engine, operations):
        await start(operations, "listens", "a")
        await until(lambda: engine.instances.peek("a").status == RUNNING)
        with slow_disk(engine.database) as disk:
            raising = asyncio.create_task(operations.raise_event("a", "go", None))
            await until(lambda: engine.instances.peek("a").terminal)
            purging = asyncio.create_task(operations.purge(["a"]))
            await asyncio.sleep(0.01)
            late = asyncio.create_task(operations.suspend("a", None))
            await asyncio.sleep(0.01)
            disk.set()
            await raising
            assert await purging == 1
            with contextlib.suppress(Exception):
                await late
        await engine.database.submit([])
        assert engine.instances.peek("a") is None
        assert engine.instances.get("a") is None


async def test_a_run_id_that_looks_like_an_entity_is_refused(path: Path) -> None:
    app = listening()

    @app.orchestrator
    def parent(context, _):
        try:
            return (yield context.call_sub_orchestrator("listens", instance_id="@listens@x"))
        except Exception as error:
            return str(error)

    async with bare(app, path) as (engine, operations):
        with pytest.raises(ValueError, match="@"):
            await start(operations, "listens", "@counter@a")
        await start(operations, "parent", "p")
        assert "@listens@x" in (await ended(engine, "p")).output
