import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom_core.wire.json import dump

DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda parts: st.lists(parts) | st.dictionaries(st.text(), parts),
)


@given(DOCUMENTS)
def test_a_document_is_encoded_as_the_standard_library_does_compactly(document):
    assert dump(document) == json.dumps(document, ensure_ascii=False, separators=(",", ":"))


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_json_has_not_are_refused(number):
    with pytest.raises(ValueError, match="not JSON compliant"):
        dump({"n": [number]})


@pytest.mark.parametrize("value", [object(), {1, 2}, b"bytes", {"deep": [object()]}, {(1, 2): 3}])
def test_what_is_no_json_is_refused(value):
    with pytest.raises(TypeError):
        dump(value)


def test_a_document_that_contains_itself_is_refused():
    document = []
    document.append(document)

    with pytest.raises(RecursionError):
        dump(document)
