import asyncio
import gc
import socket

from loom_core.adapters import identity
from loom_core.adapters.cosmos import CosmosStateStore
from loom_core.adapters.lifetime import close_with_loop
from loom_core.errors import UnavailableError
from loom_core.settings import Connection


class Client:
    def __init__(self):
        self.life = None
        self.closed = []

    def open(self):
        self.life = close_with_loop(self.close, self.life)

    async def close(self):
        await asyncio.sleep(0)
        self.closed.append(asyncio.get_running_loop())


def test_a_client_is_closed_on_its_loop_when_that_ends():
    client = Client()

    async def use():
        client.open()
        await asyncio.sleep(0)
        assert client.closed == []
        return asyncio.get_running_loop()

    assert asyncio.run(use()) is client.closed[0]
    assert len(client.closed) == 1


async def test_a_client_that_nobody_keeps_is_closed():
    client = Client()
    client.open()

    client.life = None
    gc.collect()
    async with asyncio.timeout(5):
        while not client.closed:
            await asyncio.sleep(0)

    assert len(client.closed) == 1


def test_a_client_that_is_used_on_a_second_loop_is_closed_with_that_too():
    client = Client()

    async def use():
        client.open()
        client.open()
        return asyncio.get_running_loop()

    loops = [asyncio.run(use()), asyncio.run(use())]

    assert client.closed == loops


def test_first_calls_at_once_may_be_on_a_second_loop_too():
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        text = f"AccountEndpoint=http://127.0.0.1:{unheard.getsockname()[1]};AccountKey=eA=="
        store = CosmosStateStore(
            Connection(connection_string=text), database="loom", container="state", tenant="t"
        )

        async def use():
            return await asyncio.gather(*(store.read("p", "x") for _ in range(5)), return_exceptions=True)

        for _ in range(2):
            assert {type(result) for result in asyncio.run(use())} == {UnavailableError}


async def test_whoever_asks_once_the_credential_is_being_closed_gets_one_that_stays_open():
    before = identity.credential()
    closing = asyncio.create_task(identity.close_credential())
    await asyncio.sleep(0)
    after = identity.credential()
    await closing

    assert identity.credential() is after is not before
    await identity.close_credential()
