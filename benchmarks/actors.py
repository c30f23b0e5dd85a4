"""Messages to actors over HTTP, on Loom's own app: journal, ids and outbox are written with every one."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from benchmarks.floors import group_commit, message_rows
from benchmarks.host import Host, host, loom_app
from benchmarks.measure import Figure, Row, Scale, Table, percentile

WIDTH = 100
"""Requests under way at a time."""
BATCH = 100
"""Messages in a request that carries many."""
FEW = 100
NULL = ("GET", "/api/actors", None)
WAIT = {"prefer": "wait=60"}
TOTALS = "SELECT coalesce(sum(json_extract(state, '$.state.inline.total')), 0) FROM entities WHERE id LIKE ?"
SIZES = """
SELECT avg(json_extract(body, '$.last') - json_extract(body, '$.first') + 1) FROM documents
WHERE partition LIKE 'actors/Counter/%' AND id LIKE 'j:%'
"""

type Request = tuple[str, str, Any]


def measure(scale: Scale, folder: Path) -> Table:
    single, asked, batches, actors = (
        scale.of(3_000),
        scale.of(1_000),
        scale.of(100),
        max(FEW, scale.of(10_000)),
    )
    with host(loom_app(folder / "app"), folder / "data") as app:
        null = Figure.of(single / app.load([NULL], single, WIDTH).seconds for _ in scale.rounds)
        hot_batch = _rate(app, scale, [_many("Counter", range(BATCH))], batches, BATCH)
        batched = _entries(folder / "data")
        many = [_many("Counter", range(first, first + BATCH)) for first in range(0, actors, BATCH)]
        many_batch = _rate(app, scale, many, len(many), BATCH)
        passed_on = _rate(app, scale, [_many("Spreader", range(BATCH))], batches, BATCH)
        hot, cold = [_one(n) for n in range(FEW)], [_one(n) for n in range(actors)]
        hot_rate = _rate(app, scale, hot, single, 1)
        cold_rate = _rate(app, scale, cold, single, 1)
        hot_asked = _asked(app, scale, hot, asked)
        cold_asked = _asked(app, scale, cold, asked)
        alone = [app.load([_one(0)], scale.of(300), 1, WAIT).latencies for _ in scale.rounds]
        with closing(app.database()) as database:
            total = database.execute(TOTALS, ("@counter@%",)).fetchone()[0]
    rounds = len(scale.rounds)
    sent = 2 * BATCH * batches + len(many) * BATCH + 2 * single + 2 * asked + scale.of(300)
    if total != rounds * sent:
        raise RuntimeError(f"{rounds * sent} messages were acknowledged and {total} had an effect")

    def floors(count: int, group: int, keys: int) -> dict[str, Figure]:
        path = folder / "floor.db"
        rates = (count / group_commit(path, message_rows(count, group, keys)) for _ in scale.rounds)
        return {"group commit": Figure.of(rates)}

    nulls = {"null route": null}
    return Table(
        "Messages to actors over HTTP",
        f"{WIDTH} requests under way at a time, from another process. Journal, message ids and state are on "
        "disk when a message counts. Floors: a route that answers at once through the same layers (requests "
        "a second), and SQLite committing the entities' rows in one thread, without a journal.",
        (
            _row(f"one message a request, {FEW} actors", hot_rate, 2_000, nulls | floors(single, WIDTH, FEW)),
            _row(f"one message a request, {actors:,} actors", cold_rate, 2_000, nulls),
            _row(
                f"{BATCH} messages a request, {FEW} actors",
                hot_batch,
                8_000,
                floors(BATCH * batches, 1_000, FEW),
                f"{batched:.3g} entries of the journal a batch",
            ),
            _row(
                f"{BATCH} messages a request, {actors:,} actors",
                many_batch,
                3_000,
                floors(actors, 1_000, actors),
            ),
            _row(
                f"{BATCH} messages a request, each passed on by its actor to another",
                [2 * rate for rate in passed_on],
                8_000,
                floors(BATCH * batches, 1_000, FEW),
                "both messages count",
            ),
            _row(f"`Prefer: wait`, {FEW} actors", hot_asked, floors=nulls),
            _row(f"`Prefer: wait`, {actors:,} actors", cold_asked, floors=nulls),
            Row(
                "`Prefer: wait`, one after the other, median",
                "ms",
                Figure.of(percentile(each, 50) for each in alone),
            ),
        ),
    )


def _row(
    work: str,
    rates: list[float],
    aim: float | None = None,
    floors: dict[str, Figure] | None = None,
    note: str = "",
) -> Row:
    return Row(work, "/s", Figure.of(rates), aim, floors or {}, note)


def _one(key: int) -> Request:
    return "POST", f"/api/actors/Counter/{key}/messages", {"payload": 1}


def _many(kind: str, keys: range) -> Request:
    return "POST", "/api/messages", [{"actorId": f"{kind}/{key}", "payload": 1} for key in keys]


def _rate(app: Host, scale: Scale, requests: list[Request], count: int, messages: int) -> list[float]:
    """Messages a second, until the last has had its effect; each round goes on where the last ended."""
    rates: list[float] = []
    for number in scale.rounds:
        start = number * count % len(requests)
        seen = app.load(requests[start:] + requests[:start], count, WIDTH)
        rates.append(count * messages / (max(seen.ended, app.settle()) - seen.began))
    return rates


def _asked(app: Host, scale: Scale, requests: list[Request], count: int) -> list[float]:
    """Answers a second."""
    rates: list[float] = []
    for number in scale.rounds:
        start = number * count % len(requests)
        seen = app.load(requests[start:] + requests[:start], count, WIDTH, WAIT)
        if seen.last["results"][0]["status"] != "done":
            raise RuntimeError(f"an actor has not answered: {seen.last}")
        rates.append(count / seen.seconds)
    return rates


def _entries(data: Path) -> float:
    """How many entries of the journal one commit takes, on the average."""
    with closing(sqlite3.connect(f"file:{data / 'state.db'}?mode=ro", uri=True)) as database:
        return database.execute(SIZES).fetchone()[0]
