"""Who may ask, and for what: signatures with the account's key, and Entra tokens over TLS."""

import base64
import ssl
import time

import aiohttp
import pytest
import pytest_asyncio
from azure.core.credentials import AccessToken
from azure.cosmos import PartitionKey, exceptions
from azure.cosmos.aio import CosmosClient

from tests.emulators.certificates import self_signed
from tests.emulators.cosmos import serve, unsigned_token

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "type%3Dmaster%26ver%3D1.0%26sig%3D" + base64.b64encode(b"x" * 32).decode()},
        {"authorization": "type=resource&ver=1.0&sig=x"},
    ],
)
async def test_whoever_has_not_signed_with_the_key_is_refused(server, headers):
    async with (
        aiohttp.ClientSession(server.endpoint) as session,
        session.get("/dbs", headers={"x-ms-date": "Sat, 21 Nov 2026 16:00:00 GMT", **headers}) as answer,
    ):
        assert answer.status == 401


class Credential:
    async def get_token(self, scope, **_options):
        return AccessToken(unsigned_token(scope.removesuffix("/.default")), int(time.time()) + 600)

    async def close(self):
        pass


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tls(tmp_path_factory):
    cert, key = self_signed(tmp_path_factory.mktemp("tls"), "localhost", "127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    async with serve(tls=context) as server:
        yield server, cert


async def test_tls_and_entra_tokens_are_enough_for_items_but_not_for_containers(tls):
    server, cert = tls
    async with CosmosClient(server.endpoint, server.key, connection_verify=cert) as client:
        database = await client.create_database("d")
        await database.create_container("c", PartitionKey("/pk"))
    async with CosmosClient(server.endpoint, Credential(), connection_verify=cert) as client:
        container = client.get_database_client("d").get_container_client("c")
        await container.create_item({"id": "1", "pk": "a"})
        assert [item["id"] async for item in container.query_items("SELECT * FROM c", partition_key="a")] == [
            "1"
        ]
        with pytest.raises(exceptions.CosmosHttpResponseError) as caught:
            await client.create_database("another")
        assert (caught.value.status_code, caught.value.sub_status) == (403, 5300)


@pytest.mark.parametrize(
    "bearer",
    [unsigned_token("https://elsewhere"), unsigned_token("https://localhost", expires_in=-1), "not a token"],
    ids=["for others", "expired", "not a token"],  # not the tokens, which have the time in them
)
async def test_tokens_for_others_and_expired_ones_are_401(server, bearer):
    headers = {"authorization": f"type=aad&ver=1.0&sig={bearer}"}
    async with (
        aiohttp.ClientSession(server.endpoint.replace("127.0.0.1", "localhost")) as session,
        session.get("/dbs", headers=headers) as answer,
    ):
        assert answer.status == 401, await answer.text()
