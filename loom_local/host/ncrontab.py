"""When a timer trigger fires: NCRONTAB expressions and intervals, as Azure Functions reads them.

The cron libraries there are read them otherwise. Here a day must match the day and the day-of-week both,
Sunday is 0 and never 7, a reversed range is turned round, and `L`, `#`, `?` and `@daily` do not exist.
"""

import calendar
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Protocol

from loom_core.errors import InvalidError

_MONTHS = tuple(month.name.lower() for month in calendar.Month)
_WEEKDAYS = ("sunday", *(day.name.lower() for day in calendar.Day if day is not calendar.Day.SUNDAY))
_RULES: tuple[tuple[str, int, int, Sequence[str]], ...] = (
    ("second", 0, 59, ()),
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day", 1, 31, ()),
    ("month", 1, 12, _MONTHS),
    ("day-of-week", 0, 6, _WEEKDAYS),
)
_ITEM = re.compile(r"(?:\*|(?P<first>\w+)(?:-(?P<last>\w+))?)(?:/(?P<step>\d{1,9}))?", re.ASCII)
_SPAN = re.compile(r"(?:(\d{1,7})\.)?(\d{1,7}):([0-5]?\d)(?::([0-5]?\d))?", re.ASCII)
_DAYS_AHEAD = 366 * 41  # a 29th of February on a given weekday may be 40 years away
_LEAP_DAY = datetime(2024, 2, 29, tzinfo=UTC)


class Schedule(Protocol):
    def next_after(self, moment: datetime) -> datetime:
        """Give the first time after an aware `moment`, in UTC."""
        ...


@dataclass(frozen=True, slots=True)
class Interval:
    """The same time again and again."""

    every: timedelta

    def next_after(self, moment: datetime) -> datetime:
        return moment.astimezone(UTC) + self.every


@dataclass(frozen=True, slots=True)
class Ncrontab:
    """The times whose every field matches, by the wall clock of `zone`.

    A time that daylight saving skips or repeats comes once.
    """

    seconds: Sequence[int]
    minutes: Sequence[int]
    hours: Sequence[int]
    days: Sequence[int]
    months: Sequence[int]
    weekdays: Sequence[int]
    zone: tzinfo

    def next_after(self, moment: datetime) -> datetime:
        start = (moment.replace(microsecond=0) + timedelta(seconds=1)).astimezone(self.zone)
        for day in (start.date() + timedelta(days=n) for n in range(_DAYS_AHEAD)):
            if not self._comes_due_on(day):
                continue
            for found in self._times_from(start.time() if day == start.date() else time()):
                # Fold 1 is the later one of an hour that comes twice, and the same time otherwise.
                for fold in (0, 1):
                    wall = datetime.combine(day, found.replace(fold=fold), self.zone)
                    if (candidate := wall.astimezone(UTC)) > moment:
                        return candidate
        raise InvalidError("the schedule never comes due")

    def _comes_due_on(self, day: date) -> bool:
        return day.day in self.days and day.month in self.months and day.isoweekday() % 7 in self.weekdays

    def _times_from(self, at: time) -> Iterator[time]:
        for hour in self.hours:
            for minute in self.minutes if hour >= at.hour else ():
                for second in self.seconds if (hour, minute) >= (at.hour, at.minute) else ():
                    if (hour, minute, second) >= (at.hour, at.minute, at.second):
                        yield time(hour, minute, second)


def parse(text: str, zone: tzinfo = UTC) -> Schedule:
    """Read `{second} {minute} {hour} {day} {month} {day-of-week}`, the same without seconds, or `hh:mm:ss`.

    Raises InvalidError.
    """
    span = timespan(text)
    if span is not None:
        if span <= timedelta():
            raise InvalidError(f"{text!r} is no interval: it must be longer than nothing")
        return Interval(span)
    fields = text.split()
    if len(fields) == 5:
        fields.insert(0, "0")
    if len(fields) != 6:
        raise InvalidError(
            f"{text!r} is no schedule: write six fields, "
            "{second} {minute} {hour} {day} {month} {day-of-week}, or an interval hh:mm:ss"
        )
    sets = [_field(field, *rule) for field, rule in zip(fields, _RULES, strict=True)]
    schedule = Ncrontab(*sets, zone=zone)
    schedule.next_after(_LEAP_DAY)
    return schedule


def time_zone(name: str | None) -> tzinfo:
    """Find the zone WEBSITE_TIME_ZONE names; none is UTC. Raises InvalidError."""
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError  # noqa: PLC0415  few apps set it

    try:
        return ZoneInfo(name) if name else UTC
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidError(
            f"WEBSITE_TIME_ZONE: there is no time zone {name!r}; use a name like Europe/Berlin"
        ) from None


def timespan(text: str) -> timedelta | None:
    """Read a .NET TimeSpan, `[d.]hh:mm[:ss]`; from 24 on, the first number counts days. None: it is none."""
    match = _SPAN.fullmatch(text)
    if match is None:
        return None
    days, first, second, third = (int(part or 0) for part in match.groups())
    if first >= 24:
        return timedelta(days=first, hours=second, minutes=third)
    return timedelta(days=days, hours=first, minutes=second, seconds=third)


def _field(text: str, name: str, low: int, high: int, names: Sequence[str]) -> tuple[int, ...]:
    values: set[int] = set()
    for item in text.split(","):
        match = _ITEM.fullmatch(item)
        if match is None:
            raise InvalidError(f"{text!r} is no {name}: use numbers, *, ranges a-b, steps /n and lists a,b")
        first = _value(match["first"], name, low, high, names) if match["first"] else low
        last = _value(match["last"], name, low, high, names) if match["last"] else first
        if match["first"] is None or (match["step"] and not match["last"]):
            last = high
        values.update(range(min(first, last), max(first, last) + 1, max(int(match["step"] or 1), 1)))
    return tuple(sorted(values))


def _value(text: str, name: str, low: int, high: int, names: Sequence[str]) -> int:
    if text.isdecimal() and low <= int(text) <= high:
        return int(text)
    for index, known in enumerate(names):
        if known.startswith(text.lower()):
            return index + low
    raise InvalidError(f"{text!r} is no {name}: {low} to {high}" + (" or a name" if names else ""))
