import pytest

from tests.host.durable import WEBHOOKS, finished, outcome, started, until


@pytest.fixture
def host(host_of):
    return host_of("durable")


@pytest.fixture
def base(host):
    return host.url + WEBHOOKS


async def post(http, address, **options):
    async with http.post(address, **options) as reply:
        return reply.status


async def status_of(http, links):
    async with http.get(links["statusQueryGetUri"]) as reply:
        return (await reply.json())["runtimeStatus"]


async def test_every_link_of_a_check_status_response_is_alive(host, http):
    async def is_status(name):
        return await status_of(http, links) == name

    links = await started(http, host, "approval", None)
    assert await status_of(http, links) in {"Pending", "Running"}
    assert await post(http, links["suspendPostUri"].replace("{text}", "tea")) == 202
    await until(lambda: is_status("Suspended"))
    assert await post(http, links["resumePostUri"].replace("{text}", "back")) == 202
    await until(lambda: is_status("Running"))
    event = links["sendEventPostUri"].replace("{eventName}", "Approve")
    assert await post(http, event, json={"by": "me"}) == 202
    assert (await finished(http, links))["output"] == {"by": "me"}
    assert await post(http, event, json={}) == 410
    assert await post(http, links["terminatePostUri"]) == 410
    assert await post(http, links["rewindPostUri"]) == 412

    async with http.post(links["restartPostUri"]) as reply:
        assert reply.status == 202
        again = await reply.json()
    assert again["id"] != links["id"]
    async with http.delete(again["purgeHistoryDeleteUri"]) as reply:
        assert reply.status == 412
    assert await post(http, again["terminatePostUri"].replace("{text}", "enough")) == 202
    ended = await finished(http, again)
    assert (ended["runtimeStatus"], ended["output"]) == ("Terminated", "enough")
    async with http.delete(again["purgeHistoryDeleteUri"]) as reply:
        assert (reply.status, await reply.json()) == (200, {"instancesDeleted": 1})
    for address in (again["statusQueryGetUri"], again["purgeHistoryDeleteUri"]):
        async with http.get(address) as reply:
            assert reply.status == 404


async def test_a_running_instance_says_when_and_where_to_ask_again(host, http):
    links = await started(http, host, "approval", None)
    async with http.get(links["statusQueryGetUri"]) as reply:
        assert reply.status == 202
        assert reply.headers["Location"] == links["statusQueryGetUri"]
        assert reply.headers["Retry-After"] == "5"
    assert await post(http, links["terminatePostUri"]) == 202


async def test_a_failed_instance_can_be_a_500_and_can_be_rewound(host, http):
    links = await started(http, host, "always_fails", None)
    assert (await finished(http, links))["runtimeStatus"] == "Failed"
    address = links["statusQueryGetUri"] + "&returnInternalServerErrorOnFailure=true"
    async with http.get(address) as reply:
        assert reply.status == 500
    assert await post(http, links["rewindPostUri"].replace("{text}", "again")) == 202
    assert (await finished(http, links))["runtimeStatus"] == "Failed"


async def test_history_is_shown_on_request_with_outputs_and_inputs_as_asked(host, http):
    links = await started(http, host, "Classic", "you")
    await finished(http, links)
    address = links["statusQueryGetUri"]
    async with http.get(f"{address}&showHistory=true&showHistoryOutput=true") as reply:
        shown = await reply.json()
    kinds = [event["EventType"] for event in shown["historyEvents"]]
    assert kinds == [
        "ExecutionStarted",
        "TaskCompleted",
        "SubOrchestrationInstanceCompleted",
        "ExecutionCompleted",
    ]
    assert shown["historyEvents"][1]["FunctionName"] == "square"
    assert shown["historyEvents"][1]["Result"] == 9
    async with http.get(f"{address}&showHistory=true&showInput=false") as reply:
        hidden = await reply.json()
    assert hidden["input"] is None
    assert all("Result" not in event and "Input" not in event for event in hidden["historyEvents"])


async def test_an_orchestration_is_started_by_name_with_or_without_an_id(base, http):
    async with http.post(f"{base}/orchestrators/native/mine%2F1", json=3) as reply:
        assert reply.status == 202
        links = await reply.json()
    assert links["id"] == "mine/1"
    assert (await finished(http, links))["output"] == 10
    async with http.post(f"{base}/orchestrators/native?timeout=30&pollingInterval=1", json=3) as reply:
        assert (reply.status, await reply.json()) == (200, 10)
    async with http.post(f"{base}/orchestrators/approval?timeout=0&pollingInterval=1") as reply:
        assert reply.status == 202
        links = await reply.json()
    assert await post(http, links["terminatePostUri"]) == 202


async def test_a_start_that_cannot_be_is_refused(base, http):
    async with http.post(f"{base}/orchestrators/nobody") as reply:
        assert reply.status == 400
        assert "known orchestrator functions: " in (await reply.json())["message"]
    assert await post(http, f"{base}/orchestrators/native", data=b"{not json") == 400
    assert await post(http, f"{base}/orchestrators/approval/taken") == 202
    assert await post(http, f"{base}/orchestrators/approval/taken") == 409
    assert await post(http, f"{base}/instances/taken/terminate") == 202


async def test_instances_are_listed_page_by_page_and_by_status(host, base, http):
    for _ in range(3):
        await outcome(http, host, "native", 1)
    seen, token = [], None
    while True:
        headers = {"x-ms-continuation-token": token} if token else {}
        async with http.get(f"{base}/instances?top=2&runtimeStatus=Completed", headers=headers) as reply:
            page = await reply.json()
            token = reply.headers["x-ms-continuation-token"]
        seen += [instance["instanceId"] for instance in page]
        assert len(page) <= 2
        assert {instance["runtimeStatus"] for instance in page} <= {"Completed"}
        if not token:
            break
    assert len(seen) == len(set(seen)) >= 3


@pytest.mark.parametrize("query", ["runtimeStatus=Sleeping", "createdTimeFrom=yesterday", "top=many"])
async def test_a_query_that_cannot_be_read_is_refused(base, http, query):
    async with http.get(f"{base}/instances?{query}") as reply:
        assert reply.status == 400


async def test_many_instances_are_purged_by_time_and_status(host, base, http):
    await outcome(http, host, "native", 1)
    async with http.delete(f"{base}/instances") as reply:
        assert reply.status == 400
    window = "createdTimeFrom=2020-01-01T00:00:00Z&runtimeStatus=Completed"
    async with http.delete(f"{base}/instances?{window}") as reply:
        assert reply.status == 200
        assert (await reply.json())["instancesDeleted"] >= 1
    async with http.delete(f"{base}/instances?{window}&createdTimeTo=2020-01-02T00:00:00%2B00:00") as reply:
        assert reply.status == 404


async def test_entities_are_signalled_read_listed_and_deleted(base, http):
    entity = f"{base}/entities/Counter/hooks"
    assert await post(http, f"{entity}?op=add", json=4) == 202
    assert (
        await post(http, f"{entity}?op=add", data=b"{", headers={"Content-Type": "application/json"}) == 400
    )

    async def state():
        async with http.get(entity) as reply:
            return await reply.json() if reply.status == 200 else None

    async def is_gone():
        return await state() is None

    assert await until(state) == 4
    async with http.get(f"{base}/entities/counter?fetchState=true") as reply:
        listed = {item["entityId"]["key"]: item["state"] for item in await reply.json()}
    assert listed["hooks"] == 4
    async with http.delete(entity) as reply:
        assert reply.status == 202
    assert await until(is_gone)


async def test_an_event_must_be_json(base, http):
    assert await post(http, f"{base}/orchestrators/approval/picky") == 202
    event = f"{base}/instances/picky/raiseEvent/Approve"
    assert await post(http, event, data=b"text") == 400
    assert await post(http, event, data=b"{", headers={"Content-Type": "application/json"}) == 400
    assert await post(http, event, data=b"{}", headers={"Content-Type": "application/json"}) == 202


@pytest.mark.parametrize("path", ["", "/instances/nobody", "/what/ever", "/instances/x/explode"])
async def test_what_is_not_there_is_not_found(base, http, path):
    async with http.get(f"{base}{path}") as reply:
        assert reply.status == 404
