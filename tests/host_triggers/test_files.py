"""Files on the real host: the blob trigger of a foreign app, and runs of ours that wait for files."""

import asyncio
import json
import shutil
import signal
from pathlib import Path

import pytest

from tests.host.durable import WEBHOOKS, finished, state_of, until
from tests.host.processes import FAST, ROOT, ready_host

APP = Path(__file__).parent / "app"
MAILBOX = {"MAILBOX": "mail"}

# What an interpreter of pipelines does: it asks to be told, and then waits.
WAITING = """

@app.orchestration_trigger(context_name="context")
def waiting(context):
    wanted = context.get_input()
    call = {"activity": "loom.watch", "run": context.instance_id}
    for path in wanted:
        given = {"run": context.instance_id, "path": path, "event": f"file_change:{path}"}
        yield context.call_activity("run_activity", call | {"input": given})
    context.set_custom_status("waits")
    told = []
    for path in wanted:
        told.append((yield context.wait_for_external_event(f"file_change:{path}")))
    return told
"""


def drop(folder: Path, name: str, content: str = "{}") -> None:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(".unfinished")
    unfinished.write_text(content)
    unfinished.rename(file)


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    return Path(shutil.copytree(APP, tmp_path / "app"))


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    """The app as it is shipped, with an orchestration that waits for files."""
    app = tmp_path / "app"
    app.mkdir()
    for name in ("host.json", "local.settings.sample.json"):
        shutil.copy(ROOT / name, app)
    (app / "function_app.py").write_text((ROOT / "function_app.py").read_text() + WAITING)
    return app


async def received(http, host, count):
    """The notes of the foreign app about its blobs, once there are so many."""

    async def enough():
        notes = await state_of(http, host, "Notes", "blobs")
        return notes if notes and len(notes) >= count else None

    return await until(enough)


async def waiting(http, host, run, *paths):
    """Start a run that waits for these files, and give its links once it waits."""
    url = f"{host.url}{WEBHOOKS}/orchestrators/waiting/{run}"
    async with http.post(url, json=[*paths]) as reply:
        assert reply.status == 202, await reply.text()
        links = await reply.json()

    async def waits():
        async with http.get(links["statusQueryGetUri"]) as reply:
            return (await reply.json())["customStatus"] == "waits"

    await until(waits)
    return links


def run_id(number: int) -> str:
    return f"run-{number:026}"


async def test_the_host_gives_files_to_any_apps_blob_functions(foreign, tmp_path, http):
    with ready_host(foreign, tmp_path / "data", *FAST, env=MAILBOX) as host:
        assert "blob" in host.output
        assert "drop-box/{name}.json" in host.output
        drop(foreign / "drop-box", "orders/a.json", '{"n": 1}')
        drop(foreign / "drop-box", "other.txt")

        assert await received(http, host, 1) == [["drop-box/orders/a.json", {"n": 1}, 8]]
        host.process.send_signal(signal.SIGINT)
        assert await asyncio.to_thread(host.ended) == 0


async def test_a_dropped_file_does_not_restart_the_host_and_a_changed_app_does(foreign, tmp_path, http):
    with ready_host(foreign, tmp_path / "data", env=MAILBOX) as host:
        drop(foreign / "drop-box", "a.json", "1")
        await received(http, host, 1)
        (foreign / "more.py").touch()
        await asyncio.to_thread(host.wait_for, "Loom is ready")
        drop(foreign / "drop-box", "b.json", "2")
        await received(http, host, 2)

    restarts = [line for line in host.lines if "changed: restarting" in line]
    assert restarts == ["loom: more.py changed: restarting\n"]


async def test_a_run_goes_on_when_its_file_comes(ours, tmp_path, http):
    with ready_host(ours, tmp_path / "data", *FAST) as host:
        first = await waiting(http, host, run_id(1), "orders/*.json")
        second = await waiting(http, host, run_id(2), "orders/", "done/all.csv")
        drop(ours / "inbox", "orders/a.json", "12345")

        (told,) = (await finished(http, first))["output"]
        assert (told["path"], told["size"]) == ("orders/a.json", 5)
        assert told["etag"].startswith('"0x')
        drop(ours / "inbox", "done/all.csv", "")
        output = (await finished(http, second))["output"]
        assert [told["path"] for told in output] == ["orders/a.json", "done/all.csv"]
        host.process.send_signal(signal.SIGINT)
        assert await asyncio.to_thread(host.ended) == 0
    assert "still busy" not in host.output
    assert "rror" not in host.output


async def test_a_file_that_came_before_a_kill_is_told_after_it(ours, tmp_path, http):
    """Killed at once, so that the file may or may not have been seen, and the event raised or not."""
    for round_ in range(4):
        with ready_host(ours, tmp_path / "data", "--no-reload") as host:
            await waiting(http, host, run_id(round_), f"orders/{round_}-*")
            drop(ours / "inbox", f"orders/{round_}-a")
            await asyncio.sleep(0.35 * round_)
            host.process.kill()
            host.ended()
    with ready_host(ours, tmp_path / "data", "--no-reload") as host:
        for round_ in range(4):
            url = f"{host.url}{WEBHOOKS}/instances/{run_id(round_)}"
            (told,) = (await finished(http, {"statusQueryGetUri": url}))["output"]
            assert told["path"] == f"orders/{round_}-a"


async def test_a_file_that_came_while_the_host_was_down_is_told_at_its_start(ours, tmp_path, http):
    with ready_host(ours, tmp_path / "data", "--no-reload") as host:
        links = await waiting(http, host, run_id(1), "a.json")
        host.process.kill()
        host.ended()
    drop(ours / "inbox", "a.json", json.dumps([1]))
    with ready_host(ours, tmp_path / "data", "--no-reload") as host:
        url = f"{host.url}{WEBHOOKS}/instances/{links['id']}"
        (told,) = (await finished(http, {"statusQueryGetUri": url}))["output"]
        assert (told["path"], told["size"]) == ("a.json", 3)
