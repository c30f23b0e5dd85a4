"""The states that turns begin with are at hand before each replay, and bounded in memory."""

import pytest

from loom_core.errors import NotFoundError
from loom_core.journals import turns
from loom_core.journals.turns import TurnStates


class Journal:
    def __init__(self):
        self.read = []

    async def state_at(self, actor, seq, upto):
        self.read.append((actor, seq, upto))
        if actor == "Gone/a":
            raise NotFoundError("there is no such journal")
        return {"seq": seq}


def call(turn, actor="Talk/a", **more):
    return {"program": "actor_turn", "payload": {"turn": turn, "actor": actor, "at": 7, "size": 40, **more}}


async def test_what_was_kept_is_not_read_and_what_was_not_is_read_once_as_of_the_turns_beginning():
    journal = Journal()
    states = TurnStates(journal.state_at)
    states.keep("t1", {"kept": True}, 40)

    for turn in ("t1", "t2", "t2"):
        await states.prepare(call(turn))

    assert (states.get("t1"), states.get("t2")) == ({"kept": True}, {"seq": 7})
    assert journal.read == [("Talk/a", 7, 7)]


async def test_a_state_that_went_along_needs_nothing():
    journal = Journal()

    await TurnStates(journal.state_at).prepare(call("t1", state={}))

    assert journal.read == []


async def test_a_journal_that_cannot_be_read_is_told():
    with pytest.raises(NotFoundError):
        await TurnStates(Journal().state_at).prepare(call("t1", actor="Gone/a"))


async def test_the_longest_unused_go_first_and_the_last_stays_however_large(monkeypatch):
    monkeypatch.setattr(turns, "MAX_BYTES", 100)
    journal = Journal()
    states = TurnStates(journal.state_at)
    for turn in ("t1", "t2"):
        await states.prepare(call(turn))
    await states.prepare(call("t1"))
    await states.prepare(call("t3"))  # t2 has to go
    await states.prepare(call("t1"))
    assert len(journal.read) == 3

    states.keep("large", {}, 1_000)

    assert states.get("large") == {}
    await states.prepare(call("t1"))
    assert len(journal.read) == 4
