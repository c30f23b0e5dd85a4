from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom_core.errors import InvalidError
from loom_local.host.ncrontab import Interval, Ncrontab, parse, timespan

START = "2026-03-04 05:06:07"  # a Wednesday


def following(expression: str, count: int, start: str = START, zone: str = "UTC") -> list[str]:
    tz = ZoneInfo(zone)
    schedule, moment, found = parse(expression, tz), datetime.fromisoformat(start).replace(tzinfo=tz), []
    for _ in range(count):
        moment = schedule.next_after(moment)
        found.append(moment.astimezone(tz).strftime("%Y-%m-%d %H:%M:%S"))
    return found


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("* * * * * *", ["2026-03-04 05:06:08", "2026-03-04 05:06:09"]),
        ("*/15 * * * * *", ["2026-03-04 05:06:15", "2026-03-04 05:06:30"]),
        ("0 */5 * * * *", ["2026-03-04 05:10:00", "2026-03-04 05:15:00"]),
        ("*/5 * * * *", ["2026-03-04 05:10:00", "2026-03-04 05:15:00"]),
        ("0 7/20 * * * *", ["2026-03-04 05:07:00", "2026-03-04 05:27:00"]),
        ("0 0 * * * *", ["2026-03-04 06:00:00", "2026-03-04 07:00:00"]),
        ("0 30 9 * * 1-5", ["2026-03-04 09:30:00", "2026-03-05 09:30:00"]),
        ("0 30 9 * * mon-friday", ["2026-03-04 09:30:00", "2026-03-05 09:30:00"]),
        ("0 30 9 * * FRI-MON", ["2026-03-04 09:30:00", "2026-03-05 09:30:00"]),
        ("0 30 9 * Jan,jul Mon", ["2026-07-06 09:30:00", "2026-07-13 09:30:00"]),
        ("0 0 8 1-7 * Tue", ["2026-04-07 08:00:00", "2026-05-05 08:00:00"]),
        ("0 0 0 29 2 *", ["2028-02-29 00:00:00", "2032-02-29 00:00:00"]),
        ("0 0 0 31 * *", ["2026-03-31 00:00:00", "2026-05-31 00:00:00"]),
        ("0 0 0 1 1 0", ["2034-01-01 00:00:00", "2040-01-01 00:00:00"]),
        ("0 5,50 5 * * */3", ["2026-03-04 05:50:00", "2026-03-07 05:05:00"]),
        ("0 10-4/3 23 * * *", ["2026-03-04 23:04:00", "2026-03-04 23:07:00"]),
        ("00:30:00", ["2026-03-04 05:36:07", "2026-03-04 06:06:07"]),
    ],
)
def test_a_schedule_comes_due_as_in_azure(expression: str, expected: list[str]):
    assert following(expression, len(expected)) == expected


def test_a_schedule_follows_the_wall_clock_of_its_zone():
    assert following("0 30 2 * * *", 3, "2026-03-28 12:00:00", "Europe/Berlin") == [
        "2026-03-29 03:30:00",  # 02:30 does not exist
        "2026-03-30 02:30:00",
        "2026-03-31 02:30:00",
    ]
    assert following("0 30 2 * * *", 2, "2026-10-24 12:00:00", "Europe/Berlin") == [
        "2026-10-25 02:30:00",
        "2026-10-26 02:30:00",
    ]


@given(
    moment=st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    zone=st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]),
    expression=st.sampled_from(["*/7 * * * * *", "0 */9 * * * *", "0 30 2 * * *", "5 0 0 1 * *"]),
)
def test_the_next_time_is_always_later_and_matches(moment: datetime, zone: str, expression: str):
    tz = ZoneInfo(zone)
    schedule = parse(expression, tz)
    assert isinstance(schedule, Ncrontab)
    found = schedule.next_after(moment)
    assert found > moment
    assert found.astimezone(tz).second in schedule.seconds


@given(
    moment=st.datetimes(datetime(2024, 1, 1), datetime(2028, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    seconds=st.sampled_from(["*", "0", "*/20", "5,7"]),
    minutes=st.sampled_from(["*", "0", "*/7", "59"]),
    hours=st.sampled_from(["*", "22-23", "*/5"]),
)
def test_no_matching_second_is_skipped(moment: datetime, seconds: str, minutes: str, hours: str):
    schedule = parse(f"{seconds} {minutes} {hours} * * *")
    assert isinstance(schedule, Ncrontab)
    found = schedule.next_after(moment)
    probe = moment.replace(microsecond=0) + timedelta(seconds=1)
    while probe < found and probe < moment + timedelta(minutes=30):
        matches = (probe.second in schedule.seconds, probe.minute in schedule.minutes)
        assert not (all(matches) and probe.hour in schedule.hours)
        probe += timedelta(seconds=1)


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("", "six fields"),
        ("every day", "six fields"),
        ("* * * *", "six fields"),
        ("* * * * * * *", "six fields"),
        ("60 * * * * *", "'60' is no second: 0 to 59"),
        ("0 0 24 * * *", "'24' is no hour"),
        ("0 0 0 0 * *", "'0' is no day: 1 to 31"),
        ("0 0 0 * * 7", "'7' is no day-of-week: 0 to 6 or a name"),
        ("0 0 0 * Foo *", "'Foo' is no month"),
        ("0 0 0 * * SUN#1", "no day-of-week: use"),
        ("0 0 0 L * *", "'L' is no day"),
        ("0 0 0 ? * *", r"'\?' is no day"),
        ("0 ,5 * * * *", "',5' is no minute"),
        ("0 -5 * * * *", "'-5' is no minute"),
        ("0 0 0 30 2 *", "never comes due"),
        ("00:00:00", "longer than nothing"),
        ("0 0 0 ² * *", "no day"),
    ],
)
def test_what_azure_would_refuse_is_refused_with_the_reason(expression: str, said: str):
    with pytest.raises(InvalidError, match=said):
        parse(expression)


def test_an_interval_is_written_as_a_timespan():
    assert parse("1.02:03:04") == Interval(timedelta(days=1, hours=2, minutes=3, seconds=4))
    assert timespan("00:05") == timedelta(minutes=5)
    assert timespan("24:00:00") == timedelta(days=24)
    assert timespan("5") is None
