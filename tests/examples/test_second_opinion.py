"""second-opinion: two real methods, and what they make of each other."""

import json
from typing import Any

import pytest

from loom_core.errors import InvalidError
from loom_core.notations import parse
from tests.examples.conftest import ROOT, World, definition

EXAMPLE = json.loads((ROOT / "docs/examples/second-opinion.json").read_text("utf-8"))
RULES = {"money": ["invoice*", "direct debit"], "sport": ["ball", "match"]}
EXAMPLES = [
    {"label": "money", "text": "the invoice is too high"},
    {"label": "sport", "text": "the match was good, the ball was round"},
]


def test_the_definition_has_no_problem_and_no_warning():
    assert parse(definition("second-opinion")).warnings == ()


def test_the_example_that_is_shipped_gives_what_its_page_says(world: World):
    found = world.run("second-opinion", EXAMPLE)

    page = (ROOT / "docs/examples.md").read_text("utf-8")
    assert found["markdown"] in page
    assert found["agreed"] + len(found["disagreements"]) == found["count"] == len(EXAMPLE["messages"])
    assert world.bench.peak <= 28


@pytest.mark.parametrize(
    ("text", "label", "phrases"),
    [
        ("Two INVOICES and a direct\n debit", "money", ["invoice*", "direct debit"]),
        ("the ball", "sport", ["ball"]),
        ("an invoice for the ball", None, ["invoice*", "ball"]),
        ("balls, matchless, reinvoiced", None, []),
    ],
)
def test_rules_find_whole_words_and_do_not_decide_a_tie(world: World, text: str, label: Any, phrases: Any):
    assert world.call("classify-by-rules", {"text": text, "rules": RULES}) == {
        "label": label,
        "found": phrases,
    }


def test_what_was_learned_decides_by_words_and_says_nothing_about_unknown_ones(world: World):
    learned = world.call("learn-classes", EXAMPLES)
    ask = lambda text: world.call("classify-by-examples", {"text": text, "model": learned["model"]})

    assert learned["examples"] == {"money": 1, "sport": 1}
    assert ask("An INVOICE that is high")["label"] == "money"
    assert ask("round ball")["label"] == "sport"
    assert 0.5 < ask("round ball")["certainty"] < 1
    assert ask("xyzzy") == {"label": None, "certainty": 0.0}


def test_a_text_with_words_of_one_label_only_can_be_as_long_as_it_likes(world: World):
    learned = world.call("learn-classes", EXAMPLES)

    long = world.call("classify-by-examples", {"text": "ball " * 4_000, "model": learned["model"]})

    assert long == {"label": "sport", "certainty": 1.0}


def test_one_label_is_nothing_to_choose_from(world: World):
    with pytest.raises(InvalidError, match="two labels"):
        world.call("learn-classes", EXAMPLES[:1])


@pytest.mark.parametrize(
    ("first", "second", "agreed", "kappa"),
    [
        (["a", "b", "a", "b"], ["a", "b", "a", "b"], 4, 1.0),
        (["a", "b", "a", "b"], ["b", "a", "b", "a"], 0, -1.0),
        (["a", "a", "b", "b"], ["a", "b", "a", "b"], 2, 0.0),
        (["a", "a"], ["a", "a"], 2, None),
        ([], [], 0, None),
    ],
)
def test_kappa_is_agreement_beyond_chance(world: World, first: Any, second: Any, agreed: int, kappa: Any):
    opinions = {"x": [{"label": label} for label in first], "y": [{"label": label} for label in second]}
    messages = [{"id": str(index), "text": ""} for index in range(len(first))]

    found = world.call("compare-opinions", {"messages": messages, "opinions": opinions})

    assert (found["agreed"], found["kappa"]) == (agreed, kappa)


def test_failures_and_doubts_are_labels_of_their_own_and_texts_cannot_write_markdown(world: World):
    opinions = {"x": [{"error": {"type": "E", "message": "m"}, "item": 0}], "y": [{"label": None}]}
    messages = [{"id": "1", "text": "| <b>\n# head"}]

    found = world.call("compare-opinions", {"messages": messages, "opinions": opinions})

    assert found["confusion"] == {"(failed)": {"(undecided)": 1}}
    assert r"- 1 (x: (failed), y: (undecided)): \| \<b\> \# head" in found["markdown"]


def test_opinions_about_other_messages_are_refused(world: World):
    with pytest.raises(InvalidError, match="two lists"):
        world.call("compare-opinions", {"messages": [], "opinions": {"x": [], "y": [{"label": None}]}})


def test_no_messages_are_no_disagreement(world: World):
    found = world.run("second-opinion", {**EXAMPLE, "messages": []})

    assert (found["count"], found["agreement"], found["disagreements"]) == (0, None, [])
