import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loom_core import payloads
from loom_core.activities import Activities, activity
from loom_core.adapters.memory import MemoryBlobStore
from loom_core.errors import IntegrityError, InvalidError, LoomError
from loom_core.payloads import resolve, spill
from loom_core.wire.json import Json, dump


@activity("echo")
async def echo(value: Json) -> Json:
    return value


def named(text: str) -> str:
    return f"payloads/{hashlib.sha256(text.encode()).hexdigest()}"


async def test_a_large_result_has_its_long_strings_replaced_and_gets_them_back():
    blobs = MemoryBlobStore()
    activities = Activities([echo], blobs=blobs)
    text = "licence ä " * 2_000
    value = {"name": "x", "texts": [text, "short", text], "n": 1}

    spilled = await activities.run({"activity": "echo", "input": value})

    reference = {"$ref": named(text), "bytes": len(text.encode())}
    assert spilled == {"name": "x", "texts": [reference, "short", reference], "n": 1}
    assert await blobs.list() == [named(text)]
    assert await resolve(blobs, spilled) == value
    assert await activities.run({"activity": "echo", "input": {"again": spilled}}) == {"again": spilled}


async def test_a_result_of_16_kb_stays_whole_and_so_do_strings_of_1_kb():
    activities = Activities([echo], blobs=MemoryBlobStore())
    within = "x" * (payloads.INLINE_BYTES - 2)
    short = ["x" * payloads.STRING_BYTES] * 20

    assert await activities.run({"activity": "echo", "input": within}) == within
    assert await activities.run({"activity": "echo", "input": within + "x"}) != within + "x"
    assert await activities.run({"activity": "echo", "input": short}) == short


async def test_a_batch_is_spilled_as_the_one_result_it_is():
    blobs = MemoryBlobStore()
    activities = Activities([echo], blobs=blobs)
    texts = [str(n) * 5_000 for n in range(9)]

    outcomes = await activities.run({"activity": "echo", "inputs": texts})

    assert outcomes == [{"ok": {"$ref": named(text), "bytes": 5_000}} for text in texts]
    assert await activities.run({"activity": "echo", "inputs": [outcomes[3]["ok"]]}) == [{"ok": texts[3]}]


async def test_a_missing_or_tampered_payload_is_an_integrity_error():
    blobs = MemoryBlobStore()
    reference = {"$ref": named("text"), "bytes": 4}

    with pytest.raises(IntegrityError, match="missing"):
        await resolve(blobs, [reference])
    await blobs.put(named("text"), b"tampered")
    with pytest.raises(IntegrityError, match="not what was stored"):
        await resolve(blobs, [reference])
    await blobs.put(named("text"), b"text")
    assert await resolve(blobs, [reference]) == ["text"]


@pytest.mark.parametrize(
    "value",
    [
        {"$ref": "modules/secret.wasm", "bytes": 1},
        {"$ref": "payloads/../secret", "bytes": 1},
        {"$ref": f"payloads/{'0' * 63}", "bytes": 1},
        {"$ref": f"payloads/{'0' * 64}\n", "bytes": 1},
        {"$ref": f"payloads/{'A' * 64}", "bytes": 1},
        {"$ref": f"payloads/{'0' * 64}"},
        {"$ref": f"payloads/{'0' * 64}", "bytes": 1, "more": 1},
        {"$ref": ["payloads"], "bytes": 1},
        {"$ref": "#/definitions/x"},
    ],
)
async def test_only_references_to_payloads_are_ever_resolved(value):
    blobs = MemoryBlobStore()
    await blobs.put("secret", b"secret")

    assert await resolve(blobs, {"a": [value]}) == {"a": [value]}


async def test_references_cannot_multiply_a_payload_without_bound(monkeypatch):
    monkeypatch.setattr(payloads, "MAX_RESOLVED_BYTES", 10_000)
    blobs = MemoryBlobStore()
    reference = await spill(blobs, "x" * 5_000)

    assert await resolve(blobs, [reference] * 2) == ["x" * 5_000] * 2
    with pytest.raises(InvalidError, match="10000 bytes"):
        await resolve(blobs, [reference] * 3)


async def test_a_document_nested_without_end_is_invalid():
    deep: Json = "x"
    for _ in range(100_000):
        deep = [deep]

    with pytest.raises(InvalidError, match=r"recursion|nested"):
        await Activities([echo], blobs=MemoryBlobStore()).run({"activity": "echo", "input": deep})


async def test_an_output_above_the_limit_is_refused(monkeypatch):
    monkeypatch.setattr("loom_core.payloads.MAX_VALUE_BYTES", 100)

    with pytest.raises(InvalidError, match="102 bytes; 100 are allowed"):
        await Activities([echo], blobs=MemoryBlobStore()).run({"activity": "echo", "input": "x" * 100})


_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=4) | st.builds(
    lambda text, times: text * times, st.text("aä\U0001f600", min_size=1, max_size=3), st.integers(300, 1_500)
)
_documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _texts,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("ab$", max_size=3), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(_documents)
@settings(max_examples=60, deadline=None)
async def test_resolving_gives_back_whatever_was_spilled(value):
    blobs = MemoryBlobStore()

    spilled = await spill(blobs, value)

    assert await resolve(blobs, spilled) == value
    assert all(len(text.encode()) <= payloads.STRING_BYTES for text in _strings(spilled))


@given(_documents | st.lists(st.fixed_dictionaries({"$ref": _texts, "bytes": _documents})))
@settings(max_examples=60, deadline=None)
async def test_no_input_is_anything_but_served_or_refused(value):
    activities = Activities([echo], blobs=MemoryBlobStore())

    try:
        output = await activities.run({"activity": "echo", "input": value})
    except LoomError:
        return
    assert dump(output)


def _strings(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _strings(item)
