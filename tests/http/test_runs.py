import httpx
import pytest


async def start(api, name="noop", **body):
    return (await api.post(f"/pipelines/{name}/runs", json=body)).json()["runId"]


async def test_a_run_is_started_and_found_at_its_location(api):
    answer = await api.post("/pipelines/audit/runs", json={"input": {"path": "."}})
    found = await api.get(answer.headers["location"].removeprefix("/api"))

    assert answer.status_code == 202
    assert found.json() == answer.json()
    assert answer.json() == {
        "runId": answer.json()["runId"],
        "pipeline": "audit",
        "version": "v1",
        "status": "pending",
        "input": {"path": "."},
        "output": None,
        "error": None,
        "progress": {},
        "createdAt": "2027-01-01T12:30:00.000Z",
        "updatedAt": "2027-01-01T12:30:00.000Z",
    }


async def test_the_same_key_and_body_is_the_same_run(api):
    key = {"Idempotency-Key": "order-7"}
    first = await api.post("/pipelines/noop/runs", json={"input": {"a": 1, "b": 2}}, headers=key)
    again = await api.post("/pipelines/noop/runs", json={"input": {"b": 2, "a": 1}}, headers=key)
    other = await api.post("/pipelines/noop/runs", json={"input": 2}, headers=key)

    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json()["runId"] == again.json()["runId"]
    assert other.status_code == 409


async def test_a_run_that_ends_within_the_preferred_wait_is_answered_finished(api, runs):
    key = {"Idempotency-Key": "k"}
    run_id = (await api.post("/pipelines/noop/runs", json={}, headers=key)).json()["runId"]
    await runs.change(run_id, status="completed", output=[1])

    answer = await api.post(
        "/pipelines/noop/runs", json={}, headers={**key, "Prefer": "respond-async, wait=9"}
    )

    assert answer.status_code == 200
    assert answer.json()["output"] == [1]
    assert answer.headers["preference-applied"] == "wait=9"


async def test_long_strings_of_the_output_are_in_their_places(api, runs):
    key = {"Idempotency-Key": "k"}
    run_id = (await api.post("/pipelines/noop/runs", json={}, headers=key)).json()["runId"]
    await runs.change(run_id, status="completed", output={"$ref": "payloads/x", "bytes": 8})

    waited = await api.post("/pipelines/noop/runs", json={}, headers={**key, "Prefer": "wait=9"})

    assert waited.json()["output"] == "put back"
    assert (await api.get(f"/runs/{run_id}")).json()["output"] == "put back"


async def test_a_run_that_takes_longer_is_answered_accepted(api):
    answer = await api.post("/pipelines/noop/runs", json={}, headers={"Prefer": "wait=1"})

    assert answer.status_code == 202


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [
        (None, 0),
        ("wait=5", 5),
        ("respond-async; wait = 5", 5),
        ("wait=9999", 220),
        ("await=5", 0),
        ("wait=x", 0),
    ],
)
def test_a_preference_that_is_not_understood_is_ignored(prefer, seconds):
    from loom_core.http.pipelines import preferred_wait

    assert preferred_wait(prefer) == seconds


async def test_runs_are_listed_in_pages_and_by_status_without_their_payloads(api, runs):
    ids = [await start(api, input=i) for i in range(5)]
    await runs.change(ids[3], status="completed", output=1)

    first = (await api.get("/runs", params={"limit": 3})).json()
    second = (await api.get("/runs", params={"limit": 3, "after": first["next"]})).json()
    completed = (await api.get("/runs", params={"status": "completed"})).json()

    assert [run["runId"] for run in first["runs"] + second["runs"]] == ids
    assert second["next"] is None
    assert [run["runId"] for run in completed["runs"]] == [ids[3]]
    assert "input" not in first["runs"][0]


async def test_runs_are_suspended_resumed_and_cancelled_any_number_of_times(api):
    run_id = await start(api)

    statuses = [
        (await api.post(f"/runs/{run_id}/{action}")).json()["status"]
        for action in ("suspend", "suspend", "resume", "resume", "cancel", "cancel")
    ]
    refused = await api.post(f"/runs/{run_id}/resume")

    assert statuses == ["suspended", "suspended", "running", "running", "cancelled", "cancelled"]
    assert refused.status_code == 409
    assert "start a new run" in refused.json()["detail"]


async def test_only_cancelling_can_be_forced(api, runs):
    run_id = await start(api)

    assert (await api.post(f"/runs/{run_id}/stop")).json()["status"] == "running"
    assert (await api.post(f"/runs/{run_id}/cancel?force=true")).json()["status"] == "cancelled"
    refused = [await api.post(f"/runs/{run_id}/{action}?force=true") for action in ("rewind", "stop")]

    assert runs.controls == [("stop", False), ("cancel", True)]
    assert [answer.status_code for answer in refused] == [422, 422]
    assert refused[0].json()["problems"][0]["path"] == "query.force"


@pytest.mark.parametrize("name", ["loom:cancel", "loom:stop", "LOOM:Cancel", "loom:anything"])
async def test_events_with_looms_own_names_are_refused(api, runs, name):
    run_id = await start(api)

    refused = await api.post(f"/runs/{run_id}/events/{name}", json=1)

    assert refused.status_code == 422
    assert "Loom's own" in refused.json()["problems"][0]["message"]
    assert runs.events == []


async def test_a_large_input_travels_by_reference_and_is_shown_whole(api, runs):
    large = {"input": {"text": "x" * 1000}}
    started = [
        await api.post("/pipelines/audit/runs", json=large, headers={"Idempotency-Key": "k"})
        for _ in range(2)
    ]
    run_id = started[0].json()["runId"]

    event = await api.post(f"/runs/{run_id}/events/go", json=large["input"])

    assert [answer.status_code for answer in started] == [202, 202], "equal inputs are equal requests"
    assert started[1].json()["runId"] == run_id
    assert runs.runs[run_id].input == {"$ref": "payloads/x", "bytes": 8}
    assert (await api.get(f"/runs/{run_id}")).json()["input"] == "put back"
    assert event.status_code == 202
    assert runs.events == [(run_id, "go", {"$ref": "payloads/x", "bytes": 8})]


async def test_events_carry_any_json_or_nothing(api, runs):
    run_id = await start(api)

    answers = [
        await api.post(f"/runs/{run_id}/events/approval", json={"by": "me"}),
        await api.post(f"/runs/{run_id}/events/approval", json=[1]),
        await api.post(f"/runs/{run_id}/events/approval"),
    ]

    assert [a.status_code for a in answers] == [202, 202, 202]
    assert runs.events == [(run_id, "approval", payload) for payload in ({"by": "me"}, [1], None)]


async def test_the_pipelines_of_the_app_are_shown(api):
    listed = (await api.get("/pipelines")).json()
    one = (await api.get("/pipelines/audit")).json()

    assert [p["name"] for p in listed["pipelines"]] == ["audit", "noop", "strict"]
    assert one["definition"] == {"name": "audit", "stages": [{"name": "Only", "activity": "noop"}]}
    assert one["warnings"] == [{"path": "$.stages", "message": "no concurrency"}]


async def test_health_and_readiness_are_different_questions(api, runs):
    before = await api.get("/ready")
    runs.is_up = False
    health, after = await api.get("/health"), await api.get("/ready")

    assert (before.status_code, health.status_code, after.status_code) == (200, 200, 503)
    assert "UNAVAILABLE" in after.json()["detail"]


async def test_the_api_describes_itself(api):
    document = (await api.get("/openapi.json")).json()

    assert document["servers"] == [{"url": "/api"}]
    assert {
        "/pipelines/{name}/runs", "/runs", "/runs/{run_id}", "/runs/{run_id}/events", "/health", "/ready",
    } <= document["paths"].keys()  # fmt: skip


BAD = [
    ("POST", "/pipelines/none/runs", b"{}", 404),
    ("POST", "/pipelines/noop/runs", b"{", 400),
    ("POST", "/pipelines/noop/runs", b"", 422),
    ("POST", "/pipelines/noop/runs", b"[]", 422),
    ("POST", "/pipelines/noop/runs", b'{"inputs": 1}', 422),
    ("POST", "/pipelines/noop/runs", b'{"input": NaN}', 422),
    ("POST", "/pipelines/noop/runs", b'{"input": 1e999}', 422),
    ("POST", "/pipelines/noop/runs", b'{"input": "\\ud800"}', 422),
    ("POST", "/pipelines/noop/runs", b'{"input": "\xff"}', 400),
    ("POST", "/pipelines/noop/runs", b"[" * 100_000, 400),
    ("POST", "/pipelines/noop/runs", b'{"input": ' + b"[" * 900 + b"]" * 900 + b"}", 202),
    ("POST", "/pipelines/noop/runs", b'{"input": ' + b"9" * 5000 + b"}", 400),
    ("POST", "/pipelines/noop/runs", b'{"input": "' + b"x" * 2_000_000 + b'"}', 413),
    ("POST", "/runs/run-x/events/go", b'"\\ud800"', 422),
    ("POST", "/runs/run-x/events/go", b"NaN", 422),
    ("POST", "/runs/run-x/explode", b"", 422),
    ("POST", "/runs/run-x/cancel", b"", 404),
    ("GET", "/runs/run-x", b"", 404),
    ("GET", "/runs/run-x/events", b"", 404),
    ("GET", "/runs?limit=0", b"", 422),
    ("GET", "/runs?limit=x", b"", 422),
    ("GET", "/runs?status=odd", b"", 422),
    ("GET", "/nothing", b"", 404),
    ("DELETE", "/runs", b"", 405),
]


@pytest.mark.parametrize(("method", "path", "body", "status"), BAD)
async def test_bad_input_is_a_problem_document_and_never_our_fault(api, method, path, body, status):
    answer = await api.request(method, path, content=body, headers={"Content-Type": "application/json"})

    assert answer.status_code == status
    if status >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == status
        assert answer.json()["detail"]


async def test_a_body_that_is_not_declared_as_json_is_refused_with_what_to_do(api):
    answer = await api.post(
        "/pipelines/noop/runs", content=b"{}", headers={"Content-Type": "application/x-www-form-urlencoded"}
    )

    assert answer.status_code == 415
    assert "Content-Type: application/json" in answer.json()["detail"]


async def test_problems_name_the_place(api):
    answer = await api.post("/pipelines/noop/runs", json={"inputs": 1, "more": 2})

    assert [p["path"] for p in answer.json()["problems"]] == ["$.inputs", "$.more"]


async def test_a_body_that_grows_too_large_while_it_streams_is_refused(served):
    async def endless():
        for _ in range(100):
            yield b" " * 100_000

    async with httpx.AsyncClient() as client:
        answer = await client.post(
            f"{served}/pipelines/noop/runs", content=endless(), headers={"Content-Type": "application/json"}
        )

    assert answer.status_code == 413


async def test_an_overlong_key_is_refused(api):
    answer = await api.post("/pipelines/noop/runs", json={}, headers={"Idempotency-Key": "k" * 256})

    assert answer.status_code == 422
    assert answer.json()["problems"][0]["path"] == "header.idempotency-key"


async def test_a_defect_is_a_problem_document_too(api, runs, caplog):
    runs.runs["run-broken"] = None

    answer = await api.get("/runs/run-broken")

    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert "NoneType" not in answer.text
    assert "GET /api/runs/run-broken failed" in caplog.text


async def test_an_input_that_breaks_the_pipelines_schema_is_refused_before_a_run_starts(api, runs):
    wrong = await api.post("/pipelines/strict/runs", json={"input": {"path": 7}})
    right = await api.post("/pipelines/strict/runs", json={"input": {"path": "."}})

    assert (wrong.status_code, right.status_code) == (422, 202)
    assert [p["path"] for p in wrong.json()["problems"]] == ["$.input.path"]
    assert len(runs.runs) == 1
