"""Loom's own app on Azure's three services, chosen by settings alone: `loom dev` over the test servers."""

import asyncio
import json
import signal
from contextlib import AsyncExitStack

import aiohttp
import pytest
import pytest_asyncio

from loom_core.ports.queue import QueueMessage
from loom_core.settings import connection
from tests.crash.bank_rounds import HERE, QUEUES
from tests.crash.host import Host
from tests.emulators.services import azure

LONG = "x" * 100_000
PIPELINE = {
    "name": "doubled",
    "stages": [
        {
            "name": "Each",
            "mode": "scatter",
            "activity": "double",
            "scatter": {"input": "$.numbers[*]", "as": "number"},
            "input": "$.number",
            "config": {"concurrency": 8},
        },
        {"name": "Kept", "actor": {"type": "Account", "key": "from-a-pipeline"}, "input": {"cents": 7}},
    ],
    "output": {"doubled": "$.stages.Each", "note": "$.note", "cents": "$.stages.Kept"},
}


class App:
    """The host, asked over HTTP, and the services under it."""

    def __init__(self, services, host, session, settings):
        self.services, self.host, self._session, self.settings = services, host, session, settings

    async def ask(self, method, path, body=None, **headers):
        url = self.host.url + path
        async with self._session.request(method, url, json=body, headers=headers) as response:
            text = await response.text()
            assert response.status < 300, f"{method} {path}: {response.status} {text}"
            return json.loads(text)

    async def until(self, path, holds):
        """The answer, once it is as wanted."""
        async with asyncio.timeout(30):
            while not holds(answer := await self.ask("GET", path)):
                await asyncio.sleep(0.1)
        return answer


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def app(tmp_path_factory):
    folder = tmp_path_factory.mktemp("azure")
    async with AsyncExitStack() as stack:
        services = await stack.enter_async_context(azure(folder, QUEUES))
        host = await stack.enter_async_context(Host(HERE / "bank", folder / "data", folder / "host.log"))
        settings = {"LOOM_DATA": str(folder / "data"), **services.settings}
        await host.start(settings)
        session = await stack.enter_async_context(aiohttp.ClientSession())
        yield App(services, host, session, settings)


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_pipeline_with_an_actor_and_large_values_runs(app):
    await app.ask("PUT", "/api/pipelines/doubled", PIPELINE)

    run = await app.ask(
        "POST",
        "/api/pipelines/doubled/runs",
        {"input": {"numbers": list(range(50)), "note": LONG}},
        Prefer="wait=60",
    )

    assert run["status"] == "completed", run
    assert run["output"]["doubled"] == [2 * number for number in range(50)]
    assert run["output"]["cents"] == 100_07
    (blob,) = await blobs(app, "payloads/")
    assert run["output"]["note"] in (LONG, {"$ref": blob, "bytes": len(LONG)})


async def test_a_conversation_goes_over_http_and_queues_and_outlives_the_host(app):
    said = {"messageId": "first", "payload": {"cents": 5}}
    for _ in range(2):
        answer = await app.ask("POST", "/api/actors/Account/ada/messages", said, Prefer="wait=30")
        assert answer["results"][0]["result"] == 100_05
    letter = {"actorId": "Account/ada", "payload": {"cents": 10}}
    mail = QueueMessage(body=letter, message_id="by-mail", session_id="Account/ada")
    await app.services.broker.send("actors", [mail, mail])
    await app.until("/api/actors/Account/ada", lambda actor: actor["state"]["cents"] == 100_15)

    await app.host.end(signal.SIGKILL)
    await app.host.start(app.settings)
    order = {
        "id": "t-1",
        "from": "Account/ada".partition("/")[2],
        "to": "bob",
        "cents": 100,
        "ledger": "Ledger/l",
    }
    answer = await app.ask("POST", "/api/actors/Transfer/t/messages", {"payload": order}, Prefer="wait=30")

    assert answer["results"][0]["result"] == "moved"
    ada = await app.ask("GET", "/api/actors/Account/ada")
    assert ada["state"] == {"cents": 99_15}
    journal = await app.ask("GET", "/api/actors/Account/ada/journal")
    changes = [entry["seq"] for entry in journal["entries"] if entry["type"] == "state_patches"]
    then = await app.ask("GET", f"/api/actors/Account/ada/state?at={changes[1]}")
    assert then["state"] == {"cents": 100_05}
    tally = app.host.data / "tally.txt"
    async with asyncio.timeout(30):
        while not (tally.exists() and '"payload":"t-1"' in tally.read_text().replace(" ", "")):
            await asyncio.sleep(0.1)


async def test_what_no_actor_takes_is_among_the_dead_letters(app):
    await app.services.broker.send("actors", [QueueMessage(body="what?", message_id="odd", session_id="s")])

    letters = await app.until("/api/deadletters", lambda found: found["deadLetters"])

    (letter,) = letters["deadLetters"]
    whole = await app.ask("GET", f"/api/deadletters/{letter['id']}")
    assert (whole["source"], whole["message"]) == ("mailbox", {"payload": "what?", "messageId": "odd"})


async def blobs(app, prefix):
    from loom_core.adapters.azure_blob import AzureBlobStore

    store = AzureBlobStore(connection(app.settings, ["Blobs"], ""), container="loom")
    try:
        return await store.list(prefix)
    finally:
        await store.aclose()
