import asyncio
from datetime import timedelta
from pathlib import Path

from durabletask import task

from loom_local.engine.state import Message
from loom_local.engine.timers import Timers
from tests.engine.bare import bare, slow_disk, start
from tests.engine.sdk import App, until


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def message(seq: int, at: float, target: str = "a") -> Message:
    return Message(seq, target, "x", at, b"")


def timers() -> tuple[Timers, Clock, list[int]]:
    clock, delivered = Clock(), []
    return Timers(lambda m: delivered.append(m.seq), clock), clock, delivered


def test_messages_are_delivered_when_due_in_order_of_time_then_of_sending() -> None:
    waiting, clock, delivered = timers()
    for seq, at in ((1, 1003.0), (2, 1001.0), (3, 1002.0), (4, 1001.0)):
        waiting.add(message(seq, at))

    waiting._deliver_due()
    assert delivered == []
    clock.now = 1002.0
    waiting._deliver_due()
    assert delivered == [2, 4, 3]
    clock.now = 1010.0
    waiting._deliver_due()
    assert delivered == [2, 4, 3, 1]
    assert len(waiting) == 0


def test_cancelling_forgets_only_what_was_for_that_target() -> None:
    waiting, clock, delivered = timers()
    waiting.add(message(1, 1001.0, "a"))
    waiting.add(message(2, 1001.0, "b"))
    waiting.cancel("a")
    waiting.cancel("nobody")
    waiting.add(message(3, 1002.0, "a"))

    assert len(waiting) == 2
    clock.now = 1005.0
    waiting._deliver_due()
    assert delivered == [2, 3]
    assert len(waiting) == 0


def test_cancelled_messages_leave_memory_once_they_outnumber_the_others() -> None:
    waiting, clock, delivered = timers()
    for seq in range(10_000):
        waiting.add(message(seq, 2000.0 + seq, f"run {seq}"))
    for seq in range(9_990):
        waiting.cancel(f"run {seq}")

    assert len(waiting) == 10
    assert len(waiting._heap) < 2_100
    assert len(waiting._pending) == 10
    clock.now = 1e6
    waiting._deliver_due()
    assert delivered == list(range(9_990, 10_000))
    assert not waiting._cancelled


async def test_an_earlier_message_wakes_the_one_that_sleeps() -> None:
    waiting, clock, delivered = timers()
    running = asyncio.create_task(waiting.run())
    waiting.add(message(1, clock.now + 3000))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    waiting.add(message(2, clock.now))
    await until(lambda: delivered == [2])
    running.cancel()


def racing() -> App:
    app = App()

    @app.orchestrator
    def child(context, _):
        return 1

    @app.orchestrator
    def race(context, _):
        timeout = context.create_timer(timedelta(days=30))
        yield task.when_any([timeout, context.call_sub_orchestrator("child")])

    @app.orchestrator
    def careless(context, _):
        context.create_timer(timedelta(days=30))
        return 1
        yield

    @app.orchestrator
    def again(context, round_):
        context.create_timer(timedelta(days=30))
        if (round_ or 0) < 3:
            context.continue_as_new((round_ or 0) + 1)
        return round_
        yield

    return app


async def test_timers_of_a_run_that_ends_before_they_are_on_disk_are_forgotten(path: Path) -> None:
    async with bare(racing(), path) as (engine, operations):
        with slow_disk(engine.database) as disk:
            starting = asyncio.create_task(start(operations, "race", "a"))
            await until(lambda: (a := engine.instances.peek("a")) and a.terminal)
            disk.set()
            await starting
        await until(lambda: engine.instances.peek("a") is None)
        assert len(engine.timers) == 0
        assert engine.database.reader().execute("SELECT COUNT(*) FROM inbox").fetchone() == (0,)


async def test_timers_made_in_the_last_step_of_a_run_or_generation_are_forgotten(path: Path) -> None:
    async with bare(racing(), path) as (engine, operations):
        for name in ("careless", "again"):
            await start(operations, name, name)
            await engine.queries.wait(name, lambda i: i.terminal, with_input=False)
            await until(lambda name=name: engine.instances.peek(name) is None)
            assert len(engine.timers) == 0
            assert engine.database.reader().execute("SELECT COUNT(*) FROM inbox").fetchone() == (0,)
