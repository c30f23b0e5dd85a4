"""What every StateStore does; a new adapter adds one line to STORES."""

import asyncio
from dataclasses import replace

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loom_core.adapters.memory import MemoryStateStore
from loom_core.adapters.sqlite import SqliteStateStore
from loom_core.errors import ConflictError, InvalidError
from loom_core.ports.state import MAX_BATCH_BYTES, Delete, Document, Fence, Put
from tests.ports.cosmos import cosmos_db

pytestmark = pytest.mark.asyncio(loop_scope="module")

STORES = {
    "memory": lambda folder, clock, cosmos: MemoryStateStore(clock=clock),
    "sqlite": lambda folder, clock, cosmos: SqliteStateStore(folder / "state.db", clock=clock),
    "cosmos": lambda folder, clock, cosmos: cosmos.store(),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cosmos():
    async with cosmos_db() as cosmos:
        yield cosmos


@pytest.fixture
def clock(cosmos):
    return cosmos.clock()


@pytest_asyncio.fixture(params=STORES, loop_scope="module")
async def store(request, tmp_path, clock, cosmos):
    store = STORES[request.param](tmp_path, clock, cosmos)
    yield store
    if hasattr(store, "aclose"):
        await store.aclose()


async def test_a_document_is_read_back_with_the_etag_of_its_write(store):
    (etag,) = await store.write("counter/main", [Put("state", {"n": 1, "s": "ä\u2028", "x": None})])

    assert await store.read("counter/main", "state") == Document(
        "state", {"n": 1, "s": "ä\u2028", "x": None}, etag
    )


@pytest.mark.parametrize(
    "value",
    [1.0, -0.0, 2**53 + 1, -(10**40), 1e300, 5e-324, 0.1, [[1.0]], {"1.0": "1e5"}, "x" * 70_000, True],
)
async def test_a_value_is_read_back_as_the_very_same(store, value):
    await store.write("p", [Put("x", {"value": value}), Put("y", {"n": 1})])

    assert repr((await store.read("p", "x")).body) == repr({"value": value})
    assert [repr(d.body) for d in await store.query("p")] == [repr({"value": value}), "{'n': 1}"]


async def test_a_missing_document_reads_as_none(store):
    assert await store.read("p", "nothing") is None


async def test_partitions_do_not_see_each_other(store):
    await store.write("a", [Put("x", {"of": "a"})])
    await store.write("b", [Put("x", {"of": "b"}), Put("y", {})])

    assert (await store.read("a", "x")).body == {"of": "a"}
    assert [d.id for d in await store.query("a")] == ["x"]
    assert await store.read("a", "y") is None


@pytest.mark.parametrize("etag", ["*", "", "\n", '"*"', "ä"])
async def test_what_no_store_gives_for_an_etag_matches_nothing(store, etag):
    await store.write("p", [Put("x", {"n": 1})])

    for refused in (Put("x", {}, if_match=etag), Delete("x", if_match=etag)):
        with pytest.raises(ConflictError, match="x"):
            await store.write("p", [refused])
    assert (await store.read("p", "x")).body == {"n": 1}


async def test_a_fence_lets_nothing_through_that_has_a_smaller_token_than_one_before(store):
    (etag,) = await store.write("p", [Fence("f", 7)])
    assert await store.read("p", "f") == Document("f", {"token": 7}, etag)
    await store.write("p", [Put("x", {"by": 7}), Fence("f", 7)])
    await store.write("p", [Fence("f", 9), Put("x", {"by": 9})])

    for batch in ([Fence("f", 8)], [Put("x", {"by": 8}), Fence("f", 8)], [Fence("f", 1), Put("y", {})]):
        with pytest.raises(ConflictError, match="f"):
            await store.write("p", batch)

    assert (await store.read("p", "x")).body == {"by": 9}
    assert (await store.read("p", "f")).body == {"token": 9}
    assert await store.read("p", "y") is None
    await store.write("q", [Fence("f", 1)])


async def test_each_write_gives_a_new_etag_even_for_equal_content(store):
    etags = [(await store.write("p", [Put("x", {"n": 1})]))[0] for _ in range(3)]

    assert len(set(etags)) == 3


async def test_conditions_guard_puts_and_deletes(store):
    (first,) = await store.write("p", [Put("x", {"n": 1}, if_absent=True)])
    (second,) = await store.write("p", [Put("x", {"n": 2}, if_match=first)])

    for refused in (
        Put("x", {}, if_absent=True),
        Put("x", {}, if_match=first),
        Put("missing", {}, if_match=first),
        Delete("x", if_match=first),
        Delete("missing"),
        Delete("missing", if_match=first),
    ):
        with pytest.raises(ConflictError, match=refused.id):
            await store.write("p", [refused])
    assert (await store.read("p", "x")).etag == second
    assert await store.write("p", [Delete("x", if_match=second)]) == (None,)
    assert await store.read("p", "x") is None


async def test_a_failed_operation_undoes_the_whole_batch(store):
    await store.write("p", [Put("kept", {"n": 1})])

    with pytest.raises(ConflictError):
        await store.write("p", [Put("new", {}), Delete("kept"), Put("kept", {}, if_match="stale")])

    assert [(d.id, d.body) for d in await store.query("p")] == [("kept", {"n": 1})]


async def test_operations_of_a_batch_see_those_before_them(store):
    await store.write("p", [Put("x", {"n": 1}), Delete("x"), Put("x", {"n": 2}, if_absent=True)])

    assert (await store.read("p", "x")).body == {"n": 2}


async def test_of_many_writers_with_the_same_etag_exactly_one_wins(store):
    (etag,) = await store.write("p", [Put("x", {})])

    async def write(n):
        try:
            return (await store.write("p", [Put("x", {"n": n}, if_match=etag)]))[0]
        except ConflictError:
            return None

    winners = [w for w in await asyncio.gather(*map(write, range(16))) if w]

    assert [(await store.read("p", "x")).etag] == winners


async def test_query_gives_documents_in_id_order_by_prefix_in_pages(store):
    await store.write(
        "p", [Put(f"j:{n:020}", {"n": n}) for n in (3, 1, 2)] + [Put("state", {}), Put("J:9", {})]
    )

    assert [d.body["n"] for d in await store.query("p", "j:")] == [1, 2, 3]
    assert [d.body["n"] for d in await store.query("p", "j:", limit=2)] == [1, 2]
    assert [d.body["n"] for d in await store.query("p", "j:", limit=2, after=f"j:{2:020}")] == [3]
    assert [d.id for d in await store.query("p", limit=1)] == ["J:9"]
    assert await store.query("p", "j:", limit=0) == []
    assert await store.query("p", "%") == []


async def test_what_a_caller_does_to_a_document_does_not_reach_the_store(store):
    body = {"list": [1]}
    await store.write("p", [Put("x", body)])
    body["list"].append(2)
    (await store.read("p", "x")).body["list"].append(3)

    assert (await store.read("p", "x")).body == {"list": [1]}


async def test_a_batch_has_at_most_100_operations_and_2_mb(store):
    assert len(await store.write("p", [Put(f"{n}", {}) for n in range(100)])) == 100
    half = "x" * (MAX_BATCH_BYTES // 2 - len('{"s":""}'))
    await store.write("p", [Put("x", {"s": half}), Put("y", {"s": half})])
    for refused in (
        [],
        [Put(f"{n}", {}) for n in range(101)],
        [Put("x", {"s": half}), Put("y", {"s": half + "x"})],
        [Put("x", {"s": "ä" * (MAX_BATCH_BYTES // 2)})],
    ):
        with pytest.raises(InvalidError):
            await store.write("p", refused)


@pytest.mark.parametrize("body", [{"x": float("nan")}, {"x": object()}, {"x": "\ud800"}, {"x": {1, 2}}])
async def test_a_body_that_is_not_plain_json_is_refused(store, body):
    with pytest.raises(InvalidError):
        await store.write("p", [Put("x", body)])
    assert await store.query("p") == []


@pytest.mark.parametrize("name", ["", "a/b", "a\\b", "a?", "a#", "ä", "a\nb", " a", "a ", "x" * 256])
async def test_ids_that_some_store_could_not_hold_are_refused(store, name):
    for operation in (
        store.write("p", [Put(name, {})]),
        store.write("p", [Delete(name)]),
        store.read("p", name),
    ):
        with pytest.raises(InvalidError):
            await operation


@pytest.mark.parametrize("partition", ["", "a\0b", "a\nb", "x" * 513])
async def test_partitions_that_some_store_could_not_hold_are_refused(store, partition):
    for operation in (
        store.write(partition, [Put("x", {})]),
        store.read(partition, "x"),
        store.query(partition),
    ):
        with pytest.raises(InvalidError):
            await operation


async def test_of_many_writes_at_once_each_fails_or_holds_for_itself(store):
    (etag,) = await store.write("p", [Put("guard", {})])

    async def write(n):
        guard = Put("guard", {"n": n}, if_match=etag if n % 3 else "stale")
        last = Put(f"{n}", {}, if_absent=True) if n % 2 else Delete("nothing")
        try:
            await store.write(
                "p" if n < 20 else f"p{n}", [Put(f"{n}-before", {}), *([guard] * (n < 20)), last]
            )
        except ConflictError:
            return False
        return True

    held = await asyncio.gather(*map(write, range(40)))

    assert held.count(True) == 11, (
        "one of those that have the guard's etag, and the odd ones of those without"
    )
    for n, ok in enumerate(held):
        partition = "p" if n < 20 else f"p{n}"
        written = [await store.read(partition, f"{n}-before"), await store.read(partition, f"{n}")]
        assert [document is not None for document in written] == [ok, ok]


async def test_a_write_is_seen_by_every_read_after_it(store):
    async def count(partition):
        for n in range(20):
            await store.write(partition, [Put("x", {"n": n}), Put(f"j:{n:020}", {})])
            assert (await store.read(partition, "x")).body == {"n": n}
            assert len(await store.query(partition, "j:")) == n + 1

    await asyncio.gather(*(count(f"p{p}") for p in range(10)))


async def test_a_document_is_gone_when_its_time_is_over(store, clock):
    await store.write("p", [Put("short", {}, ttl=10), Put("long", {}, ttl=100), Put("ever", {})])
    await clock.advance(9)
    assert [d.id for d in await store.query("p")] == ["ever", "long", "short"]

    await clock.advance(2)

    assert await store.read("p", "short") is None
    assert [d.id for d in await store.query("p")] == ["ever", "long"]
    assert [d.id for d in await store.query("p", limit=1, after="ever")] == ["long"]
    await clock.advance(100)
    assert [d.id for d in await store.query("p")] == ["ever"]


@pytest.mark.parametrize("refused", [Put("x", {}, if_match=""), Delete("x"), Delete("x", if_match="")])
async def test_an_expired_document_does_not_exist_for_any_condition(store, clock, refused):
    (etag,) = await store.write("p", [Put("x", {"n": 1}, ttl=10)])
    with pytest.raises(ConflictError):
        await store.write("p", [Put("x", {}, if_absent=True)])
    await clock.advance(11)

    with pytest.raises(ConflictError):
        await store.write("p", [refused if refused.if_match is None else replace(refused, if_match=etag)])
    await store.write("p", [Put("x", {"n": 2}, if_absent=True)])
    await clock.advance(1_000_000)
    assert (await store.read("p", "x")).body == {"n": 2}


async def test_each_put_says_anew_how_long_the_document_lives(store, clock):
    await store.write("p", [Put("kept", {}, ttl=10), Put("longer", {}, ttl=10), Put("shorter", {})])
    await store.write("p", [Put("kept", {}), Put("longer", {}, ttl=100), Put("shorter", {}, ttl=10)])
    await clock.advance(11)

    assert [d.id for d in await store.query("p")] == ["kept", "longer"]


async def test_expiry_takes_only_what_expired(store, clock):
    for n in range(30):
        await store.write(f"p{n}", [Put(f"{m}", {}, ttl=10) for m in range(20)] + [Put("stays", {})])
    await clock.advance(11)
    for n in range(30):
        await store.write(f"p{n}", [Put("0", {"n": n}, if_absent=True)])

    for n in range(30):
        assert [d.id for d in await store.query(f"p{n}")] == ["0", "stays"]


@pytest.mark.parametrize("ttl", [0, -1, 2**31])
async def test_a_time_to_live_that_cosmos_would_refuse_is_refused(store, ttl):
    with pytest.raises(InvalidError):
        await store.write("p", [Put("x", {}, ttl=ttl)])


_ids = st.sampled_from("abc")
_operations = st.one_of(
    st.builds(lambda i, n, a: Put(i, {"n": n}, if_absent=a), _ids, st.integers(0, 9), st.booleans()),
    st.builds(Delete, _ids),
)


@given(batches=st.lists(st.lists(_operations, min_size=1, max_size=4), max_size=8))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_history_of_batches_leaves_what_a_plain_dictionary_would(store, batches):
    await store.write("q", [Put(i, {}) for i in "abc"])
    await store.write("q", [Delete(i) for i in "abc"])
    model: dict[str, dict] = {}
    for batch in batches:
        wanted = _replay(model, batch)
        try:
            await store.write("q", batch)
        except ConflictError:
            assert wanted is None
        else:
            assert wanted is not None
            model = wanted

    assert {d.id: d.body for d in await store.query("q")} == model


def _replay(model, batch):
    after = dict(model)
    for operation in batch:
        exists = operation.id in after
        if isinstance(operation, Delete):
            if not exists:
                return None
            del after[operation.id]
        elif operation.if_absent and exists:
            return None
        else:
            after[operation.id] = operation.body
    return after
