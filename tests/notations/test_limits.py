"""What strangers can make the checks do is bounded, whatever they write."""

import pytest

from loom_core import notations
from loom_core.errors import InvalidError
from loom_core.expressions.parse import parse as parse_expression
from loom_core.notations import parse
from loom_core.notations.checks import MAX_EXPRESSIONS, MAX_PROBLEMS

STAGE = {"name": "A", "activity": "a"}
NAMES = [f"s{number}" for number in range(100)]


def problems(document):
    with pytest.raises(InvalidError) as caught:
        parse(document)
    return [(problem.path, problem.message) for problem in caught.value.problems]


def test_stages_that_all_wait_for_each_other_are_one_problem():
    stages = [{"name": name, "activity": "a", "after": NAMES} for name in NAMES]

    ((path, message),) = problems({"name": "x", "stages": stages})

    assert (path, message) == ("$.stages[0]", "waits for itself: s0 -> s0")


@pytest.mark.parametrize(
    "document",
    [
        {"stages": [{**STAGE, "input": [0] * 120_000}]},
        {"stages": [{**STAGE, "after": [0] * 120_000}]},
        {"stages": [[0] * 120_000]},
        {"nodes": [{"nodeId": "a"}], "connections": [0] * 120_000},
        {"steps": [{"type": "parallel", "branches": [[0] * 120_000]}]},
        {"stages": [STAGE], **{f"key{number}": 0 for number in range(20_000)}},
    ],
)
def test_a_document_with_too_much_in_it_is_not_looked_into(document):
    assert problems({"name": "x", **document}) == [("$", "a definition has at most 20,000 values in it")]


def test_a_document_that_is_too_long_is_not_looked_into():
    ((path, message),) = problems({"name": "x", "stages": [{**STAGE, "input": "é" * 140_000}]})

    assert (path, message[:41]) == ("$", "a definition has at most 262144 bytes, th")


@pytest.mark.parametrize("key", ["stages", "steps", "nodes"])
def test_the_parts_of_a_list_that_is_too_long_are_not_checked(key):
    assert problems({"name": "x", key: [{"colour": "red"}] * 101}) == [
        (f"$.{key}", "List should have at most 100 items after validation, not 101")
    ]


def test_the_problems_of_a_document_are_told_up_to_a_limit():
    found = problems({"name": "x", "stages": [{**STAGE, **{f"key{number}": 0 for number in range(9_000)}}]})

    assert len(found) == MAX_PROBLEMS + 1
    assert found[-1] == ("$", "has more problems than these")


def test_expressions_that_are_too_long_together_are_not_parsed():
    values = [f"$.a{number}" for number in range(15_000)]
    before = parse_expression.cache_info().misses

    assert problems({"name": "x", "stages": [{**STAGE, "input": values}]}) == [
        ("$.stages[0].input", "the expressions of a definition have at most 65,536 characters together")
    ]
    assert parse_expression.cache_info().misses == before


def test_the_text_around_placeholders_is_no_expression():
    prompt = "word " * 10_000 + "{{ $.name }}"

    assert len(prompt) * 4 > MAX_EXPRESSIONS
    assert parse({"name": "x", "stages": [{**STAGE, "name": n, "input": prompt} for n in NAMES[:4]]})


def test_the_plans_that_are_kept_are_bounded_by_the_size_of_their_definitions():
    small, large = notations._parse_small.cache_info(), notations._parse_large.cache_info()

    parse({"name": "x", "stages": [{**STAGE, "input": "x" * notations.MAX_SMALL}]})

    assert notations._parse_small.cache_info().currsize == small.currsize
    assert small.maxsize * notations.MAX_SMALL + large.maxsize * notations.MAX_BYTES <= 8 * 2**20


@pytest.mark.parametrize(
    "document",
    [{"stages": [STAGE]}, {"steps": [{"type": "activity", "activity": "a"}]}, {"nodes": [{"nodeId": "a"}]}],
)
def test_the_schema_that_an_editor_is_told_of_changes_nothing(document):
    plain = {"name": "x", **document}
    told = {"$schema": "https://example.com/pipeline.json", **plain}

    assert parse(told).version == parse(plain).version
    assert "$schema" in told
    assert problems({**plain, "schema": 1}) == [("$.schema", "is not a known key")]
