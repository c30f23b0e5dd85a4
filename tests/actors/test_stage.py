"""The stage itself: what it catches, and the first actor of the documentation on it."""

import itertools
import re
import sys

import pytest

from loom_core import Actor
from loom_core.errors import ConflictError
from loom_core.testing import Stage
from tests.actors.conftest import Log, Turn
from tests.examples.conftest import ROOT


def test_a_state_that_is_changed_behind_the_journals_back_is_caught():
    class Sly(Log):
        def execute(self, message):
            if message == "sly":
                self.state["got"].append(message)
            else:
                super().execute(message)

    stage = Stage(Sly)
    stage.ask("Sly/a", "honest")
    stage.send("Sly/a", "sly")

    with pytest.raises(AssertionError, match="Sly/a changed its state, but not with update_state"):
        stage.run()


def test_a_turn_that_does_something_else_when_it_is_replayed_is_caught():
    numbers = itertools.count()

    class Moody(Actor):
        def execute(self, message):
            yield self.call_activity("echo", next(numbers))

    stage = Stage(Moody, activities={"echo": lambda given: given})
    stage.send("Moody/a")

    with pytest.raises(AssertionError, match="replayed"):
        stage.run()


def test_an_answer_that_never_comes_is_told_with_what_the_actor_does():
    stage = Stage(Turn)

    with pytest.raises(AssertionError, match="Turn/a never answers.*awaiting_event:go"):
        stage.ask("Turn/a", [["wait", "go"]])


def test_an_actor_that_nobody_has_sent_a_message_is_not_there():
    stage = Stage(Log)

    assert (stage.state("Log/a"), stage.journal("Log/a")) == (None, [])
    with pytest.raises(KeyError):
        stage.status("Log/a")
    with pytest.raises(ConflictError):
        stage.cancel("Log/a")


@pytest.mark.parametrize("what", ["crashes", "outages"])
def test_faults_do_happen_on_a_stage_that_is_to_have_them(what):
    calls = []
    stage = Stage(Turn, activities={"note": calls.append}, **{what: True})
    for number in range(40):
        stage.send("Turn/a", [["call", "note", number]])
    stage.advance(10_000)

    assert sorted(set(calls)) == list(range(40))
    if what == "crashes":
        assert len(calls) > 40
    else:
        assert stage.bench.clock == 10_000
        assert {entry["at"] for entry in stage.journal("Turn/a")} != {"2026-01-01T00:00:00.000Z"}


def test_orders_differ_by_seed_and_by_nothing_else():
    def story(seed):
        stage = Stage(Log, seed=seed)
        for sender in range(10):
            stage.send(f"Log/{sender}", {"to": ["Log/all"]})
        stage.run()
        return stage.state("Log/all")["got"]

    assert story(1) == story(1)
    assert len({str(story(seed)) for seed in range(10)}) > 1


@pytest.mark.parametrize("page", ["README.md", "docs/actors.md"])
def test_the_first_actor_has_less_than_thirty_lines_and_passes_its_test(page, tmp_path, monkeypatch):
    blocks = re.findall(r"```python[^\n]*\n(.*?)```", (ROOT / page).read_text("utf-8"), re.DOTALL)
    actor = next(block for block in blocks if "class Counter(Actor)" in block)
    test = next(block for block in blocks if "Stage(Counter)" in block)
    (tmp_path / "actors").mkdir()
    (tmp_path / "actors" / "counter.py").write_text(actor, "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("actors", "actors.counter"):
        monkeypatch.delitem(sys.modules, name, raising=False)

    names: dict = {}
    exec(compile(test, page, "exec"), names)
    names["test_a_large_total_is_told"]()

    assert len(actor.splitlines()) < 30
    assert names["Counter"].__module__ == "actors.counter"
    for name in ("actors", "actors.counter"):
        sys.modules.pop(name, None)
