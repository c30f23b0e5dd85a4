"""Cosmos DB with an endpoint: TLS and the managed identity, as an app in Azure has them."""

import asyncio
import base64
import json
import os
import ssl
import sys
import time

import pytest
from aiohttp import web
from azure.cosmos.aio import CosmosClient
from azure.cosmos.documents import DatabaseAccount

from loom_core.adapters.cosmos import account, container
from loom_core.errors import UnavailableError
from tests.emulators.certificates import self_signed
from tests.emulators.cosmos import serve

# This machine too, but the SDK checks no certificate of 127.0.0.1.
STRONG, WEAK, IMPOSTOR, STRANGER = "127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5"
HEADER = "c2VjcmV0IG9mIHRoZSBwbGF0Zm9ybQ"
APP = """
import asyncio, json, sys
from loom_core.adapters.cosmos import CosmosStateStore
from loom_core.adapters.identity import close_credential
from loom_core.errors import UnavailableError
from loom_core.ports.state import Put
from loom_core.settings import Connection

async def told(endpoint):
    store = CosmosStateStore(Connection(endpoint=endpoint), database="loom", container="state", tenant="t")
    try:
        await store.write("p", [Put("x", {"n": 1}), Put("y", {})])
        return (await store.read("p", "x")).body
    except UnavailableError as error:
        return str(error)
    finally:
        await store.aclose()

async def main():
    found = [await told(endpoint) for endpoint in sys.argv[1:]]
    await close_credential()
    print(json.dumps(found))

asyncio.run(main())
"""


@pytest.fixture
def certificate(tmp_path):
    return self_signed(tmp_path, STRONG, WEAK)


def token(audience):
    claims = {"aud": audience, "exp": int(time.time()) + 3600, "oid": "app"}
    parts = ({"alg": "none"}, claims)
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
    return ".".join([*encoded, "unsigned"])


@pytest.fixture
async def platform():
    """What gives tokens to the identity of a Functions app, but none for a stranger: its URL and its log."""
    asked = []

    async def answer(request):
        resource = request.query["resource"]
        asked.append((resource, request.headers["X-IDENTITY-HEADER"]))
        if STRANGER in resource:
            return web.json_response({"error": "invalid_resource"}, status=400)
        expires = str(int(time.time()) + 3600)
        return web.json_response(
            {
                "access_token": token(resource),
                "expires_on": expires,
                "resource": resource,
                "token_type": "Bearer",
            }
        )

    app = web.Application()
    app.router.add_get("/token", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/token", asked
    await runner.cleanup()


async def test_an_app_works_by_its_identity_alone_on_an_account_that_keeps_the_promises(
    certificate, platform
):
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(*certificate)
    url, asked = platform
    async with (
        serve(host=STRONG, tls=tls, consistency="BoundedStaleness") as strong,
        serve(host=WEAK, tls=tls) as weak,
        serve(host=IMPOSTOR, tls=tls, consistency="Strong") as impostor,
    ):
        async with CosmosClient(strong.endpoint, strong.key, connection_verify=False) as deployment:
            await container.create(deployment, "loom", "state")
        endpoints = [strong.endpoint, weak.endpoint, impostor.endpoint, f"https://{STRANGER}/"]
        environment = {
            "IDENTITY_ENDPOINT": url,
            "IDENTITY_HEADER": HEADER,
            "AZURE_TOKEN_CREDENTIALS": "ManagedIdentityCredential",
            "SSL_CERT_FILE": str(certificate[0]),
        }
        app = await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "error", "-c", APP, *endpoints),
            env=os.environ | environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await app.communicate()

    assert app.returncode == 0, output.decode()
    written, refused, untrusted, tokenless = json.loads(output.splitlines()[-1])
    assert written == {"n": 1}
    assert "Session consistency" in refused
    assert "BoundedStaleness" in refused
    assert "cannot be reached: ClientConnectorCertificateError" in untrusted
    assert "no token for Cosmos DB" in tokenless
    assert {header for _, header in asked} == {HEADER}
    assert HEADER not in output.decode()


async def test_an_account_that_takes_writes_in_several_regions_is_refused():
    class Client:
        async def _get_database_account(self):
            found = DatabaseAccount()
            found.ConsistencyPolicy = {"defaultConsistencyLevel": "BoundedStaleness"}
            found._EnableMultipleWritableLocations = True
            return found

    with pytest.raises(UnavailableError, match="one write region"):
        await account._check_consistency(Client())
