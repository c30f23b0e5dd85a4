"""An entity's side of a turn: what the turn has done is taken over, and the events that it waits for."""

from typing import Any, Final

from loom_core.actors.changes import Changes
from loom_core.actors.work import MAX_INLINE
from loom_core.errors import InvalidError, failure
from loom_core.wire.json import Json, digest
from loom_core.wire.messages import Message, expiry

MAX_EVENTS: Final = 1_000


def begin(current: dict[str, Any], one: Message, state: Json, changes: Changes) -> None:
    """Start a turn for the message that is being served."""
    id_, size = changes.instance("turn"), changes.document.get("size", 0)
    given: dict[str, Any] = {"actor": changes.address, "message": one, "now": changes.now, "turn": id_}
    if size <= MAX_INLINE:
        given["state"] = state
    else:
        given |= {"at": changes.document["seq"], "size": size}
        changes.begun = id_, state, size
    changes.starts.append(("actor_turn", id_, {**given, "done": current["done"]}))
    attempt = current["attempts"] + 1
    changes.journal("turn_started", messageId=one["messageId"], turnId=id_, attempt=attempt)
    current |= {"turn": id_, "told": [], "waits": [], "handed": {}}


def take(current: dict[str, Any], entries: list[dict[str, Any]], changes: Changes) -> None:
    """Journal what a turn has done; what an earlier attempt has sent is not sent again."""
    fresh: list[dict[str, Any]] = []
    for entry in entries:
        if "wait" in entry:
            current["handed"].pop(str(entry.pop("wait")), None)
        if entry["type"] == "message_sent":
            mark = digest([entry["to"], entry["payload"]])[:10]
            current["told"].append(mark)
            if current["sent"][len(current["told"]) - 1 : len(current["told"])] == [mark]:
                continue
        fresh.append(entry)
    changes.fold(fresh, current["message"])


def wait(document: dict[str, Any], name: str, number: int, now: float) -> Json:
    """Have the turn wait for an event: `{"event"}` if one is there."""
    events = [e for e in document.get("events", ()) if not e[2] or e[2] >= now]
    found = next((event for event in events if event[0] == name), None)
    if found:
        events.remove(found)
        document["suspended"] = None
    else:
        document["current"]["waits"].append([name, number])
    document["events"] = events
    return {"event": found[1]} if found else {}


def unwait(current: dict[str, Any], number: int) -> Json:
    """Have the turn wait no more: `{"event"}` if one was handed over meanwhile."""
    current["waits"] = [wait for wait in current["waits"] if wait[1] != number]
    return {"event": current["handed"].pop(str(number))} if str(number) in current["handed"] else {}


def hand_over(document: dict[str, Any], name: str, data: Json, one: Message, changes: Changes) -> None:
    """Hand an event to the turn if that waits for it, else keep it until one does."""
    current: Any = document.get("current") or {}
    waits: list[Any] = current.get("waits", [])
    if number := next((number for wanted, number in waits if wanted == name), None):
        waits.remove([name, number])
        current["handed"][str(number)] = data
        document["suspended"] = None
        changes.notify(current["turn"], f"loom:event:{number}", {"event": data})
    elif len(events := document.setdefault("events", [])) < MAX_EVENTS:
        events.append([name, data, expiry(one)])
    else:
        changes.bury(one, failure(InvalidError(f"{MAX_EVENTS} events wait already")), 0)
