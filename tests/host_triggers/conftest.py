import asyncio
import types
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import azure.functions as func
import pytest
from azure_functions_runtime import handle_event
from azure_functions_runtime.bindings import meta

from loom_local.broker import Broker
from loom_local.database import Database
from loom_local.host.function import Function
from loom_local.host.functions import FunctionApp, _describe

HOST = FunctionApp({}, http_v2=False)
invoke = HOST.invoke


@pytest.fixture(scope="session", autouse=True)
def pools():
    HOST.open(client_binding="", activity_threads=1)
    yield
    HOST.close()


def index(app: func.FunctionApp) -> list[Function]:
    """Index an app with the library that the cloud's worker uses."""
    meta.load_binding_registry()
    protos = types.SimpleNamespace(BindingInfo=types.SimpleNamespace(undefined=0, out=1, inout=2))
    add = handle_event._functions.add_indexed_function
    return [_describe(indexed, add(function=indexed, protos=protos)) for indexed in app.get_functions()]


def function(name: str, **trigger: object) -> Function:
    return Function(name, trigger, (), None)


async def until(condition: Callable[[], object]) -> None:
    """Wait for what has no event of its own."""
    while not condition():
        await asyncio.sleep(0.005)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database.open(tmp_path / "loom.db", durable=False)
    yield database
    database.close()


@pytest.fixture
async def broker(database: Database) -> AsyncIterator[Broker]:
    broker = Broker(database)
    await broker.tick()
    yield broker
    await broker.drain()


@pytest.fixture
async def http():
    async with aiohttp.ClientSession() as session:
        yield session
