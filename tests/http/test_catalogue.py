"""Pipelines that are stored over HTTP: versions, what is current, what is refused."""

import asyncio
import copy
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loom_core.adapters.memory import MemoryStateStore
from loom_core.catalogue import closure as limits
from loom_core.wire.json import digest

JSON = {"Content-Type": "application/json"}


def doc(name="fresh", **more):
    return {"name": name, "stages": [{"name": "Only", "activity": "noop"}], **more}


async def put(api, document, **headers):
    return await api.put(f"/pipelines/{document['name']}", json=document, headers=headers)


async def versions(api, name):
    return [one["version"] for one in (await api.get(f"/pipelines/{name}/versions")).json()["pipelines"]]


async def test_a_new_version_is_created_and_is_the_current_one_from_then_on(api, runs):
    stored = await put(api, doc())
    got = await api.get("/pipelines/fresh")
    started = await api.post("/pipelines/fresh/runs", json={})

    assert stored.status_code == 201
    assert stored.json() == got.json()
    assert stored.json() | {"updatedAt": ""} == {
        "name": "fresh",
        "version": digest(doc()),
        "label": "",
        "notation": "stages",
        "source": "stored",
        "updatedAt": "",
        "warnings": [],
        "definition": doc(),
    }
    assert stored.headers["etag"] == got.headers["etag"] == f'"{digest(doc())}"'
    assert (started.status_code, started.json()["version"]) == (202, digest(doc()))
    assert runs.started[0].definition == doc()


async def test_storing_the_same_content_again_changes_nothing(api):
    first = await put(api, doc())
    spaced = json.dumps(dict(reversed(doc().items())), indent=4)
    again = await api.put("/pipelines/fresh", content=spaced, headers=JSON)

    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    assert await versions(api, "fresh") == [digest(doc())]


async def test_storing_an_earlier_version_makes_it_current_again(api):
    old, new = doc(), doc(description="new")
    await put(api, old)
    await put(api, new)

    again = await put(api, old)

    assert again.status_code == 200
    assert (await api.get("/pipelines/fresh")).json()["version"] == digest(old)
    assert sorted(await versions(api, "fresh")) == sorted([digest(new), digest(old)])


async def test_many_writers_of_the_same_content_create_it_once(api):
    answers = await asyncio.gather(*(put(api, doc()) for _ in range(20)))

    assert sorted(answer.status_code for answer in answers) == [200] * 19 + [201]
    assert await versions(api, "fresh") == [digest(doc())]


async def test_many_writers_of_different_contents_lose_none_and_agree_on_the_current_one(api):
    documents = [doc(description=str(number)) for number in range(20)]

    answers = await asyncio.gather(*(put(api, document) for document in documents))

    assert {answer.status_code for answer in answers} == {201}
    assert set(await versions(api, "fresh")) == set(map(digest, documents))
    current = {(await api.get("/pipelines/fresh")).json()["version"] for _ in range(5)}
    assert len(current) == 1
    assert current <= set(map(digest, documents))


async def test_a_thousand_versions_are_listed_page_by_page_the_newest_first(runs, catalogue, client_of):
    moments = iter(range(10**9))
    made = catalogue(MemoryStateStore(), clock=lambda: next(moments))
    documents = [doc("noop", description=str(number)) for number in range(1_000)]
    for document in documents:
        await made.put("noop", document)

    found, after = [], ""
    async with client_of(made, runs) as api:
        while after is not None:
            page = await api.get("/pipelines/noop/versions", params={"limit": 200, "after": after})
            found += page.json()["pipelines"]
            after = page.json()["next"]

    assert [one["version"] for one in found[:-1]] == [digest(document) for document in reversed(documents)]
    assert found[-1]["source"] == "shipped"
    assert "definition" not in found[0]


async def test_a_stored_version_goes_before_the_shipped_one_until_it_is_deleted(api):
    shipped = (await api.get("/pipelines/noop")).json()
    await put(api, doc("noop", description="better"))

    during = (await api.get("/pipelines/noop")).json()
    listed = (await api.get("/pipelines")).json()["pipelines"]
    gone = await api.delete("/pipelines/noop")
    after = (await api.get("/pipelines/noop")).json()

    assert (shipped["source"], during["source"], after) == ("shipped", "stored", shipped)
    assert {one["name"]: one["source"] for one in listed} == {
        "audit": "shipped",
        "noop": "stored",
        "strict": "shipped",
    }
    assert (gone.status_code, gone.content) == (204, b"")
    assert await versions(api, "noop") == [during["version"], shipped["version"]]
    assert (await api.delete("/pipelines/noop")).status_code == 404


async def test_a_pipeline_that_is_only_stored_is_gone_once_deleted_but_its_versions_are_kept(api):
    await put(api, doc())
    await api.delete("/pipelines/fresh")

    assert (await api.get("/pipelines/fresh")).status_code == 404
    assert (await api.post("/pipelines/fresh/runs", json={})).status_code == 404
    assert (await api.get(f"/pipelines/fresh?version={digest(doc())}")).status_code == 200


async def test_a_version_is_found_by_its_digest_and_by_the_beginning_of_it(api, runs):
    old = doc(input={"required": ["a"]})
    await put(api, old)
    await put(api, doc())
    version = digest(old)

    for written in (version, version[:8]):
        assert (await api.get(f"/pipelines/fresh?version={written}")).json()["definition"] == old
        assert (await api.get(f"/pipelines/fresh/versions/{written}")).json()["definition"] == old
    run = await api.post("/pipelines/fresh/runs", json={"input": {"a": 1}, "version": version[:9]})
    refused = await api.post("/pipelines/fresh/runs", json={"input": {}, "version": version})
    unknown = await api.post("/pipelines/fresh/runs", json={"version": "0" * 64})

    assert run.json()["version"] == version
    assert (refused.status_code, unknown.status_code) == (422, 404)
    assert (await api.get(f"/pipelines/fresh?version={version[:7]}")).status_code == 404
    assert (await api.get(f"/pipelines/noop?version={version}")).status_code == 404


async def test_the_shipped_version_can_be_started_while_a_stored_one_is_current(api):
    shipped = (await api.get("/pipelines/noop")).json()["version"]
    await put(api, doc("noop", description="better"))

    run = await api.post("/pipelines/noop/runs", json={"version": shipped})

    assert run.json()["version"] == shipped


async def test_a_key_that_was_used_for_another_version_is_a_conflict(api):
    shipped = (await api.get("/pipelines/noop")).json()["version"]
    key = {"Idempotency-Key": "k"}

    first = await api.post("/pipelines/noop/runs", json={}, headers=key)
    other = await api.post("/pipelines/noop/runs", json={"version": shipped}, headers=key)

    assert (first.status_code, other.status_code) == (202, 409)


async def test_a_writer_can_ask_for_the_version_it_replaces(api):
    nothing = await put(api, doc(), **{"If-Match": "*"})
    created = await put(api, doc(), **{"If-None-Match": "*"})
    again = await put(api, doc(description="x"), **{"If-None-Match": "*"})
    right = await put(api, doc(description="y"), **{"If-Match": created.headers["etag"]})
    late = await put(api, doc(description="z"), **{"If-Match": created.headers["etag"]})
    kept = await api.delete("/pipelines/fresh", headers={"If-Match": created.headers["etag"]})
    shipped = (await api.get("/pipelines/noop")).headers["etag"]
    over = await put(api, doc("noop", description="x"), **{"If-Match": f'"other", {shipped}'})

    answers = [nothing, created, again, right, late, kept, over]
    assert [answer.status_code for answer in answers] == [412, 201, 412, 201, 412, 412, 201]
    assert late.headers["content-type"] == "application/problem+json"


async def test_of_many_writers_that_replace_the_same_version_one_wins(api):
    etag = (await put(api, doc())).headers["etag"]

    answers = await asyncio.gather(
        *(put(api, doc(description=str(number)), **{"If-Match": etag}) for number in range(10))
    )

    assert sorted(answer.status_code for answer in answers) == [201] + [412] * 9


async def test_another_process_sees_a_new_version_when_what_it_knows_is_no_longer_fresh(
    runs, store, catalogue, client_of
):
    now = 0.0
    writer = catalogue(store)
    reader = catalogue(store, ticks=lambda: now)
    assert (await reader.get("noop")).source == "shipped"

    stored, _ = await writer.put("noop", doc("noop", description="better"))
    async with client_of(reader, runs) as api:
        before = (await api.get("/pipelines/noop")).json()["source"]
        now = 2.0
        after = (await api.get("/pipelines/noop")).json()["version"]

    assert (before, after) == ("shipped", stored.version)
    assert (await writer.get("noop")).version == stored.version


async def test_pipelines_are_listed_in_pages_by_name(api):
    for name in ("a", "Z", "n", "zz"):
        await put(api, doc(name))

    found, after = [], ""
    while after is not None:
        page = (await api.get("/pipelines", params={"limit": 2, "after": after})).json()
        found += [one["name"] for one in page["pipelines"]]
        after = page["next"]

    assert found == ["Z", "a", "audit", "n", "noop", "strict", "zz"]


async def test_everything_that_is_wrong_is_told_at_once(api):
    stages = [
        {"name": "A", "activity": "nop"},
        {"name": "B", "activity": "noop", "after": ["Z"]},
        {"name": "B", "activity": "noop", "mode": "sideways"},
    ]
    answer = await api.put("/pipelines/fresh", json={"name": "other", "stages": stages})

    assert answer.status_code == 422
    assert {problem["path"] for problem in answer.json()["problems"]} == {
        "$.name",
        "$.stages[0].activity",
        "$.stages[1].after[0]",
        "$.stages[2].mode",
        "$.stages[2].name",
    }
    assert "did you mean 'noop'?" in answer.text
    assert (await api.get("/pipelines/fresh")).status_code == 404


async def test_a_word_in_an_authors_data_is_not_taken_for_a_call(api):
    stages = [{"name": "A", "activity": "noop", "input": {"activity": "sleep", "actor": "Bogart"}}]

    assert (await put(api, doc(stages=stages))).status_code == 201
    refused = await put(api, doc(stages=[*stages, {"name": "B", "activity": "noop", "after": ["Z"]}]))
    assert [problem["path"] for problem in refused.json()["problems"]] == ["$.stages[1].after[0]"]


async def test_a_schema_that_is_none_is_refused_when_the_pipeline_is_stored(api):
    answer = await put(api, doc(input={"type": "strnig"}))

    assert answer.status_code == 422
    assert [problem["path"] for problem in answer.json()["problems"]] == ["$.input"]


async def test_a_key_that_is_given_twice_is_refused_with_its_path(api):
    text = '{"name": "fresh", "stages": [{"name": "A", "activity": "noop", "input": {"x": 1, "x": 2}}]}'
    answer = await api.put("/pipelines/fresh", content=text, headers=JSON)

    assert answer.status_code == 422
    assert answer.json()["problems"] == [{"path": "$.stages[0].input.x", "message": "is given twice"}]


GOOD = json.dumps(doc()).encode()
BAD = [
    (b"", JSON, 400),
    (b"{", JSON, 400),
    (b"\xff", JSON, 400),
    (b"[" * 100_000, JSON, 400),
    (b'{"name": NaN}', JSON, 400),
    (b'{"name": 1e999}', JSON, 400),
    (b'{"name": "\\ud800"}', JSON, 400),
    (b'{"name": ' + b"9" * 5_000 + b"}", JSON, 400),
    (b"[]", JSON, 422),
    (b"null", JSON, 422),
    (b"{}", JSON, 422),
    (b'{"name": "fresh", "stages": ' + b"[" * 900 + b"]" * 900 + b"}", JSON, 422),
    (b'{"name": "fresh", "description": "' + b"x" * 300_000 + b'"}', JSON, 422),
    (b'{"name": "' + b"x" * 2_000_000 + b'"}', JSON, 413),
    (b'{"name": "fresh", "stages": [' + b"0," * 100_000 + b"0]}", JSON, 422),
    (GOOD, {"Content-Type": "text/plain"}, 415),
    (GOOD, {}, 415),
]


@pytest.mark.parametrize(("body", "headers", "status"), BAD)
async def test_what_is_no_definition_is_a_problem_document(api, body, headers, status):
    answer = await api.put("/pipelines/fresh", content=body, headers=headers)

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert "xxxx" not in answer.text


@pytest.mark.parametrize("name", ["%00", "a%2Fb", "x" * 65, "ü", "a@b", "-", "%ED%A0%80", "a b"])
async def test_a_name_that_no_pipeline_can_have_is_not_there_and_cannot_be_stored(api, name):
    stored = await api.put(f"/pipelines/{name}", json=doc())

    assert stored.status_code in (404, 405, 422)
    for path in (f"/pipelines/{name}", f"/pipelines/{name}/versions", f"/pipelines/{name}/diagram"):
        assert (await api.get(path)).status_code in (404, 405)
    assert (await api.delete(f"/pipelines/{name}")).status_code in (404, 405)
    assert (await api.post(f"/pipelines/{name}/runs", json={})).status_code in (404, 405)


FULL = {
    "name": "fresh",
    "input": {"type": "object"},
    "stages": [
        {"name": "A", "activity": "noop", "input": "$.a", "config": {"timeout": 1, "retryPolicy": {}}},
        {
            "name": "B",
            "mode": "scatter",
            "activity": "noop",
            "scatter": {"input": "$.stages.A", "as": "one", "condition": "$.one > 1"},
            "config": {"concurrency": 3},
        },
        {"name": "C", "mode": "gather", "gather": {"stage": "B", "strategy": "object"}, "after": ["A"]},
    ],
    "output": "{{ stages.C }}",
}
STEPS = {
    "name": "fresh",
    "version": "1.0",
    "steps": [
        {"type": "activity", "id": "a", "name": "noop", "output": "found", "retry": {"maxAttempts": 2}},
        {"type": "condition", "if": "{{ found.x }}", "then": [{"type": "wait", "duration": 5}], "else": []},
        {"type": "parallel", "branches": [[{"type": "activity", "activity": "noop", "input": {"y": 1}}]]},
        {
            "type": "loop",
            "over": "{{ found.all }}",
            "as": "one",
            "steps": [{"type": "pipeline", "pipeline": "noop"}],
        },
    ],
}
GRAPH = {
    "name": "fresh",
    "nodes": [
        {"nodeId": "a", "function": "noop", "outputs": 1, "metadata": {"execution_mode": "sequential"}},
        {
            "nodeId": "b",
            "pipeline": "noop",
            "inputs": 1,
            "metadata": {"execution_mode": "loop", "loop_type": "while"},
        },
    ],
    "connections": [{"sourceNodeId": "a", "sourcePort": 0, "targetNodeId": "b", "targetPort": 0}],
}
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("$.a[?"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def places(document, path=()):
    yield path
    if isinstance(document, dict | list):
        inner = document.items() if isinstance(document, dict) else enumerate(document)
        for key, value in inner:
            yield from places(value, (*path, key))


def changed(document, path, value):
    document = copy.deepcopy(document)
    target = document
    for key in path[:-1]:
        target = target[key]
    if not path:
        return value
    target[path[-1]] = value
    return document


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), value=json_values)
async def test_whatever_stands_anywhere_in_a_definition_it_is_stored_or_told_what_is_wrong(api, data, value):
    document = data.draw(st.sampled_from([FULL, STEPS, GRAPH]))
    path = data.draw(st.sampled_from(list(places(document))))
    body = json.dumps(changed(document, path, value)).encode()

    answer = await api.put("/pipelines/fresh", content=body, headers=JSON)

    assert answer.status_code in (200, 201, 400, 422)
    if answer.status_code >= 400:
        assert answer.json()["problems"]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=200))
async def test_any_bytes_are_refused_and_never_our_fault(api, body):
    answer = await api.put("/pipelines/fresh", content=body, headers=JSON)

    assert answer.status_code in (400, 422)


def test_limits_are_as_the_documentation_says():
    assert (limits.MAX_NESTED, limits.MAX_LIBRARY, limits.MAX_LIBRARY_BYTES) == (8, 64, 1024 * 1024)


@pytest.mark.parametrize("document", [FULL, STEPS, GRAPH], ids=["stages", "steps", "graph"])
async def test_a_definition_in_any_notation_is_stored(api, document):
    stored = await put(api, document)

    assert stored.status_code == 201, stored.text
    assert stored.json()["label"] == document.get("version", "")
