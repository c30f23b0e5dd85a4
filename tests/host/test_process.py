import asyncio
import shutil
import signal
import socket

import psutil

from tests.host.durable import finished, outcome, started
from tests.host.processes import APPS, FAST, ready_host, start_host


async def test_ctrl_c_lets_a_request_end_and_closes_event_streams(tmp_path, http):
    with ready_host(APPS / "http_v2", tmp_path, *FAST) as host:
        async with http.get(f"{host.url}/api/endless") as stream:
            assert await stream.content.readline() == b"data: hello\n"
            host.process.send_signal(signal.SIGINT)
            assert await stream.content.read() == b"\n"
        assert host.ended() == 0


async def test_ctrl_c_does_not_wait_for_what_never_ends(tmp_path, http):
    with ready_host(APPS / "durable", tmp_path, *FAST) as host:
        await started(http, host, "watch_file", str(tmp_path / "never"))
        async with http.post(f"{host.url}/api/stray") as reply:
            assert reply.status == 204
        blocked = asyncio.create_task(http.post(f"{host.url}/api/block", data=str(tmp_path / "never")))
        await asyncio.sleep(0)
        host.process.send_signal(signal.SIGINT)
        assert await asyncio.to_thread(host.process.wait, 10) == 0
        blocked.cancel()
        await asyncio.wait([blocked])


def test_ctrl_c_ends_a_host_that_is_still_starting(tmp_path):
    source = "import threading\nprint('importing', flush=True)\nthreading.Event().wait()\n"
    (tmp_path / "function_app.py").write_text(source, encoding="utf-8")
    with start_host(tmp_path, tmp_path / "data") as host:
        host.wait_for("importing")
        host.process.send_signal(signal.SIGINT)
        assert host.ended() == 0


async def test_a_second_ctrl_c_exits_at_once(tmp_path, http):
    with ready_host(APPS / "http_v1", tmp_path, *FAST) as host:
        sleeping = asyncio.create_task(http.get(f"{host.url}/v1/sleep/30"))
        await asyncio.to_thread(host.wait_for, "going to sleep")
        host.process.send_signal(signal.SIGINT)
        await asyncio.to_thread(host.wait_for, "Ctrl-C again")
        host.process.send_signal(signal.SIGINT)
        assert await asyncio.to_thread(host.ended) == 130
        sleeping.cancel()
        await asyncio.wait([sleeping])


def test_runs_are_kept_where_the_app_is_told_to_keep_its_files(tmp_path):
    app = shutil.copytree(APPS / "http_v1", tmp_path / "app")
    with ready_host(app, None, *FAST, env={"LOOM_DATA": "../kept"}):
        assert (tmp_path / "kept" / "loom.db").exists()
        assert not (app / ".loom").exists()


def test_two_hosts_on_the_same_data_cannot_be(tmp_path):
    with (
        ready_host(APPS / "http_v1", tmp_path, *FAST),
        start_host(APPS / "http_v1", tmp_path, *FAST) as second,
    ):
        assert second.ended() == 1
        assert "loom: " in second.output
        assert "Traceback" not in second.output


def test_data_that_cannot_be_written_is_said_clearly_and_not_taken_for_a_broken_app(tmp_path):
    (tmp_path / "file").touch()
    with start_host(APPS / "http_v1", tmp_path / "file" / "data") as host:
        assert host.ended() == 1
    assert f"loom: cannot keep data in {tmp_path / 'file' / 'data'}: Not a directory" in host.output
    assert "--data" in host.output


def test_data_that_is_no_database_is_said_clearly(tmp_path):
    (tmp_path / "loom.db").write_bytes(b"no database " * 1000)
    with start_host(APPS / "http_v1", tmp_path) as host:
        assert host.ended() == 1
    assert f"loom: {tmp_path / 'loom.db'} cannot be used (file is not a database)" in host.output
    assert "Traceback" not in host.output


def test_a_key_that_is_no_text_is_said_clearly(tmp_path):
    key = tmp_path / "key"
    key.write_bytes(b"\xff" * 32)
    with start_host(APPS / "http_v1", tmp_path, "--api-key-file", str(key)) as host:
        assert host.ended() == 1
    assert f"loom: {key} is not a text in UTF-8" in host.output
    assert "Traceback" not in host.output


def test_a_port_in_use_is_said_clearly(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with start_host(APPS / "http_v1", tmp_path, *FAST, "--port", port) as host:
            assert host.ended() == 1
    assert f"loom: cannot listen on 127.0.0.1:{port}: Address already in use" in host.output


def test_another_address_needs_a_key(tmp_path):
    with start_host(APPS / "http_v1", tmp_path, *FAST, "--host", "0.0.0.0") as host:
        assert host.ended() == 1
    assert "set LOOM_API_KEY or give --api-key-file" in host.output


async def test_another_address_with_a_key_serves_any_host_name(tmp_path, http):
    key = tmp_path / "key"
    key.write_text("a-key-of-at-least-sixteen\n", encoding="utf-8")
    options = (*FAST, "--host", "0.0.0.0", "--api-key-file", str(key))
    with ready_host(APPS / "http_v1", tmp_path, *options) as host:
        port = host.url.rpartition(":")[2]
        headers = {"Host": "my-machine.lan", "x-functions-key": "a-key-of-at-least-sixteen"}
        async with http.get(f"http://127.0.0.1:{port}/v1/echo/latest", headers=headers) as reply:
            assert reply.status == 200


APP = """
import azure.durable_functions as df, azure.functions as func
app = df.DFApp(http_auth_level=func.AuthLevel.ANONYMOUS)

@app.route(route="version")
async def version(req: func.HttpRequest) -> str:
    return "{version}"

@app.route(route="start/{{name}}")
@app.durable_client_input(client_name="client")
async def start(req: func.HttpRequest, client) -> func.HttpResponse:
    instance = await client.schedule_new_orchestration(req.route_params["name"], input=req.get_json())
    return client.create_check_status_response(req, instance)

@app.orchestration_trigger(context_name="context")
def approval(ctx, _):
    return (yield ctx.wait_for_external_event("Approve"))
"""


async def test_an_edit_restarts_the_host_and_keeps_its_runs_and_a_broken_one_waits(tmp_path, http):
    app, data = tmp_path / "app", tmp_path / "data"
    app.mkdir()
    script = app / "function_app.py"
    script.write_text(APP.format(version="one"), encoding="utf-8")
    with ready_host(app, data, "--unsafe-fast") as host:
        async with http.get(f"{host.url}/api/version") as reply:
            assert await reply.text() == "one"
        links = await started(http, host, "approval", None)

        script.write_text("import nothing_of_this_name\n", encoding="utf-8")
        await asyncio.to_thread(host.wait_for, "waiting for a change")
        assert "nothing_of_this_name" in host.output

        script.write_text(APP.format(version="two"), encoding="utf-8")
        await asyncio.to_thread(host.wait_for, f"Loom is ready at {host.url}")
        async with http.get(f"{host.url}/api/version") as reply:
            assert await reply.text() == "two"
        event = links["sendEventPostUri"].replace("{eventName}", "Approve")
        async with http.post(event, json="yes") as reply:
            assert reply.status == 202
        assert (await finished(http, links))["output"] == "yes"

        host.process.send_signal(signal.SIGINT)
        assert await asyncio.to_thread(host.ended) == 0


async def test_a_host_that_is_killed_under_its_supervisor_comes_back_with_its_runs(tmp_path, http):
    with ready_host(APPS / "durable", tmp_path) as host:
        links = await started(http, host, "approval", None)
        (child,) = psutil.Process(host.process.pid).children()
        child.kill()
        await asyncio.to_thread(host.wait_for, f"Loom is ready at {host.url}")
        event = links["sendEventPostUri"].replace("{eventName}", "Approve")
        async with http.post(event, json="yes") as reply:
            assert reply.status == 202
        assert (await finished(http, links))["output"] == "yes"


async def test_a_host_whose_supervisor_is_killed_stops(tmp_path):
    with ready_host(APPS / "durable", tmp_path) as host:
        (child,) = psutil.Process(host.process.pid).children()
        host.process.kill()
        assert await asyncio.to_thread(psutil.wait_procs, [child], 30) == ([child], [])


async def test_work_that_was_cut_off_runs_again_at_the_next_start(tmp_path, http):
    flag = tmp_path / "flag"
    with ready_host(APPS / "durable", tmp_path / "data", "--no-reload") as host:
        links = await started(http, host, "watch_file", str(flag))
        host.process.kill()
        host.ended()
    flag.write_text("done", encoding="utf-8")
    with ready_host(APPS / "durable", tmp_path / "data", "--no-reload") as host:
        links["statusQueryGetUri"] = f"{host.url}/{links['statusQueryGetUri'].split('/', 3)[3]}"
        assert (await finished(http, links))["output"] == "done"
        assert (await outcome(http, host, "native", 2))["output"] == 2
