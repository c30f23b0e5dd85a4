"""The HTTP application over runs that live in a dictionary."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime

import httpx
import pytest

from loom_core.adapters.memory import MemoryStateStore
from loom_core.catalogue.catalogue import Catalogue
from loom_core.catalogue.pipeline import Pipeline, read
from loom_core.clients.run import Page, Run, keyed_run_id, new_run_id
from loom_core.errors import ConflictError, NotFoundError, Problem, UnavailableError
from loom_core.http.application import Delegate, application
from tests.http.world import World


def definition(name, **more):
    return {"name": name, "stages": [{"name": "Only", "activity": "noop"}], **more}


SHIPPED = {
    "audit": Pipeline("audit", "v1", definition("audit"), warnings=(Problem("$.stages", "no concurrency"),)),
    "noop": read(definition("noop")),
    "strict": read(definition("strict", input={"properties": {"path": {"type": "string"}}})),
}


class MemoryRuns:
    """Implements `Runs`; `change` plays the engine."""

    def __init__(self):
        self.runs, self.requests, self.events, self.controls, self.is_up = {}, {}, [], [], True
        self.started = []
        self._changed = asyncio.Condition()

    async def change(self, run_id, **fields):
        self.runs[run_id] = replace(self.runs[run_id], **fields)
        async with self._changed:
            self._changed.notify_all()

    async def start(self, start, key=None):
        run_id = new_run_id() if key is None else keyed_run_id(start.pipeline, key)
        if run_id in self.runs:
            if self.requests[run_id] != start.request:
                raise ConflictError("this Idempotency-Key belongs to another input")
            return run_id, False
        self.started.append(start)
        moment = datetime(2027, 1, 1, 12, 30, tzinfo=UTC)
        self.requests[run_id] = start.request
        self.runs[run_id] = Run(
            run_id, start.pipeline, start.version, "pending", moment, moment, input=start.input
        )
        return run_id, True

    async def get(self, run_id):
        if run_id not in self.runs:
            raise NotFoundError(f"there is no run {run_id}")
        return self.runs[run_id]

    async def list(self, *, status=None, limit=50, after=None):
        if not self.is_up:
            raise UnavailableError("the durable backend answered UNAVAILABLE")
        found = [run for run in self.runs.values() if status in (None, run.status)]
        start = int(after or 0)
        end = start + limit
        return Page(tuple(found[start:end]), str(end) if end < len(found) else None)

    async def wait(self, run_id, seconds):
        try:
            async with asyncio.timeout(seconds), self._changed:
                await self._changed.wait_for(lambda: self.runs[run_id].is_finished)
        except TimeoutError:
            pass
        return self.runs[run_id]

    async def control(self, run_id, action, *, force=False):
        run = await self.get(run_id)
        self.controls.append((action, force))
        after = {"cancel": "cancelled", "suspend": "suspended"}
        status = after.get(action, "running")
        if run.is_finished and run.status != status:
            raise ConflictError(f"{run_id} is {run.status}; start a new run")
        await self.change(run_id, status=status)
        return self.runs[run_id]

    async def raise_event(self, run_id, name, payload):
        run = await self.get(run_id)
        if run.is_finished:
            raise ConflictError(f"{run_id} takes no more events")
        self.events.append((run_id, name, payload))


async def resolve(value):
    """As if one reference had been spilled: the real thing is tested with the activities."""
    if value == {"$ref": "payloads/x", "bytes": 8}:
        return "put back"
    if isinstance(value, list):
        return [await resolve(item) for item in value]
    return {key: await resolve(item) for key, item in value.items()} if isinstance(value, dict) else value


async def refer(value):
    """As if long strings were those of more than 100 characters."""
    long = isinstance(value, dict) and any(isinstance(v, str) and len(v) > 100 for v in value.values())
    return {"$ref": "payloads/x", "bytes": 8} if long else value


@pytest.fixture
def runs():
    return MemoryRuns()


def catalogue_of(store, **clocks):
    return Catalogue(SHIPPED, {"activity": {"noop"}}, store, **clocks)


def api_of(catalogue, runs, actors=None):
    inner = application(catalogue, resolve, refer)

    async def outer(scope, receive, send):
        await Delegate(inner, runs, actors)(scope | {"path_params": {"left": "over"}}, receive, send)

    transport = httpx.ASGITransport(app=outer, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://loom/api")


@pytest.fixture
def store():
    return MemoryStateStore()


@pytest.fixture
def world():
    """The actors behind the API."""
    return World()


@pytest.fixture
async def api(runs, store, world):
    async with api_of(catalogue_of(store), runs, world.actors) as client:
        yield client


@pytest.fixture
def catalogue():
    """Makes a catalogue over a store: one for each process."""
    return catalogue_of


@pytest.fixture
def client_of():
    return api_of


@pytest.fixture
async def served(runs, store):
    """The address of a real server: the in-process transport of httpx does not stream."""
    import uvicorn

    inner = application(catalogue_of(store), resolve, refer)

    async def outer(scope, receive, send):
        await Delegate(inner, runs)(scope, receive, send)

    async with serve(
        uvicorn.Server(uvicorn.Config(outer, port=0, lifespan="off", log_level="error"))
    ) as address:
        yield address


@asynccontextmanager
async def serve(server):
    import socket

    listener = socket.create_server(("127.0.0.1", 0))
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/api"
    finally:
        server.should_exit = True
        await task
        listener.close()
