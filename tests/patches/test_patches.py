"""Patches, against what they must mean for any two documents."""

import json
from enum import StrEnum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom_core.errors import InvalidError
from loom_core.patches import apply, both, diff, invert
from loom_core.wire.json import canonical

KEYS = (
    st.sampled_from(["", "a", "b", "~", "/", "~1", "~0/", "-", "0", "10", "ключ", "\U0001f9f5"]) | st.text()
)
SCALARS = (
    st.none()
    | st.sampled_from([0, 1, 1.0, 0.0, -0.0, True, False, "", "1", 10**30, -(10**18), 1e300])
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=4)
)
DOCUMENTS = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=6) | st.dictionaries(KEYS.filter(str.isprintable), inner, max_size=6)
    ),
    max_leaves=25,
)
LISTS = st.lists(st.sampled_from([0, 1, True, 1.0, [1], [True], {"a": 1}, {"a": 1.0}, "x"]), max_size=12)
PAIRS = st.tuples(DOCUMENTS, DOCUMENTS) | st.tuples(LISTS, LISTS)


@given(PAIRS)
def test_both_ways_at_once_are_a_diff_and_what_undoes_it(pair):
    old, new = pair
    before = [canonical(document) for document in pair]

    patch, undo = both(old, new)

    assert patch == diff(old, new)
    assert canonical(apply(old, patch)) == before[1]
    assert canonical(apply(new, undo)) == before[0]
    assert [canonical(old), canonical(new)] == before


@given(PAIRS)
def test_a_diff_makes_the_new_document_and_its_inverse_the_old_one_and_nothing_is_touched(pair):
    old, new = pair
    before = [canonical(document) for document in pair]

    patch = diff(old, new)
    undo = invert(old, patch)

    assert canonical(apply(old, patch)) == before[1]
    assert canonical(apply(new, undo)) == before[0]
    assert canonical(apply(old, json.loads(json.dumps(patch)))) == before[1]
    assert [canonical(old), canonical(new)] == before
    assert (patch == []) == (before[0] == before[1])


@given(DOCUMENTS, st.data())
def test_any_patch_that_fits_is_undone_exactly(document, data):
    paths = ["", *pointers(document)]
    operations = data.draw(
        st.lists(
            st.fixed_dictionaries(
                {
                    "op": st.sampled_from(["add", "remove", "replace", "move", "copy"]),
                    "path": st.sampled_from(paths) | st.sampled_from(["/-", "/new", "/0"]),
                    "from": st.sampled_from(paths),
                    "value": DOCUMENTS,
                }
            ),
            max_size=6,
        )
    )
    fitting, now = [], document
    for operation in operations:
        try:
            now = apply(now, [operation])
        except InvalidError:
            continue
        fitting.append(operation)
    before = canonical(document)

    assert canonical(apply(document, fitting)) == canonical(now)
    assert canonical(apply(now, invert(document, fitting))) == before
    assert canonical(document) == before


def pointers(document, path=""):
    if not isinstance(document, dict | list):
        return
    for key, value in document.items() if isinstance(document, dict) else enumerate(document):
        at = f"{path}/{str(key).replace('~', '~0').replace('/', '~1')}"
        yield at
        yield from pointers(value, at)


@pytest.mark.parametrize(
    ("old", "new", "patch"),
    [
        ({"a": 1}, {"a": True}, [{"op": "replace", "path": "/a", "value": True}]),
        ([1], [1.0], [{"op": "replace", "path": "/0", "value": 1.0}]),
        (0.0, -0.0, [{"op": "replace", "path": "", "value": -0.0}]),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, []),
        ([[1], [2]], [[1], [2], [3]], [{"op": "add", "path": "/2", "value": [3]}]),
        (
            [1, 2, 3, 4],
            [2, 3, 4, 5],
            [{"op": "remove", "path": "/0"}, {"op": "add", "path": "/3", "value": 5}],
        ),
        ([1, 2, 3], [1, 3], [{"op": "remove", "path": "/1"}]),
        ([{"a": 1, "b": 2}], [{"a": 1, "b": 3}], [{"op": "replace", "path": "/0/b", "value": 3}]),
        ([1, 2, 3], [], [{"op": "replace", "path": "", "value": []}]),
        ({"a/b~": 1}, {}, [{"op": "replace", "path": "", "value": {}}]),
        ({"a/b~": 1, "c": 0}, {"c": 0}, [{"op": "remove", "path": "/a~1b~0"}]),
    ],
)
def test_a_patch_says_no_more_than_what_changed(old, new, patch):
    assert diff(old, new) == patch


def test_a_window_that_slides_over_a_long_list_is_a_small_patch():
    messages = [{"role": "user", "text": f"message {n}" * 20} for n in range(400)]

    assert len(diff(messages[:300], messages[50:310])) == 50 + 10


def test_a_list_too_long_to_align_is_still_patched_rightly():
    old, new = [*range(3_000)], [*range(1, 3_001)]

    assert apply(old, diff(old, new)) == new


def test_documents_nested_too_deeply_to_compare_are_refused():
    old, new = 1, 2
    for _ in range(100_000):
        old, new = [old], [new]

    with pytest.raises(InvalidError):
        diff(old, new)


@pytest.mark.parametrize("odd", [{1: "x"}, {"a": [object]}])
def test_what_is_not_plain_json_is_refused(odd):
    with pytest.raises(InvalidError):
        diff({"a": [object], "b": 1}, odd | {"b": 2})


def test_subclasses_of_plain_values_are_compared_as_their_json():
    class Colour(StrEnum):
        RED = "red"

    assert diff({"a": [Colour.RED], "b": 1}, {"a": [Colour.RED], "b": 2}) == [
        {"op": "replace", "path": "/b", "value": 2}
    ]


def test_what_did_not_change_is_shared_and_not_copied():
    document = {"kept": {"big": [1, 2]}, "list": [{"a": 1}, {"b": 2}]}

    changed = apply(document, [{"op": "replace", "path": "/list/1/b", "value": 3}])

    assert changed["kept"] is document["kept"]
    assert changed["list"][0] is document["list"][0]
    assert changed["list"][1] is not document["list"][1]


@pytest.mark.parametrize(
    ("document", "operation", "result"),
    [
        ({"a": [1]}, {"op": "add", "path": "/a/-", "value": 2}, {"a": [1, 2]}),
        ({"a": 1}, {"op": "add", "path": "/a", "value": 2}, {"a": 2}),
        ({"a": 1}, {"op": "add", "path": "", "value": 2}, 2),
        ({"-": 1}, {"op": "remove", "path": "/-"}, {}),
        ({"": {"": 1}}, {"op": "replace", "path": "//", "value": 2}, {"": {"": 2}}),
        ([1, 2, 3], {"op": "move", "from": "/0", "path": "/2"}, [2, 3, 1]),
        ({"a": {"b": 1}}, {"op": "move", "from": "/a/b", "path": "/a"}, {"a": 1}),
        ({"a": {"b": 1}}, {"op": "copy", "from": "/a", "path": "/a/c"}, {"a": {"b": 1, "c": {"b": 1}}}),
        (
            {"a": [1, {"b": "c"}]},
            {"op": "test", "path": "/a", "value": [1, {"b": "c"}]},
            {"a": [1, {"b": "c"}]},
        ),
    ],
)
def test_every_operation_of_the_standard_is_done(document, operation, result):
    assert apply(document, [operation]) == result
    assert apply(result, invert(document, [operation])) == document


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "remove", "path": "/missing"},
        {"op": "replace", "path": "/missing", "value": 1},
        {"op": "remove", "path": ""},
        {"op": "add", "path": "/missing/a", "value": 1},
        {"op": "add", "path": "/list/4", "value": 1},
        {"op": "add", "path": "/list/01", "value": 1},
        {"op": "add", "path": "/list/-1", "value": 1},
        {"op": "add", "path": "/list/\u0661", "value": 1},
        {"op": "add", "path": "/list/" + "9" * 5_000, "value": 1},
        {"op": "remove", "path": "/list/-"},
        {"op": "remove", "path": "/list/3"},
        {"op": "replace", "path": "/text/0", "value": 1},
        {"op": "copy", "from": "/text/0", "path": "/a"},
        {"op": "add", "path": "list", "value": 1},
        {"op": "add", "path": "/a~2", "value": 1},
        {"op": "add", "path": "/a~", "value": 1},
        {"op": "add", "path": "/a"},
        {"op": "add", "path": 3, "value": 1},
        {"op": "add", "value": 1},
        {"op": "move", "from": "/list", "path": "/list/0"},
        {"op": "move", "from": "/missing", "path": "/a"},
        {"op": "move", "from": "/list", "path": 3},
        {"op": "move", "from": None, "path": "/a"},
        {"op": "test", "path": "/list", "value": [1, 2, True]},
        {"op": "test", "path": "/missing", "value": None},
        {"op": "merge", "path": "/a", "value": 1},
        {},
        None,
        "remove",
    ],
)
def test_a_patch_that_does_not_fit_is_refused_by_the_number_of_its_operation(operation):
    document = {"list": [1, 2, 3], "text": "abc"}
    fits = {"op": "add", "path": "/new", "value": 1}

    with pytest.raises(InvalidError) as refused:
        apply(document, [fits, operation])

    assert refused.value.problems[0].path == "$[1]"
    assert document == {"list": [1, 2, 3], "text": "abc"}
