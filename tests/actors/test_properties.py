"""What holds for actors whatever happens: any order, crashes at any time, a store that is out at times."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loom_core import Actor
from loom_core.catalogue.folders import load_actors
from loom_core.testing import Stage
from tests.actors.conftest import Log, Turn
from tests.examples.conftest import ROOT

SEEDS = st.integers(0, 10_000)
LONG = 10_000


@settings(max_examples=60, deadline=None)
@given(
    seed=SEEDS,
    sent=st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 12), st.integers(0, 3)), max_size=60),
    crashes=st.booleans(),
    outages=st.booleans(),
)
def test_every_id_is_served_once_in_whatever_order_it_comes_again(seed, sent, crashes, outages):
    stage = Stage(Log, seed=seed, crashes=crashes, outages=outages)
    for actor, number, wait in sent:
        stage.send(f"Log/{actor}", number, id=f"m-{number}")
        stage.advance(wait)
    stage.advance(LONG)

    for actor in "ab":
        wanted = dict.fromkeys(number for to, number, _ in sent if to == actor)
        assert stage.state(f"Log/{actor}") == ({"got": list(wanted)} if wanted else None)


class Sender(Actor):
    """Sends Log/all so many numbered messages, one per message that it gets."""

    def default_state(self):
        return {"next": 0}

    def execute(self, message):
        for _ in range(message):
            self.send("Log/all", [self.id, self.state["next"]])
            self.update_state(lambda state: state.update(next=state["next"] + 1))


@settings(max_examples=8, deadline=None)
@given(seed=SEEDS, faults=st.booleans())
def test_messages_of_a_hundred_senders_come_each_in_its_own_order(seed, faults):
    stage = Stage(Sender, Log, seed=seed, crashes=faults, outages=faults)
    for _ in range(4):
        for sender in range(100):
            stage.send(f"Sender/{sender}", 1 + sender % 2)
    stage.advance(LONG)

    got = stage.state("Log/all")["got"]
    assert len(got) == 600
    for sender in map(str, range(100)):
        numbers = [number for who, number in got if who == sender]
        assert numbers == list(range(len(numbers)))


@settings(max_examples=40, deadline=None)
@given(
    seed=SEEDS,
    steps=st.lists(st.sampled_from(["send", "queue", "ask", "call", "did", "wait"]), max_size=8),
    fails=st.integers(0, 2),
)
def test_what_a_turn_sends_asks_and_changes_happens_once_however_often_it_is_tried(seed, steps, fails):
    known = {
        "send": ["send", "Log/x", "sent"],
        "queue": ["send", "queue:q", "queued"],
        "ask": ["ask", "Log", "y", "asked"],
        "call": ["call", "moody"],
        "did": ["did", "it"],
        "wait": ["wait", "go", 5],
    }
    left = [fails]

    def moody(_given):
        left[0] -= 1
        if left[0] >= 0:
            raise RuntimeError("not yet")

    stage = Stage(Turn, Log, activities={"moody": moody}, seed=seed, outages=True)
    stage.send("Turn/a", [*map(known.get, steps), known["call"]])
    for _ in steps * 3:
        stage.event("Turn/a", "go")
    stage.advance(LONG)

    counts = Counter(steps)
    assert stage.dead_letters == []
    assert stage.state("Turn/a") == {"did": ["it"] * counts["did"]}
    assert stage.state("Log/y") == ({"got": ["asked"] * counts["ask"]} if counts["ask"] else None)
    assert stage.state("Log/x") == ({"got": ["sent"] * counts["send"]} if counts["send"] else None)
    assert stage.sent_to("queue:q") == ["queued"] * counts["queue"]


@settings(max_examples=25, deadline=None)
@given(
    seed=SEEDS,
    transfers=st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(1, 400)), min_size=1, max_size=20
    ),
    faults=st.booleans(),
)
def test_a_bank_balances_to_the_cent_after_crashes_and_outages(seed, transfers, faults):
    types = load_actors(ROOT / "examples" / "bank" / "actors").values()
    stage = Stage(*types, seed=seed, crashes=True, outages=faults)
    for account in range(4):
        stage.send(f"Account/{account}", {"do": "deposit", "cents": 500})
    for number, (source, target, cents) in enumerate(transfers):
        stage.send(f"Transfer/{number}", {"source": str(source), "target": str(target), "cents": cents})
        stage.send(f"Transfer/{number}", {"source": str(source), "target": str(target), "cents": cents})
    stage.advance(LONG)

    balances = [stage.state(f"Account/{account}")["balance"] for account in range(4)]
    moved = Counter()
    for number, (source, target, cents) in enumerate(transfers):
        status = stage.state(f"Transfer/{number}")["status"]
        assert status in {"done", "refused"}
        if status == "done":
            moved[source] -= cents
            moved[target] += cents
    assert balances == [500 + moved[account] for account in range(4)]
    assert min(balances) >= 0


@pytest.mark.parametrize("faults", [True, False])
def test_the_same_seed_is_the_same_story(faults):
    def story():
        stage = Stage(Sender, Log, seed=7, crashes=faults, outages=faults)
        for sender in range(10):
            stage.send(f"Sender/{sender}", 3)
        stage.advance(LONG)
        return stage.journal("Log/all")

    assert story() == story()


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, sent=st.lists(st.integers(-3, 3), min_size=1, max_size=20), data=st.data())
def test_the_state_at_any_entry_is_what_it_was(seed, sent, data):
    class Tally(Actor):
        def default_state(self):
            return {"sum": 0, "all": []}

        def execute(self, message):
            def add(state):
                state["sum"] += message
                state["all"] = [message, *state["all"]][:3]

            self.update_state(add)

    stage = Stage(Tally, seed=seed)
    seen = {}
    for number in sent:
        stage.send("Tally/a", number)
        stage.run()
        seen[stage.status("Tally/a")["seq"]] = stage.state("Tally/a")
    seq = data.draw(st.sampled_from(sorted(seen)))

    assert stage.state("Tally/a", at=seq) == seen[seq]
    stage.rollback("Tally/a", seq)
    assert stage.state("Tally/a") == seen[seq]
