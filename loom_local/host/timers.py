"""Timer triggers: each function on its schedule, one invocation of it at a time.

What was due while the host was down comes once at the start, as past due, unless the schedule is of less
than a minute (there, as in Azure, nothing is remembered).
"""

import asyncio
import json
import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

from loom_core.errors import InvalidError, Problem
from loom_local.database import Database
from loom_local.host.function import Function
from loom_local.host.functions import HandlerError
from loom_local.host.ncrontab import Schedule, parse, time_zone
from loom_local.host.triggers import Invoke, finish, spawn

_log = logging.getLogger(__name__)

MINUTE = timedelta(minutes=1)
LONGEST_SLEEP = 30.0
"""Seconds; the wall clock is looked at again then, because a laptop's sleep does not count for a timer."""


@dataclass(slots=True, eq=False)
class _Timer:
    function: Function
    name: str
    text: str
    schedule: Schedule
    run_on_startup: bool
    monitored: bool
    last: datetime | None
    next: datetime
    task: asyncio.Task[None] | None = None
    sleeping: bool = False


class Timers:
    """The timer functions of an app. `start` once, `stop` once. `zone` defaults to WEBSITE_TIME_ZONE.

    The constructor raises InvalidError naming every function whose schedule is wrong.
    """

    def __init__(
        self,
        functions: Sequence[Function],
        invoke: Invoke,
        database: Database,
        *,
        zone: tzinfo | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        zone = zone or time_zone(os.environ.get("WEBSITE_TIME_ZONE"))
        self._invoke = invoke
        self._database = database
        self._clock = clock
        self._sleep = sleep
        self._stopping = False
        self._timers: list[_Timer] = []
        problems: list[Problem] = []
        for function in functions:
            try:
                self._timers.append(self._timer(function, zone))
            except InvalidError as error:
                found = error.problems[0].message
                problems.append(Problem("$.schedule", f"timer function {function.name}: {found}"))
        if problems:
            raise InvalidError(problems)

    def start(self) -> None:
        """Run the timers on the calling loop."""
        for timer in self._timers:
            timer.task = spawn(self._run(timer), f"timer {timer.name}")

    async def stop(self, grace: float) -> None:
        """Start nothing more, and let what runs end within `grace` seconds."""
        self._stopping = True
        running = [timer.task for timer in self._timers if timer.task is not None]
        for timer in self._timers:
            if timer.task is not None and timer.sleeping:
                timer.task.cancel()
        await finish(running, grace)

    def _timer(self, function: Function, zone: tzinfo) -> _Timer:
        text = str(function.trigger.get("schedule", ""))
        schedule, now = parse(text, zone), self._clock()
        first = schedule.next_after(now)
        monitored = bool(function.trigger.get("useMonitor", True))
        monitored = monitored and schedule.next_after(first) - first >= MINUTE
        at_start = bool(function.trigger.get("runOnStartup", False))
        return _Timer(function, function.name, text, schedule, at_start, monitored, None, first)

    async def _run(self, timer: _Timer) -> None:
        await self._recall(timer)
        if timer.monitored and timer.next <= self._clock():
            await self._fire(timer, past_due=True)
        elif timer.run_on_startup:
            await self._fire(timer)
        while not self._stopping:
            left = (timer.next - self._clock()).total_seconds()
            if left <= 0:
                await self._fire(timer)
                continue
            timer.sleeping = True
            await self._sleep(min(left, LONGEST_SLEEP))
            timer.sleeping = False

    async def _fire(self, timer: _Timer, *, past_due: bool = False) -> None:
        now = self._clock()
        status = {"Last": _iso(timer.last), "LastUpdated": _iso(timer.last), "Next": _iso(timer.next)}
        document = {
            "Schedule": {"AdjustForDST": True},
            "ScheduleStatus": status if timer.monitored else None,
            "IsPastDue": past_due,
        }
        try:
            await self._invoke(timer.function, json.dumps(document), kind="json")
        except HandlerError as failure:
            _log.error("timer function %s failed", timer.name, exc_info=failure.error)
        # From the start of the invocation: what came due while it ran follows at once, and once only.
        timer.last, timer.next = now, timer.schedule.next_after(now)
        await self._remember(timer)

    async def _recall(self, timer: _Timer) -> None:
        """Take up where the last host left off, if the schedule is still the same."""
        if not timer.monitored:
            return
        sql = "SELECT last_at, next_at FROM timers WHERE name = ? AND schedule = ?"
        found = self._database.reader().execute(sql, (timer.name, timer.text)).fetchall()
        if not found:
            await self._remember(timer)
            return
        ((last, following),) = found
        timer.last = datetime.fromtimestamp(last, UTC) if last is not None else None
        timer.next = datetime.fromtimestamp(following, UTC)

    async def _remember(self, timer: _Timer) -> None:
        if not timer.monitored:
            return
        last = timer.last.timestamp() if timer.last is not None else None
        values = (timer.name, timer.text, last, timer.next.timestamp())
        await self._database.submit([("INSERT OR REPLACE INTO timers VALUES (?, ?, ?, ?)", values)])


def _iso(moment: datetime | None) -> str:
    # .NET's default date, as the Functions host gives it before the first run.
    return moment.isoformat() if moment is not None else "0001-01-01T00:00:00+00:00"
