import asyncio
import json

import pytest
from durabletask.client import TaskHubGrpcClient

from tests.host.durable import WEBHOOKS, finished, outcome, started, state_of, until
from tests.host.processes import FAST, ready_host


@pytest.fixture
def host(host_of):
    return host_of("durable")


async def test_orchestrators_of_every_style_run(host, http):
    assert (await outcome(http, host, "native", 4))["output"] == 28
    classic = await outcome(http, host, "Classic", "you")
    assert (classic["output"], classic["customStatus"]) == ([9, 10], {"hello": "you"})
    assert (await outcome(http, host, "greeting", "you"))["output"] == "hello you"


async def test_an_activity_s_exception_arrives_with_its_type_message_and_stack(host, http):
    failure = (await outcome(http, host, "failing", "fail"))["output"]
    assert failure["type"] == "function_app.AppError"
    assert "no" in failure["message"]
    assert "raise AppError(text) from error" in failure["stack"]
    assert "loom_local" not in failure["stack"]


async def test_an_activity_that_exits_fails_and_the_host_lives(host, http):
    assert (await outcome(http, host, "failing", "leave"))["output"]["type"] == "builtins.SystemExit"


async def test_an_activity_that_does_not_exist_fails_and_names_those_that_do(host, http):
    failure = (await outcome(http, host, "failing", "Square"))["output"]
    assert failure["type"] == "ActivityNotFound"
    assert "known activity functions: BuiltIn__HttpActivity, Double, fail" in failure["message"]


async def test_an_orchestrator_that_does_not_exist_fails(host, http):
    document = await outcome(http, host, "nobody", None)
    assert document["runtimeStatus"] == "Failed"
    assert document["output"].startswith(
        "OrchestratorNotFound: the orchestrator function 'nobody' does not exist"
    )


async def test_entities_of_every_style_answer_sync_clients_locks_and_reads(host, http):
    async def state_is(name, expected):
        return await state_of(http, host, name, "a") == expected

    for n in (1, 2):
        async with http.post(f"{host.url}/api/entities/Counter/a/add", json=n) as reply:
            assert reply.status == 202
        async with http.post(f"{host.url}/api/entities/ledger/a/append", json=n) as reply:
            assert reply.status == 202
    await until(lambda: state_is("Counter", 3))
    await until(lambda: state_is("ledger", [1, 2]))
    assert (await outcome(http, host, "locked", "a"))["output"] == 7


async def test_a_timer_fires(host, http):
    assert await until(lambda: state_of(http, host, "Counter", "ticks"))


async def test_a_queue_message_reaches_its_function(host, http):
    message = {"body": {"n": 5}, "sessionId": "boxes"}
    async with http.post(f"{host.url}/admin/queues/letters/messages", json=message) as reply:
        assert reply.status == 201
    assert await until(lambda: state_of(http, host, "Counter", "boxes")) == 5


async def test_the_client_binding_is_the_same_at_every_invocation(host, http):
    texts = set()
    for _ in range(2):
        async with http.get(f"{host.url}/api/binding") as reply:
            texts.add(await reply.text())
    (text,) = texts
    binding = json.loads(text)
    assert binding["taskHubName"] == "foreign"
    assert binding["httpBaseUrl"] == host.url + WEBHOOKS


async def test_a_function_that_blocks_the_loop_does_not_stall_the_engine(host, http, tmp_path):
    async with http.get(f"{host.url}/api/binding") as reply:
        address = json.loads(await reply.text())["rpcBaseUrl"]
    flag = tmp_path / "flag"
    blocking = asyncio.create_task(http.post(f"{host.url}/api/block", data=str(flag)))
    client = TaskHubGrpcClient(host_address=address)
    try:
        # Only the engine's own thread can take this while the host's loop stands still.
        instance = await asyncio.to_thread(client.schedule_new_orchestration, "native", input=3)
        state = await asyncio.to_thread(client.get_orchestration_state, instance)
        assert state is not None
        assert not blocking.done()
        flag.touch()
        async with await blocking as reply:
            assert await reply.text() == "unblocked"
        done = await asyncio.to_thread(client.wait_for_orchestration_completion, instance, timeout=30)
        assert done.serialized_output == "10"
    finally:
        flag.touch()
        client.close()


async def test_an_orchestrator_that_blocks_does_not_stall_http(host, http):
    links = await started(http, host, "stubborn", None)
    async with http.post(f"{host.url}/api/release") as reply:
        assert reply.status == 204
    assert (await finished(http, links))["output"] == "released"


THREADS = """
import asyncio, threading
import azure.durable_functions as df, azure.functions as func
app = df.DFApp(http_auth_level=func.AuthLevel.ANONYMOUS)

@app.route(route="start/{name}")
@app.durable_client_input(client_name="client")
async def start(req: func.HttpRequest, client) -> func.HttpResponse:
    instance = await client.schedule_new_orchestration(req.route_params["name"])
    return client.create_check_status_response(req, instance)

@app.orchestration_trigger(context_name="context")
def both(ctx, _):
    return [(yield ctx.call_activity("plain")), (yield ctx.call_activity("hands_on"))]

@app.activity_trigger(input_name="nothing")
def plain(nothing):
    return threading.current_thread().name

@app.activity_trigger(input_name="nothing")
async def hands_on(nothing):
    return await asyncio.to_thread(lambda: threading.current_thread().name)
"""


async def test_what_an_async_activity_hands_to_a_thread_runs_on_an_activity_thread_too(http, tmp_path):
    (tmp_path / "function_app.py").write_text(THREADS, encoding="utf-8")
    with ready_host(tmp_path, tmp_path / "data", *FAST, "--activity-threads", "1") as host:
        assert (await outcome(http, host, "both", None))["output"] == ["activity_0", "activity_0"]


async def test_busy_activity_threads_do_not_stall_orchestrations(host, http, tmp_path):
    flag = tmp_path / "flag"
    try:
        waiting = [await started(http, host, "watch_file", str(flag)) for _ in range(40)]
        assert (await outcome(http, host, "failing", "nobody"))["output"]["type"] == "ActivityNotFound"
    finally:
        flag.write_text("go", encoding="utf-8")
    for links in waiting:
        assert (await finished(http, links))["output"] == "go"
