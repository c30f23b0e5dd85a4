"""Entity messages over HTTP, through a small app of entities on `loom dev`."""

from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

from benchmarks.floors import group_commit, message_rows
from benchmarks.host import ROOT, Host, applied, host
from benchmarks.measure import Figure, Row, Scale, Table

WIDTH = 100
"""Requests under way at a time."""
BATCH = 100
"""Messages in a request that carries many."""

type Request = tuple[str, str, Any]


def measure(scale: Scale, folder: Path) -> Table:
    single, batches, entities = scale.of(6_000), scale.of(200), BATCH * scale.of(50)
    one = [("POST", "/api/messages", {"key": str(n)}) for n in range(100)]
    hot = [_batch(range(BATCH))]
    many = [_batch(range(first, first + BATCH)) for first in range(0, entities, BATCH)]
    with host(ROOT / "benchmarks" / "app", folder / "data") as app:
        null_rate, null_busy = _rate(app, scale, [("GET", "/api/null", None)], single, 1)
        one_rate, one_busy = _rate(app, scale, one, single, 1)
        hot_rate, hot_busy = _rate(app, scale, hot, batches, BATCH)
        many_rate, many_busy = _rate(app, scale, many, len(many), BATCH)
        with closing(app.database()) as database:
            total = applied(database)
    sent = len(scale.rounds) * (single + BATCH * batches + entities)
    if total != sent:
        raise RuntimeError(f"{sent} messages were acknowledged and {total} had an effect")

    def floor(count: int, group: int, keys: int) -> Figure:
        path = folder / "floor.db"
        return Figure.of(count / group_commit(path, message_rows(count, group, keys)) for _ in scale.rounds)

    null = {"null route": null_rate}
    return Table(
        "Entity messages over HTTP",
        f"{WIDTH} requests under way at a time, from another process. Messages count when their effect is on "
        "disk. Floors: a route that answers at once through the same layers (requests a second), and SQLite "
        "committing the same rows in one thread. The note says how busy the load generator's core was.",
        (
            Row(
                "one message a request, 100 entities",
                "/s",
                one_rate,
                2_000,
                null | {"group commit": floor(single, WIDTH, 100)},
                one_busy,
            ),
            Row(
                f"{BATCH} messages a request, 100 entities",
                "/s",
                hot_rate,
                8_000,
                {"group commit": floor(BATCH * batches, 1_000, 100)},
                hot_busy,
            ),
            Row(
                f"{BATCH} messages a request, {entities:,} entities",
                "/s",
                many_rate,
                3_000,
                {"group commit": floor(entities, 1_000, entities)},
                many_busy,
            ),
            Row("null route", "/s", null_rate, note=null_busy),
        ),
    )


def _batch(keys: Iterable[int]) -> Request:
    return "POST", "/api/batches", [{"key": str(key)} for key in keys]


def _rate(app: Host, scale: Scale, requests: list[Request], count: int, messages: int) -> tuple[Figure, str]:
    """Messages a second, until the last has had its effect, and a note on the load generator."""
    rates: list[float] = []
    shares: list[float] = []
    for _ in scale.rounds:
        seen = app.load(requests, count, WIDTH)
        rates.append(count * messages / (max(seen.ended, app.settle()) - seen.began))
        shares.append(seen.busy / seen.seconds)
    return Figure.of(rates), f"generator {Figure.of(shares).median:.0%} busy"
