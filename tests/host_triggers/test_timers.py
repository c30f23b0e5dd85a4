import asyncio
import heapq
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import azure.functions as func
import pytest

from loom_core.errors import InvalidError
from loom_local.database import Database
from loom_local.host.function import Function
from loom_local.host.ncrontab import time_zone
from loom_local.host.timers import Timers
from tests.host_triggers.conftest import function, index, invoke, until

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)


class Clock:
    """A wall clock that moves only when it is told to, and wakes those who sleep by it."""

    def __init__(self) -> None:
        self.now = NOON
        self._sleepers: list[tuple[datetime, int, asyncio.Event]] = []

    def __call__(self) -> datetime:
        return self.now

    async def sleep(self, seconds: float) -> None:
        event = asyncio.Event()
        heapq.heappush(self._sleepers, (self.now + timedelta(seconds=seconds), id(event), event))
        await event.wait()

    async def advance(self, **duration: float) -> None:
        """Let the time pass, waking each sleeper when its time comes."""
        end = self.now + timedelta(**duration)
        await asyncio.sleep(0.01)
        while self._sleepers and self._sleepers[0][0] <= end:
            self.now, _, event = heapq.heappop(self._sleepers)
            event.set()
            await asyncio.sleep(0.005)
        self.now = end


class Tick:
    """A timer function that notes when it ran and what it was told."""

    def __init__(self, clock: Clock, schedule: str, **trigger: Any) -> None:
        self.ran: list[tuple[str, bool]] = []
        self.requests: list[func.TimerRequest] = []
        app = func.FunctionApp()

        @app.function_name("tick")
        @app.timer_trigger(arg_name="timer", schedule=schedule, **trigger)
        async def tick(timer: func.TimerRequest) -> None:
            self.ran.append((clock.now.strftime("%H:%M:%S"), timer.past_due))
            self.requests.append(timer)
            await self.body()

        self.functions = index(app)

    async def body(self) -> None:
        return


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def start(clock: Clock, database: Database) -> Callable[[list[Function]], Timers]:
    def started(functions: list[Function]) -> Timers:
        timers = Timers(functions, invoke, database, clock=clock, sleep=clock.sleep)
        timers.start()
        return timers

    return started


async def test_a_timer_runs_on_its_schedule_and_stops(clock: Clock, start):
    tick = Tick(clock, "0 */5 * * * *")
    timers = start(tick.functions)
    await clock.advance(minutes=11)
    assert tick.ran == [("12:05:00", False), ("12:10:00", False)]
    await timers.stop(5)
    await clock.advance(minutes=11)
    assert len(tick.ran) == 2


async def test_a_timer_knows_when_it_ran_last_and_runs_next(clock: Clock, start):
    tick = Tick(clock, "0 0 * * * *")
    timers = start(tick.functions)
    await clock.advance(hours=2)
    assert tick.requests[1].schedule_status == {
        "Last": "2026-03-04T13:00:00+00:00",
        "LastUpdated": "2026-03-04T13:00:00+00:00",
        "Next": "2026-03-04T14:00:00+00:00",
    }
    assert tick.requests[0].schedule_status["Last"] == "0001-01-01T00:00:00+00:00"
    assert tick.requests[0].schedule == {"AdjustForDST": True}
    await timers.stop(5)


async def test_a_timer_can_run_at_the_start(clock: Clock, start):
    tick = Tick(clock, "0 0 * * * *", run_on_startup=True)
    timers = start(tick.functions)
    await clock.advance(minutes=61)
    assert tick.ran == [("12:00:00", False), ("13:00:00", False)]
    await timers.stop(5)


async def test_what_was_missed_while_the_host_was_down_comes_once_as_past_due(clock: Clock, tmp_path: Path):
    tick = Tick(clock, "0 */5 * * * *")
    for down in (timedelta(minutes=17), timedelta()):
        database = Database.open(tmp_path / "timers.db", durable=False)
        timers = Timers(tick.functions, invoke, database, clock=clock, sleep=clock.sleep)
        timers.start()
        await clock.advance(minutes=1)
        await timers.stop(5)
        database.close()
        clock.now += down
    assert tick.ran == [("12:18:00", True)]
    (request,) = tick.requests
    assert request.schedule_status["Next"] == "2026-03-04T12:05:00+00:00"


async def test_a_short_absence_misses_nothing(clock: Clock, start):
    tick = Tick(clock, "0 */5 * * * *")
    for _ in range(2):
        timers = start(tick.functions)
        await clock.advance(minutes=1)
        await timers.stop(5)
        clock.now += timedelta(minutes=1)
    assert tick.ran == []


@pytest.mark.parametrize(
    ("schedule", "trigger"),
    [("*/30 * * * * *", {}), ("00:00:30", {}), ("0 */5 * * * *", {"use_monitor": False})],
)
async def test_nothing_is_past_due_without_the_monitor_or_below_a_minute(
    clock: Clock, start, schedule: str, trigger: dict[str, bool]
):
    tick = Tick(clock, schedule, **trigger)
    for _ in range(2):
        timers = start(tick.functions)
        await clock.advance(seconds=1)
        await timers.stop(5)
        clock.now += timedelta(hours=1)
    assert tick.ran == []


async def test_a_changed_schedule_is_not_past_due(clock: Clock, start):
    timers = start(Tick(clock, "0 */5 * * * *").functions)
    await clock.advance(minutes=1)
    await timers.stop(5)
    clock.now += timedelta(hours=1)
    tick = Tick(clock, "0 0 * * * *")
    timers = start(tick.functions)
    await clock.advance(minutes=1)
    await timers.stop(5)
    assert tick.ran == []


async def test_a_long_run_is_never_overlapped_and_followed_once(clock: Clock, start):
    tick = Tick(clock, "0 */5 * * * *")
    finish = asyncio.Event()
    tick.body = finish.wait
    timers = start(tick.functions)
    await clock.advance(minutes=17)
    assert tick.ran == [("12:05:00", False)]
    finish.set()
    await clock.advance(minutes=5)
    assert tick.ran == [("12:05:00", False), ("12:17:00", False), ("12:20:00", False)]
    await timers.stop(5)


async def test_a_failing_run_is_logged_and_the_next_comes(
    clock: Clock, start, caplog: pytest.LogCaptureFixture
):
    tick = Tick(clock, "0 */5 * * * *")

    async def fail() -> None:
        raise ValueError("out of luck")

    tick.body = fail
    timers = start(tick.functions)
    await clock.advance(minutes=10)
    assert len(tick.ran) == 2
    assert "timer function tick failed" in caplog.text
    assert "out of luck" in caplog.text
    await timers.stop(5)


async def test_stopping_lets_a_run_finish_within_the_grace(clock: Clock, start):
    tick, ended = Tick(clock, "0 */5 * * * *"), []

    async def work() -> None:
        await asyncio.sleep(0.01)
        ended.append(True)

    tick.body = work
    timers = start(tick.functions)
    advancing = asyncio.create_task(clock.advance(minutes=5))
    await until(lambda: tick.ran)
    await timers.stop(30)
    assert ended == [True]
    await advancing


async def test_a_run_that_outlives_the_grace_is_past_due_at_the_next_start(clock: Clock, start):
    tick = Tick(clock, "0 */5 * * * *")
    tick.body = asyncio.Event().wait
    timers = start(tick.functions)
    await clock.advance(minutes=5)
    await timers.stop(0.01)
    tick.body = lambda: asyncio.sleep(0)
    timers = start(tick.functions)
    await clock.advance(minutes=1)
    await timers.stop(5)
    assert tick.ran == [("12:05:00", False), ("12:05:00", True)]


async def test_every_wrong_schedule_is_named_with_its_function(clock: Clock, database: Database):
    functions = [
        function(name, schedule=schedule)
        for name, schedule in (("a", "every day"), ("b", "0 0 0 * * *"), ("c", "0 0 99 * * *"))
    ]
    with pytest.raises(InvalidError) as refused:
        Timers(functions, invoke, database, clock=clock)
    first, second = refused.value.problems
    assert first.message.startswith("timer function a: 'every day' is no schedule")
    assert second.message == "timer function c: '99' is no hour: 0 to 23"


def test_the_time_zone_of_the_app_settings_is_found():
    assert time_zone(None) is UTC
    assert str(time_zone("Europe/Berlin")) == "Europe/Berlin"
    for name in ("W. Europe Standard Time", "../etc/passwd", "/etc/passwd"):
        with pytest.raises(InvalidError, match="WEBSITE_TIME_ZONE"):
            time_zone(name)
