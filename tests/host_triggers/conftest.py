import asyncio
import json
import types
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import azure.functions as func
import azure_functions_runtime as runtime
import pytest
from azure_functions_runtime import handle_event, native_invocation
from azure_functions_runtime.bindings import meta
from azure_functions_runtime.bindings.datumdef import Datum

from loom_local.broker import Broker
from loom_local.database import Database


@dataclass(frozen=True, slots=True, eq=False)
class Function:
    name: str
    trigger: dict[str, Any]
    info: Any


def index(app: func.FunctionApp) -> list[Function]:
    """Index an app with the library that the cloud's worker uses."""
    meta.load_binding_registry()
    runtime.start_threadpool_executor()
    directions = types.SimpleNamespace(BindingInfo=types.SimpleNamespace(undefined=0, out=1, inout=2))
    functions = []
    for indexed in app.get_functions():
        info = handle_event._functions.add_indexed_function(function=indexed, protos=directions)
        trigger = json.loads(indexed.get_raw_bindings()[0])
        functions.append(Function(info.name, trigger, info))
    return functions


async def invoke(function: Function, value: Any, *, kind: str, metadata: Any = None) -> None:
    """Call a function as the worker does, through its own binding converters."""
    inputs = [(function.trigger["name"], Datum(value, kind))]
    data = {name: Datum(*datum) for name, datum in (metadata or {}).items()}
    arguments = native_invocation._decode_inputs(function.info, inputs, data)
    invocation = str(uuid.uuid4())
    context = native_invocation._prepare_context(function.info, invocation, arguments)
    if function.info.is_async:
        result = await function.info.func(**arguments)
    else:
        pool, run = runtime.get_threadpool_executor(), native_invocation.run_sync_func
        result = await asyncio.get_running_loop().run_in_executor(
            pool, run, invocation, context, function.info.func, arguments
        )
    native_invocation._check_return(function.info, result)


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
