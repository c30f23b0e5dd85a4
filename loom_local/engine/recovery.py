"""Taking up a file: what was under way is delivered again, and what a crash makes suspicious is counted."""

from typing import TYPE_CHECKING

from loom_local.database import Statement
from loom_local.engine.state import Message, Task

if TYPE_CHECKING:
    from loom_local.engine.engine import Engine

UNCLEAN, CLEAN = "unclean", "clean"


async def recover(engine: "Engine") -> int:
    """Fill the engine's memory from the file; returns the next free sequence number."""
    reader = engine.database.reader()
    await engine.database.submit(_note_crash(engine))
    (last,) = reader.execute(
        "SELECT MAX(COALESCE((SELECT MAX(seq) FROM inbox), 0), COALESCE((SELECT MAX(seq) FROM tasks), 0),"
        " COALESCE((SELECT MAX(seq) FROM requests), 0))"
    ).fetchone()
    engine.suspects.strikes.update(reader.execute("SELECT item, strikes FROM suspects WHERE strikes > 0"))
    for parent, entity_id in reader.execute(
        "SELECT lock_parent, id FROM entities WHERE locked_by IS NOT NULL"
    ):
        engine.locks.hold(parent, entity_id)
    for at, ids in reader.execute("SELECT at, ids FROM requests ORDER BY seq"):
        for start in range(0, len(ids), 16):
            engine.requests.remember(ids[start : start + 16], at)
    tasks = [
        Task(*row)
        for row in reader.execute(
            "SELECT seq, instance_id, execution_id, task_id, name, version, input, crashes "
            "FROM tasks ORDER BY seq"
        )
    ]
    for task in tasks:
        engine.outstanding[task.instance_id][task.seq] = task
    for row in reader.execute(
        "SELECT seq, target, execution_id, visible_at, event, request_id, crashes FROM inbox ORDER BY seq"
    ).fetchall():
        message = Message(*row)
        if message.request_id is not None:
            engine.requests.remember(message.request_id)
        if message.visible_at is not None and message.visible_at > engine.clock():
            engine.timers.add(message)
        else:
            engine.deliver(message._replace(visible_at=None))
    for task in tasks:
        engine.activities.put(task)
    return last + 1


def _note_crash(engine: "Engine") -> list[Statement]:
    """Statements that count a crash against all that was pending in it, and note that a host is running."""
    reader = engine.database.reader()
    stopped = reader.execute("SELECT value FROM host WHERE name = 'stopped'").fetchone()
    noted: list[Statement] = [("INSERT OR REPLACE INTO host VALUES ('stopped', ?)", (UNCLEAN,))]
    if stopped == (UNCLEAN,):
        now = engine.clock()
        noted += [
            ("UPDATE tasks SET crashes = crashes + 1", ()),
            ("UPDATE inbox SET crashes = crashes + 1 WHERE visible_at IS NULL OR visible_at <= ?", (now,)),
            ("UPDATE suspects SET strikes = strikes + running", ()),
        ]
    noted += [
        ("UPDATE suspects SET running = 0", ()),
        ("DELETE FROM requests WHERE at < ?", (engine.clock() - engine.limits.request_age,)),
    ]
    return noted


async def close_cleanly(engine: "Engine") -> None:
    await engine.database.submit([("INSERT OR REPLACE INTO host VALUES ('stopped', ?)", (CLEAN,))])
