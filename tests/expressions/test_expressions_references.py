"""A long text that is kept by reference is a text that an expression can pass on and cannot look into."""

import hashlib
import json

import pytest

from loom_core.errors import InvalidError
from loom_core.expressions.parse import parse, parse_template, parse_value

KEPT = {"$ref": f"payloads/{'a' * 64}", "bytes": 20_000}
OTHER = {"$ref": f"payloads/{'b' * 64}", "bytes": 20_000}
DATA = {
    "text": KEPT,
    "again": dict(KEPT),
    "other": OTHER,
    "list": [KEPT, "short"],
    "object": {"k": KEPT},
    "alike": {"$ref": "#/definitions/x", "bytes": 1, "length": 7},
}


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("$.text", KEPT),
        ("$.list[0]", KEPT),
        ("$.list[*]", [KEPT, "short"]),
        ("[$.text]", [KEPT]),
        ("$.text ?? 'none'", KEPT),
        ("$.text || 'none'", KEPT),
        ("$.text && 1", 1),
        ("$.text ? 'some' : 'none'", "some"),
        ("!$.text", False),
        ("$.text === $.again", True),
        ("$.text === $.other", False),
        ("$.text === null", False),
        ("$.text !== 5", True),
        ("5 === $.text", False),
        ("$.text === $.alike", False),
        ("$.text === 'yes'", False),
        ("'yes' !== $.text", True),
        ("$.text === $.list[1]", False),
        ("$.list === ['x', 'short']", False),
        ("'x' in $.list", False),
        ("'short' in $.list", True),
        ("$.text in ['x']", False),
        ("$.list[?@ === 'short']", ["short"]),
        ("$.text > 5", False),
        # A text has no fields, no items and nothing below it.
        ("$.text.bytes", None),
        ("$.text['$ref']", None),
        ("$.text[0]", None),
        ("$.text[*]", []),
        ("$.text[0:1]", []),
        ("$.text[?@]", []),
        ("$.list[*].bytes", []),
        ("$.list..*", [KEPT, "short"]),
        ("$.object..bytes", []),
        ("$.list[?@]", [KEPT, "short"]),
        ("$.alike.bytes", 1),
        ("$.alike.length", 7),
        ("$.alike[*]", ["#/definitions/x", 1, 7]),
    ],
)
def test_a_reference_is_passed_on_whole(source, value):
    assert parse(source).evaluate(DATA) == value


def test_a_lone_placeholder_and_a_document_pass_a_reference_on_whole():
    document = parse_value({"text": "{{ text }}", "also": "$.text", "n": 1})

    assert document.evaluate(DATA) == {"text": KEPT, "also": KEPT, "n": 1}


@pytest.mark.parametrize(
    "source",
    [
        "$.text.length",
        "$.list[*].length",
        "$.list[0]['length']",
        "$.text in $.object",
        "'x' in $.text",
        "$.text in 'x'",
        "$.text < 'x'",
        "'x' >= $.text",
        "$.text < $.other",
        "$.text + 'x'",
        "'x' + $.text",
        "$.text + $.other",
    ],
)
def test_what_needs_the_text_of_a_reference_says_what_to_do_instead(source):
    with pytest.raises(InvalidError) as caught:
        parse(source).evaluate(DATA)

    assert str(caught.value) == (
        "$: the text is kept by reference (20,000 bytes), and an expression cannot look into it: "
        "pass it whole to an activity, or let the activity that made it return what is needed "
        "as a field of its own"
    )


@pytest.mark.parametrize("text", ["Read: {{ text }}", "{{ text }}{{ text }}", "{{ list }}!", "{{ object }}!"])
def test_a_longer_template_does_not_embed_a_reference(text):
    with pytest.raises(InvalidError, match="kept by reference"):
        parse_template(text).evaluate(DATA)


def test_arithmetic_calls_a_reference_a_string():
    with pytest.raises(InvalidError, match="'-' needs two numbers, not string and number"):
        parse("$.text - 1").evaluate(DATA)


@pytest.mark.parametrize("size", [None, "many", -1, 10**4_200, [KEPT]])
def test_a_reference_that_lies_about_its_size_is_refused_like_any_other(size):
    with pytest.raises(InvalidError, match="kept by reference, and"):
        parse("$.length").evaluate({"$ref": KEPT["$ref"], "bytes": size})


@pytest.mark.parametrize("text", ["x" * 2_000, "\u00e9\U0001f600" * 700])
def test_a_reference_equals_the_very_text_it_stands_for(text):
    data = text.encode()
    kept = {"$ref": f"payloads/{hashlib.sha256(data).hexdigest()}", "bytes": len(data)}
    scope = {"kept": kept, "text": text, "other": text[:-1] + "y"}

    assert parse("$.kept === $.text").evaluate(scope) is True
    assert parse(f"$.kept === {json.dumps(text, ensure_ascii=False)}").evaluate(scope) is True
    assert parse("$.other === $.kept").evaluate(scope) is False
