"""Queries over the wire, in one partition and across several physical ones."""

import pytest
import pytest_asyncio
from azure.cosmos import PartitionKey, exceptions
from azure.cosmos.aio import CosmosClient

from tests.emulators.cosmos import serve

pytestmark = pytest.mark.asyncio(loop_scope="module")


ORDERED = ("SELECT * FROM c", "SELECT * FROM c ORDER BY c.id DESC", "SELECT * FROM c ORDER BY c.n")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def database():
    async with serve(ranges=3) as server, CosmosClient(server.endpoint, server.key) as client:
        yield await client.create_database("queries")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def container(database):
    container = await database.create_container("c", PartitionKey("/pk"))
    for number in range(30):
        kind = "even" if number % 2 == 0 else "odd"
        body = {"n": number, "kind": kind, "tags": [f"t{number % 3}", "all"], "o": {"deep": number}}
        await container.create_item({"id": f"i{number:02}", "pk": f"p{number % 3}", **body})
    await container.create_item({"id": "bare", "pk": "p0", "null": None})
    return container


async def ask(container, query, partition_key="p0", **parameters):
    given = [{"name": f"@{name}", "value": value} for name, value in parameters.items()]
    scope = {} if partition_key is None else {"partition_key": partition_key}
    return [found async for found in container.query_items(query, parameters=given, **scope)]


async def refused(container, query, partition_key="p0"):
    with pytest.raises(exceptions.CosmosHttpResponseError) as caught:
        await ask(container, query, partition_key)
    return caught.value.status_code, str(caught.value)


async def test_a_query_sees_only_its_partition(container):
    assert {item["pk"] for item in await ask(container, "SELECT * FROM c", "p1")} == {"p1"}


async def test_parameters_filter_and_order(container):
    found = await ask(container, "SELECT VALUE c.n FROM c WHERE c.n >= @least ORDER BY c.n DESC", least=20)

    assert found == [27, 24, 21]


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("STARTSWITH(c.id, 'i0')", ["i00", "i03", "i06", "i09"]),
        ("STARTSWITH(c.id, @prefix) AND c.id > 'i03'", ["i06", "i09"]),
        ("c.id >= 'i24' AND c.id < 'i27'", ["i24"]),
        ("NOT IS_DEFINED(c.n)", ["bare"]),
        ("IS_NULL(c['null'])", ["bare"]),
        ("c.n IN (3, 6, 7)", ["i03", "i06"]),
        ("c.n BETWEEN 3 AND 6", ["i03", "i06"]),
        ("c.id LIKE 'i_3'", ["i03"]),
        ("CONTAINS(c.id, 'BAR', true)", ["bare"]),
        ("ARRAY_CONTAINS(c.tags, 'all') AND c.o.deep < 4", ["i00", "i03"]),
        ("EXISTS(SELECT VALUE t FROM t IN c.tags WHERE t = 't0') AND c.n = 9", ["i09"]),
        ("c.n % 2 = 0 AND (c.n < 4 OR c.n > 20)", ["i00", "i24"]),
        ("NOT (c.n >= 3) AND c.kind != 'odd'", ["i00"]),
        ("LENGTH(c.id) = 4", ["bare"]),
        ("(c.n ?? 100) = 100", ["bare"]),
    ],
)
async def test_conditions_find_what_they_say(container, condition, expected):
    query = f"SELECT VALUE c.id FROM c WHERE {condition} ORDER BY c.id"

    assert sorted(await ask(container, query, prefix="i0")) == sorted(expected)


async def test_projections_make_new_objects(container):
    query = "SELECT c.id, c.o.deep AS d, {'x': c.n, y: [c.n, c.absent]} AS made FROM c WHERE c.id = 'i03'"

    assert await ask(container, query) == [{"id": "i03", "d": 3, "made": {"x": 3, "y": [3]}}]


async def test_joins_make_a_row_of_every_element(container):
    query = "SELECT VALUE t FROM c JOIN t IN c.tags WHERE c.n = 3"

    assert await ask(container, query) == ["t0", "all"]


async def test_aggregates_groups_distinct_and_cuts_in_one_partition(container):
    assert await ask(container, "SELECT VALUE COUNT(1) FROM c") == [11]
    assert await ask(container, "SELECT VALUE AVG(c.n) FROM c") == [13.5]
    assert await ask(container, "SELECT MIN(c.n) AS least, MAX(c.n) AS most, SUM(c.n) AS total FROM c") == [
        {"least": 0, "most": 27, "total": 135}
    ]
    groups = await ask(container, "SELECT c.kind, COUNT(1) AS k FROM c WHERE IS_DEFINED(c.n) GROUP BY c.kind")
    assert sorted(groups, key=str) == [{"kind": "even", "k": 5}, {"kind": "odd", "k": 5}]
    assert await ask(container, "SELECT DISTINCT VALUE c.kind FROM c") == ["even", "odd"]
    assert await ask(container, "SELECT TOP 2 VALUE c.id FROM c ORDER BY c.id DESC") == ["i27", "i24"]
    cut = "SELECT VALUE c.n FROM c WHERE IS_NUMBER(c.n) ORDER BY c.n OFFSET 2 LIMIT 3"
    assert await ask(container, cut) == [6, 9, 12]


async def test_queries_across_partitions_are_merged(container):
    assert len(await ask(container, "SELECT * FROM c", None)) == 31
    assert await ask(container, "SELECT VALUE c.id FROM c WHERE c.n = 10", None) == ["i10"]
    ordered = "SELECT VALUE c.n FROM c WHERE IS_DEFINED(c.n) ORDER BY c.n DESC"
    assert await ask(container, ordered, None) == list(range(29, -1, -1))
    assert await ask(container, "SELECT VALUE COUNT(1) FROM c", None) == [31]
    assert await ask(container, "SELECT VALUE SUM(c.n) FROM c", None) == [435]
    assert await ask(container, "SELECT VALUE AVG(c.n) FROM c", None) == [14.5]
    assert await ask(container, "SELECT VALUE MAX(c.n) FROM c WHERE c.n < 12", None) == [11]
    assert await ask(container, "SELECT TOP 2 VALUE c.n FROM c ORDER BY c.n DESC", None) == [29, 28]
    assert sorted(await ask(container, "SELECT DISTINCT VALUE c.pk FROM c", None)) == ["p0", "p1", "p2"]
    cut = "SELECT c.n, c.kind FROM c WHERE IS_NUMBER(c.n) ORDER BY c.n OFFSET 4 LIMIT 2"
    assert await ask(container, cut, None) == [{"n": 4, "kind": "even"}, {"n": 5, "kind": "odd"}]


async def test_groups_across_partitions_are_refused_as_the_sdk_cannot_merge_them(container):
    status, words = await refused(container, "SELECT c.kind, COUNT(1) AS k FROM c GROUP BY c.kind", None)

    assert status == 400
    assert "GroupBy" in words


async def test_all_items_are_read_and_many_by_their_ids(container):
    assert len([item async for item in container.read_all_items()]) == 31
    assert len(await container.read_items([("i01", "p1"), ("i02", "p2"), ("none", "p0")])) == 2


@pytest.mark.parametrize("query", ORDERED)
async def test_pages_go_on_where_the_last_one_ended(container, query):
    whole = [item["id"] for item in await ask(container, query)]
    token, pages = None, []
    while len(pages) < 20:
        answer = container.query_items(query, partition_key="p0", max_item_count=4).by_page(token)
        pages.append([item["id"] async for item in await anext(answer)])
        if (token := answer.continuation_token) is None:
            break

    assert [len(page) for page in pages] == [4, 4, 3]
    assert [one for page in pages for one in page] == whole


async def test_a_page_goes_on_after_its_last_row_whatever_was_deleted_since(database):
    container = await database.create_container("moving", PartitionKey("/pk"))
    for number in range(6):
        await container.create_item({"id": str(number), "pk": "a"})
    answer = container.query_items("SELECT * FROM c", partition_key="a", max_item_count=2).by_page()
    first = [item["id"] async for item in await anext(answer)]
    await container.delete_item("0", "a")
    rest = [item["id"] async for page in answer async for item in page]

    assert (first, rest) == (["0", "1"], ["2", "3", "4", "5"])


async def test_a_response_has_at_most_four_megabytes(database):
    container = await database.create_container("large", PartitionKey("/pk"))
    for number in range(6):
        await container.create_item({"id": str(number), "pk": "a", "text": "x" * 900_000})
    answer = container.query_items("SELECT * FROM c", partition_key="a", max_item_count=-1).by_page()

    assert [len([item async for item in page]) async for page in answer] == [4, 2]


async def test_a_continuation_of_another_query_is_refused(container):
    answer = container.query_items("SELECT * FROM c", partition_key="p0", max_item_count=2).by_page()
    await anext(answer)
    other = container.query_items("SELECT c.id FROM c", partition_key="p0", max_item_count=2)

    with pytest.raises(exceptions.CosmosHttpResponseError, match="another query"):
        await anext(other.by_page(answer.continuation_token))


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("SELECT * FROM c WHERE", "Syntax error"),
        ("SELEC * FROM c", "Syntax error"),
        ("SELECT * FROM c WHERE NOSUCH(c.id)", "not a recognized built-in function"),
        ("SELECT * FROM c WHERE STARTSWITH(c.id)", "cannot take 1"),
        ("SELECT * FROM c WHERE x.id = 1", "could not be resolved"),
        ("SELECT * FROM c WHERE c.id = @none", "@none"),
        ("SELECT * FROM c ORDER BY c.kind, c.n", "composite index"),
        ("SELECT TOP 'x' * FROM c", "whole numbers"),
        ("SELECT * FROM c OFFSET 0 LIMIT 9999999999999999999999", "whole numbers"),
        ("SELECT * FROM c WHERE COUNT(1) > 1", "can only be selected"),
        ("SELECT VALUE 1e999 FROM c", "Syntax error"),
        ("SELECT VALUE " + "(" * 3000 + "1" + ")" * 3000 + " FROM c", "nested too deeply"),
    ],
)
async def test_bad_queries_are_refused_in_words(container, query, words):
    status, said = await refused(container, query)

    assert status == 400
    assert words in said


async def test_only_what_is_indexed_can_be_ordered_by(database):
    policy = {
        "includedPaths": [{"path": "/seq/?"}],
        "excludedPaths": [{"path": "/*"}],
        "compositeIndexes": [[{"path": "/seq"}, {"path": "/at", "order": "descending"}]],
    }
    container = await database.create_container("indexed", PartitionKey("/pk"), indexing_policy=policy)
    await container.create_item({"id": "1", "pk": "a", "seq": 1, "at": 2})

    for order in ("c.id", "c._ts", "c.seq DESC", "c.seq, c.at DESC", "c.seq DESC, c.at"):
        assert len(await ask(container, f"SELECT * FROM c ORDER BY {order}", "a")) == 1
    for order in ("c.at", "c.seq, c.at", "c.at, c.seq"):
        status, _ = await refused(container, f"SELECT * FROM c ORDER BY {order}", "a")
        assert status == 400


async def test_a_query_that_the_index_cannot_serve_costs_what_it_looks_at(database):
    policy = {"includedPaths": [{"path": "/seq/?"}], "excludedPaths": [{"path": "/*"}]}
    container = await database.create_container("charged", PartitionKey("/pk"), indexing_policy=policy)
    for number in range(20):
        body = {"seq": number, "other": number, "text": "x" * 10_000}
        await container.create_item({"id": str(number), "pk": "a", **body})
    charges = {}

    async def charge(condition):
        query = f"SELECT VALUE c.id FROM c WHERE {condition}"
        answer = container.query_items(
            query,
            partition_key="a",
            response_hook=lambda said, _: charges.update({condition: float(said["x-ms-request-charge"])}),
        )
        return [found async for found in answer]

    assert await charge("c.seq = 3") == await charge("c.other = 3") == ["3"]
    assert 2.3 < charges["c.seq = 3"] < charges["c.other = 3"]
