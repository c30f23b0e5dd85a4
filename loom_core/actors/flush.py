"""The flush: what is to happen once an actor's changes are committed."""

from typing import Any, Final

from loom_core.errors import StepFailedError
from loom_core.wire.commands import CallActivity, CallEntity, ContinueAsNew, Program, SendEvent, Sleep
from loom_core.wire.json import JsonObject
from loom_core.wire.messages import split

ACTIVITY: Final = "loom.flush"
PAUSES: Final = (1.0, 5.0, 30.0)


def flush(payload: JsonObject) -> Program:
    """Serve `{"actor"}` with any of `replies`, `bury`, `publish` and `compact`, until all is done."""
    given: Any = payload
    for reply in given.get("replies", ()):
        yield SendEvent(reply["instance"], reply["event"], reply["data"])
    work = {name: value for name, value in given.items() if name in {"bury", "publish", "compact"}}
    if not work:
        return
    published: Any = []
    try:
        published = yield CallActivity(ACTIVITY, {"actor": given["actor"], **work})
    except StepFailedError:
        failures: int = given.get("failures", 0)
        yield Sleep(PAUSES[min(failures, len(PAUSES) - 1)])
        yield ContinueAsNew({**work, "actor": given["actor"], "failures": failures + 1})
    if "publish" in work:
        yield CallEntity(*split(given["actor"]), "flushed", {"published": published})
