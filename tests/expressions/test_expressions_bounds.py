"""Whatever the text and whatever the data: InvalidError or plain JSON, within the budget of steps."""

import copy
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loom_core.errors import InvalidError
from loom_core.expressions import evaluate as do
from loom_core.expressions.parse import MAX_PARTS, parse, parse_template, parse_value

KEPT = {"$ref": f"payloads/{'a' * 64}", "bytes": 5_000}
TEXTS = st.text(st.characters(), max_size=6) | st.sampled_from(
    ["\ud800", "x" * 600, "😀", "a", "length", "$ref"]
)
NUMBERS = (
    st.integers()
    | st.sampled_from([2**63, -(2**63), 10**4_000, -(10**4_000), 1e308, 5e-324, -0.0])
    | st.floats(allow_nan=False, allow_infinity=False)
)
KEYS = st.sampled_from(["a", "b", "c", "length", "bytes"]) | TEXTS


def _json(numbers):
    return st.recursive(
        st.none() | st.booleans() | numbers | TEXTS | st.just(KEPT),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(KEYS, inner, max_size=4)
            | inner.map(lambda leaf: [[[{"a": [leaf] * 3}]]])
        ),
        max_leaves=20,
    )


JSON = _json(NUMBERS)
KEY = st.sampled_from(["a", "b", "c", "length", "bytes", "é"])
SEGMENT = KEY.map(".{}".format) | st.sampled_from(
    ["[0]", "[-1]", "[*]", ".*", "..*", "..a", "[1:]", "[::-1]", "[0:9:2]", "['a b']", "['$ref']", "[?@]"]
)
PATH = st.tuples(st.sampled_from(["$", "$", "a"]), st.lists(SEGMENT, max_size=4).map("".join)).map("".join)
CURRENT = st.lists(SEGMENT, max_size=2).map(lambda segments: "@" + "".join(segments))
LITERAL = st.sampled_from(
    ["0", "1", "2.5", "1e308", "9223372036854775807", '"a"', "'é'", "null", "true", "undefined", "[]", "''"]
)
SYMBOL = st.sampled_from(
    ["+", "-", "*", "/", "%", "<", "<=", ">", ">=", "===", "!==", "==", "!=", "&&", "||", "??", "in"]
)


def _grown(inner):
    return (
        st.tuples(inner, SYMBOL, inner).map(" ".join)
        | st.tuples(inner, inner, inner).map(lambda three: f"({three[0]} ? {three[1]} : {three[2]})")
        | st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]")
        | inner.map("!({})".format)
        | inner.map("-({})".format)
    )


INSIDE = st.recursive(CURRENT | LITERAL, _grown, max_leaves=5)
FILTERED = st.tuples(PATH, INSIDE, st.lists(SEGMENT, max_size=1).map("".join)).map(
    lambda three: f"{three[0]}[?{three[1]}]{three[2]}"
)
EXPRESSIONS = st.recursive(PATH | LITERAL | FILTERED, _grown, max_leaves=10)
TEMPLATES = st.lists(EXPRESSIONS.map("{{{{ {} }}}}".format) | TEXTS, min_size=1, max_size=4).map("".join)


@st.composite
def _mutated(draw):
    source = draw(EXPRESSIONS)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(source)))
        piece = draw(
            st.sampled_from(["", *"$@.*[]()?:!<>=&|+-\"'\\{}, \n", "..", "===", "\x00", "\ud800", "é"])
        )
        source = source[:at] + piece + source[at + draw(st.integers(0, 2)) :]
    return source


def _assert_plain(value):
    waiting = [value]
    while waiting:
        value = waiting.pop()
        assert type(value) in {type(None), bool, int, float, str, list, dict}
        assert not isinstance(value, float) or math.isfinite(value)
        if isinstance(value, dict):
            waiting.extend([*value, *value.values()])
        elif isinstance(value, list):
            waiting.extend(value)


def _assert_kept(read, source, data):
    before = copy.deepcopy(data)
    value = None
    try:
        value = read(source).evaluate(data)
    except InvalidError as error:
        refused = error
    else:
        refused = InvalidError("nothing was refused")
    _assert_plain(value)
    assert refused.problems
    assert all(len(problem.message) < 400 for problem in refused.problems)
    assert data == before


@settings(max_examples=500, deadline=None)
@given(EXPRESSIONS, JSON)
def test_a_wellformed_expression_gives_plain_json_or_says_why_not(source, data):
    _assert_kept(parse, source, data)


@settings(max_examples=300, deadline=None)
@given(_mutated(), JSON)
def test_a_broken_expression_gives_plain_json_or_says_why_not(source, data):
    for read in (parse, parse_template, parse_value):
        _assert_kept(read, source, data)


@settings(max_examples=300, deadline=None)
@given(TEMPLATES, JSON)
def test_a_template_gives_plain_json_or_says_why_not(text, data):
    _assert_kept(parse_template, text, data)


@settings(max_examples=200, deadline=None)
@given(JSON, JSON)
def test_any_document_gives_plain_json_or_says_why_not(document, data):
    _assert_kept(parse_value, document, data)


@settings(max_examples=300, deadline=None)
@given(EXPRESSIONS, _json(st.floats() | st.just(math.nan)))
def test_data_that_json_cannot_hold_make_no_other_error(source, data):
    try:
        parse(source).evaluate(data)
    except InvalidError:
        return


NAN = {"nan": math.nan, "inf": math.inf}


@pytest.mark.parametrize(
    "source", ["$.nan + 1", "-$.nan", "$.inf - $.inf", "$.inf * 0", "$.nan % 2", "2 / $.nan"]
)
def test_arithmetic_never_gives_a_number_that_json_cannot_hold(source):
    with pytest.raises(InvalidError, match="out of range"):
        parse(source).evaluate(NAN)


WIDE = {
    "numbers": list(range(50_000)),
    "floats": [index / 7 for index in range(50_000)],
    "texts": ["x" * 400] * 50_000,
    "huge": [10**4_000] * 50_000,
    "items": [{"id": index, "tags": ["a", "b"], "n": 1.5} for index in range(30_000)],
    "copy": [{"id": index, "tags": ["a", "b"], "n": 1.5} for index in range(30_000)],
    "text": "a" * 3_000_000,
    "letter": "a",
    "needle": "a" * 50 + "b" + "a" * 48,
    "object": {str(index): index for index in range(300_000)},
    "small": list(range(100)),
}


@pytest.mark.parametrize(
    "source",
    [
        "$.numbers[?@ - 1 + 1 - 1 + 1]",
        "$.numbers[?@ in $.small]",
        "$.numbers[?[[@], [@], [@]]]",
        "$.numbers[?@[*][*]]",
        "$.items[?@.tags === ['a', 'b']]",
        "$.items === $.copy",
        "$..tags",
        "$.items[*]..*",
        "$.huge[?@ * @]",
        "$.texts[?@ + @]",
        "$.texts[?@ < $.texts[0]]",
        "$.small[?$.text === $.text]",
        "$.small[?$.needle in $.text]",
        "$.small[?$.object.*]",
        "$.small[?$.text + $.letter]",
    ],
)
def test_every_kind_of_work_is_counted(source):
    with pytest.raises(InvalidError, match=r"more than 2,000,000 steps|out of range"):
        parse(source).evaluate(WIDE)


@pytest.mark.parametrize("name", ["items", "floats", "texts", "object"])
def test_a_document_is_counted_before_it_is_written_into_a_text(name):
    with pytest.raises(InvalidError, match="more than 2,000,000 steps"):
        parse_template(f"All of it: {{{{ $.{name} }}}}").evaluate(WIDE)


def test_a_number_others_could_not_read_is_not_written_into_a_text():
    with pytest.raises(InvalidError, match="out of range"):
        parse_template("n = {{ $.huge[0] }}").evaluate(WIDE)


@pytest.mark.parametrize("source", ["$.many[*]", "$.many", "$.stages.List.many[*]", "stages.List['many'].*"])
def test_every_item_of_a_list_costs_no_more_than_the_list(source):
    many = list(range(1_000_000))
    state = do.State({"many": many, "stages": {"List": {"many": many}}}, 0)

    assert parse(source).run(state, None) is many
    assert do.MAX_STEPS - state.steps < 100


@pytest.mark.parametrize(
    "source",
    [
        "$.many[*].id",
        "$.many[0:100000]",
        '$.many[?@.status === "pending"].id',
        '$.many[?@.status === "pending" && @.language === "en"]',
        "$.many.length > 99999 ? $.many : []",
    ],
)
def test_what_pipelines_do_with_100_000_items_fits(source):
    many = [{"id": index, "status": "pending", "language": "en"} for index in range(100_000)]

    assert len(parse(source).evaluate({"many": many})) == 100_000


def test_the_values_of_an_object_fit_too():
    assert len(parse("$.object.*").evaluate(WIDE)) == 300_000


def test_the_placeholders_of_a_template_are_bounded():
    fits = "{{ a }}" * MAX_PARTS
    with pytest.raises(InvalidError, match="more than 8,192 parts"):
        parse_template(fits + "{{ a }}")

    assert parse_template(fits).evaluate({"a": 1}) == "1" * MAX_PARTS


@pytest.mark.parametrize(
    ("source", "name"),
    [("$.selectStorageStrategy()", "selectStorageStrategy"), ("$.a.map(@)", "map"), ("now()", "now")],
)
def test_a_call_is_refused_with_what_to_write_instead(source, name):
    with pytest.raises(InvalidError) as caught:
        parse(source)

    assert str(caught.value) == (
        f"$: an expression cannot call anything, so not {name}(): write what it decides as a condition "
        '($.size > 1000 ? "large" : "small"), or let an earlier stage compute it and read $.stages.Name'
    )


@settings(max_examples=400, deadline=None)
@given(
    JSON,
    st.sampled_from(["==", "===", "!=", "<", "<=", ">", ">="]),
    st.sampled_from(["1", "2.5", "0", '"a"', '""']),
)
def test_comparing_with_a_literal_is_comparing_with_its_value(left, symbol, literal):
    outcomes = []
    for right in (literal, "$.right"):
        try:
            value = parse(literal).evaluate(None)
            outcomes.append(parse(f"$.left {symbol} {right}").evaluate({"left": left, "right": value}))
        except InvalidError as error:
            outcomes.append(str(error))

    assert outcomes[0] == outcomes[1]
    assert type(outcomes[0]) is type(outcomes[1])
