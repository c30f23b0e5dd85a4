import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loom_core.errors import InvalidError
from loom_core.expressions.parse import parse, parse_template, parse_value

DATA = {
    "doc": {"status": "pending", "language": "en", "tags": ["a", "b"], "a-b": 7, "length": 99},
    "item": {"needsProcessing": True},
    "metadata": {"size": 2_000_000},
    "userInfo": {"email": "a@b.c", "n": 3},
    "items": [{"id": 1, "p": 5}, {"id": 2, "p": 50}, {"id": None, "p": 500}],
    "documents": [{"id": "d"}],
    "stages": {"SplitFiles": {"files": ["a", "b"], "count": 2}},
    "text": "a && b ? c : d",
    "nothing": None,
    "none": [],
    "matrix": [[1, 2], [3]],
}

MEANINGS = [
    # The founding documents' own expressions, as they stand there.
    ('$.doc.status === "pending" && $.doc.language === "en"', True),
    ('$.metadata.size > 1000000 ? "blob_storage" : "cosmos_db"', "blob_storage"),
    ("$.stages.SplitFiles.*", [["a", "b"], 2]),
    ("$.items[*]", DATA["items"]),
    ("$.documents[*]", DATA["documents"]),
    ("$.item.needsProcessing === true", True),
    # Paths.
    ("$", DATA),
    ("$.doc", DATA["doc"]),
    ("doc.status", "pending"),
    ("$['doc'][\"status\"]", "pending"),
    ("$.doc['a-b']", 7),
    ("$.items[0].id", 1),
    ("$.items[-1].p", 500),
    ("$.items[9].p", None),
    ("$.missing.deep[0].path", None),
    ("$.doc.__class__.__mro__", None),
    ("$.items[*].id", [1, 2, None]),
    ("$.items[*].*", [1, 5, 2, 50, None, 500]),
    ("$.items[*].nope", []),
    ("$.nope[*]", []),
    ("$.doc.status[*]", []),
    ("$.matrix[*][0]", [1, 3]),
    ("$.stages.*.count", [2]),
    ("$..id", [1, 2, None, "d"]),
    ("$.matrix..[0]", [[1, 2], 1, 3]),
    ("$.matrix..*", [[1, 2], [3], 1, 2, 3]),
    ("$.items[0:1]", [{"id": 1, "p": 5}]),
    ("$.items[::-1].p", [500, 50, 5]),
    ("$.items[-2:].p", [50, 500]),
    ("$.items[?(@.p > 10)].p", [50, 500]),
    ("$.items[?@.p > 10 && @.id === 2].id", [2]),
    ("$.items[?@.p > $.userInfo.n].p", [5, 50, 500]),
    ("$.matrix[?@[?@ > 2]]", [[3]]),
    ("$.doc[?@ === 'en']", ["en"]),
    # Length.
    ("$.items.length", 3),
    ("$.text.length > 3", True),
    ("$.doc.length", 99),
    ("$.metadata.length", None),
    ("$.matrix[*].length", [2, 1]),
    # Operators.
    ("1 + 2 * 3", 7),
    ("(1 + 2) * 3", 9),
    ("10 - 2 - 3", 5),
    ("-2 - -3", 1),
    ("6 / 2", 3),
    ("7 / 2", 3.5),
    ("7 % 3", 1),
    ("-7 % 3", -1),
    ("1e3 + 0.5", 1000.5),
    ('"a" + "b"', "ab"),
    ("true === 1", False),
    ("[1] === [true]", False),
    ("1 == 1.0", True),
    ("$.matrix === [[1, 2], [3]]", True),
    ("$.doc !== $.item", True),
    ("$.missing === null", True),
    ("undefined === null", True),
    ("$.missing > 1", False),
    ("'a' < 'b'", True),
    ("'10' > 9", False),
    ("!$.missing", True),
    ("!!$.none", False),
    ('$.missing ?? "d"', "d"),
    ("$.nothing ?? 0", 0),
    ("0 || 'x'", "x"),
    ("'x' && 0", 0),
    ("false && 1 / 0", False),
    ("true || 1 / 0", True),
    ("false ? 1 : true ? 2 : 3", 2),
    ("true ? false ? 1 : 2 : 3", 2),
    ('"en" in ["en", "de"]', True),
    ("'status' in $.doc", True),
    ("'&&' in $.text", True),
    ("1 in $.text", False),
    ('$.text === "a && b ? c : d"', True),
    (r'"it\"s"', 'it"s'),
    (r"'it\'s \u00e9 \ud83d\ude00'", "it's é 😀"),
    ("'say \"hi\"'", 'say "hi"'),
    ("$.in", None),
]


@pytest.mark.parametrize(("source", "value"), MEANINGS)
def test_an_expression_means_what_the_page_says(source, value):
    result = parse(source).evaluate(DATA)

    assert (type(value), value) == (type(result), result)


@pytest.mark.parametrize(
    "source",
    [
        "",
        "  ",
        "$.a ===",
        "a()",
        "$.selectStorageStrategy()",
        "__import__('os')",
        "'abc",
        "1 2",
        "$.a b",
        "{",
        "$.a;1",
        "`x`",
        "$.",
        "$.items[",
        "$.items[?(",
        "$.items[]",
        "$.items[-]",
        "$.items[1.5]",
        "$.items[::0]",
        "@.id",
        "2 ** 3",
        "lambda: 1",
        "x" * 5_000,
        "(" * 1_000,
        "!" * 1_000 + "1",
        "[" * 1_000,
        "1" + "+1" * 1_000,
        "1e999",
        "9" * 4_000,
        r'"\ud800"',
        r'"\x"',
        "true ? 1",
        "[1 2]",
    ],
)
def test_what_is_not_an_expression_is_refused(source):
    with pytest.raises(InvalidError):
        parse(source)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("'a' - 1", "'-' needs two numbers, not string and number"),
        ("$.doc + 1", "'+' needs two numbers, not object and number"),
        ("true + 1", "'+' needs two numbers, not boolean and number"),
        ("$.missing * 2", "'*' needs two numbers, not null and number"),
        ("1 / 0", "division by zero"),
        ("1 % 0", "division by zero"),
        ("1e308 * 10", "a number is out of range"),
        ("9223372036854775807 + 1", "a number is out of range"),
    ],
)
def test_arithmetic_says_what_it_could_not_do(source, reason):
    with pytest.raises(InvalidError, match=reason.replace("*", r"\*").replace("+", r"\+")):
        parse(source).evaluate(DATA)


def test_an_error_names_the_character():
    with pytest.raises(InvalidError, match="unexpected '\\)' at character 9"):
        parse("$.a === )")


@pytest.mark.parametrize(
    "source",
    [
        "$..*..*..*..*",
        "$..[?@..[?@..[?@..*]]]",
        "$.wide[?@ in $.wide]",
        "$.wide[?$.wide === $.wide]",
        "$.long" + " + $.long" * 20,
    ],
)
def test_an_expression_that_works_too_long_is_stopped_by_its_step_budget(source):
    nested: list = []
    for _ in range(90):
        nested = [nested, nested]
    deep: object = "x"
    for _ in range(90):
        deep = [deep, "y"]
    data = {"wide": list(range(4_000)), "long": "x" * 1_000_000, "deep": deep}

    with pytest.raises(InvalidError, match="more than 2,000,000 steps"):
        parse(source).evaluate(data)


def test_the_budget_is_ample_for_a_filter_over_100_000_items():
    items = [{"status": "pending", "language": "en"}] * 100_000

    kept = parse('$.items[?@.status === "pending" && @.language === "en"]').evaluate({"items": items})

    assert kept == items


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{{ userInfo.email }}", "a@b.c"),
        ("{{ userInfo.n }}", 3),
        ("{{userInfo}}", DATA["userInfo"]),
        (
            "Hi {{userInfo.email}} #{{ userInfo.n + 1 }} {{ $.items[*].p }}{{ missing }}!",
            "Hi a@b.c #4 [5,50,500]!",
        ),
        ('{{ "}}" }}', "}}"),
        ('{{ "{{" }} {"a": {"b": 1}}', '{{ {"a": {"b": 1}}'),
        ("no placeholder", "no placeholder"),
        ("", ""),
    ],
)
def test_a_template_keeps_the_type_of_a_lone_placeholder_and_writes_text_otherwise(text, value):
    template = parse_template(text) if text else parse_value(text)

    assert template.evaluate(DATA) == value


@pytest.mark.parametrize("text", ["{{", "{{ a", "a {{ b }", "{{ }}", "{{ 'x }}", "{{ a }} {{ b"])
def test_a_broken_template_is_refused(text):
    with pytest.raises(InvalidError):
        parse_template(text)


def test_a_document_mixes_expressions_templates_and_literals():
    value = parse_value(
        {
            "to": ["{{ $.userInfo.email }}", "$.doc.status"],
            "price": "$5",
            "sum": "{{ 1 + 1 }}",
            "n": 1,
            "deep": {"hello": "Hi {{ userInfo.n }}"},
            "plain": {"x": [None, True]},
        }
    )

    assert value.evaluate(DATA) == {
        "to": ["a@b.c", "pending"],
        "price": "$5",
        "sum": 2,
        "n": 1,
        "deep": {"hello": "Hi 3"},
        "plain": {"x": [None, True]},
    }


def test_a_document_reports_all_its_problems_with_their_paths():
    with pytest.raises(InvalidError) as caught:
        parse_value({"a": "$.x ===", "b": ["ok", "{{ 1 +"], "c d": {"e": "$.f()"}})

    assert [problem.path for problem in caught.value.problems] == ["$.a", "$.b[1]", '$["c d"].e']


def test_an_expression_knows_the_paths_it_reads():
    value = parse_value(
        {"a": "$.stages.A.x > 1 ? $.stages['b-c'] : doc.x", "b": "$.items[?@.x > $.limit][0]", "c": "$"}
    )

    assert value.references == {
        ("stages", "A", "x"),
        ("stages", "b-c"),
        ("doc", "x"),
        ("items", None),
        ("limit",),
        (),
    }


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from("abc") | st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=12,
)
SYMBOLS = (
    "$ @ . .. a b * [ ] ? : ( ) && || ?? === != < >= in ! + - / % , 1 0 2.5 1e9 true null length {{ }} \\"
)
PIECES = st.sampled_from([*SYMBOLS.split(), '"x"', "'y'", "'", '"'])
SOURCES = (
    st.text(max_size=40)
    | st.lists(PIECES, max_size=14).map("".join)
    | st.lists(PIECES, max_size=14).map(" ".join)
)


@settings(max_examples=600, deadline=None)
@given(SOURCES, JSON)
def test_no_text_and_no_data_raise_anything_but_invalid_error(source, data):
    for read in (parse, parse_template, parse_value):
        try:
            read(source).evaluate(data)
        except InvalidError:
            continue


OPERANDS = st.sampled_from(
    ["$.a", "$.b[*]", "$..a", "$[?@.a]", "1", "0", "2.5", '"x"', "null", "[1, $.c]", "$.a.length", "$"]
)


def _joined(inner):
    symbols = ["+", "-", "*", "/", "%", "<", "===", "!=", "&&", "||", "??", "in"]
    return (
        st.tuples(inner, st.sampled_from(symbols), inner).map(" ".join)
        | st.tuples(inner, inner, inner).map(lambda three: f"({three[0]} ? {three[1]} : {three[2]})")
        | inner.map(lambda one: f"!({one})")
        | inner.map(lambda one: f"$.b[?{one}]")
    )


@settings(max_examples=400, deadline=None)
@given(st.recursive(OPERANDS, _joined, max_leaves=8), JSON)
def test_every_wellformed_expression_evaluates_or_says_why_not_and_always_the_same(source, data):
    outcomes = []
    for _ in range(2):
        try:
            outcomes.append(repr(parse(source).evaluate(data)))
        except InvalidError as error:
            outcomes.append(str(error))

    assert outcomes[0] == outcomes[1]


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.text(max_size=8), st.integers(0, 9), min_size=1))
def test_any_key_can_be_reached_in_brackets(data):
    import json

    for key, value in data.items():
        assert parse(f"$[{json.dumps(key)}]").evaluate(data) == value


def test_data_nested_beyond_pythons_stack_is_refused_not_fatal():
    data: list = []
    for _ in range(100_000):
        data = [data]

    assert parse("$ === $").evaluate(data) is True
    assert len(parse("$..*").evaluate(data)) == 100_000
    with pytest.raises(InvalidError):
        parse_template("x {{ $ }}").evaluate(data)
