"""What should never happen ends the process, once or a few times, and never silently or for ever."""

import sqlite3
from datetime import timedelta
from pathlib import Path

from loom_local.engine.protocol import FAILED, pb
from loom_local.engine.worker import EngineLimits
from tests.engine.bare import bare, left_by_a_crash, start
from tests.engine.sdk import App, until
from tests.engine.test_entities import with_counter


async def test_a_run_whose_answer_brings_the_engine_down_is_failed_after_a_few_times(path: Path) -> None:
    app = App()

    async def nonsense(name: str, request: bytes) -> bytes:
        return pb.OrchestratorResponse(actions=[pb.OrchestratorAction(id=1)]).SerializeToString()

    app.run_orchestrator = nonsense
    defects: list[BaseException] = []
    crashes = 0
    async with bare(app, path, on_defect=defects.append) as (_, operations):
        await start(operations, "bad", "bad")
        await until(lambda: defects)
        path = left_by_a_crash(path)
    while crashes < 5:
        crashes += 1
        defects.clear()
        async with bare(app, path, limits=EngineLimits(crashes=1), on_defect=defects.append) as (engine, _):
            await until(lambda: defects or engine.instances.get("bad").terminal)
            if not defects:
                assert (await engine.queries.instance("bad", with_input=False)).instance.status == FAILED
                break
            path = left_by_a_crash(path)
    assert crashes == 2


async def test_an_error_while_a_commit_takes_effect_is_not_passed_over(path: Path) -> None:
    defects: list[BaseException] = []
    async with bare(with_counter(App()), path, on_defect=defects.append) as (engine, operations):

        def unreadable(_) -> None:
            raise sqlite3.OperationalError("disk I/O error")

        engine.entities.get = unreadable
        await operations.signal("@counter@a", "add", "1", "", None)
        await until(lambda: defects)


async def test_timers_that_can_no_longer_be_delivered_are_not_passed_over(path: Path) -> None:
    app, defects = App(), list[BaseException]()

    @app.orchestrator
    def sleeps(context, _):
        yield context.create_timer(timedelta(seconds=0.1))

    async with bare(app, path, on_defect=defects.append) as (engine, operations):
        await start(operations, "sleeps", "s")
        await until(lambda: len(engine.timers))

        def unreadable(_) -> None:
            raise sqlite3.OperationalError("disk I/O error")

        engine.instances.get = unreadable
        await until(lambda: defects)
