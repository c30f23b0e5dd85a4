"""The engine on its own thread and loop, so that user code which blocks can never stall it."""

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import grpc.aio
from google.protobuf.message import Message

from loom_local.database import Database
from loom_local.engine.bridge import Bridge
from loom_local.engine.engine import Engine
from loom_local.engine.worker import ActivityCall, ActivityOutcome, EngineLimits, Worker
from loom_local.sidecar.channel import directory
from loom_local.sidecar.grpc_front import bind
from loom_local.sidecar.servicer import Servicer


class _FarWorker:
    """The host's worker as the engine sees it: on another loop, behind the bridge."""

    def __init__(self, worker: Worker, bridge: Bridge) -> None:
        self._orchestrator = bridge.function(worker.run_orchestrator)
        self._activity = bridge.function(worker.run_activity)
        self._entity = bridge.function(worker.run_entity)

    async def run_orchestrator(self, name: str, request: bytes) -> bytes:
        return await self._orchestrator(name, request)

    async def run_activity(self, call: ActivityCall) -> ActivityOutcome:
        return await self._activity(call)

    async def run_entity(self, name: str, request: bytes) -> bytes:
        return await self._entity(name, request)


class Sidecar:
    """The engine with its database and its two fronts. Start and stop it from the host's loop."""

    def __init__(
        self, path: Path, worker: Worker, *, durable: bool = True, limits: EngineLimits | None = None
    ) -> None:
        self._path = path
        self._worker = worker
        self._durable = durable
        self._limits = limits
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="loom-engine", daemon=True)
        self.database: Database
        self.engine: Engine
        self.servicer: Servicer
        self._server: grpc.aio.Server
        self.address = ""
        """`127.0.0.1:PORT` of the gRPC front."""
        self._bridge: Bridge
        self._host: asyncio.AbstractEventLoop

    async def start(self) -> None:
        """Open the file, listen, and take up the work that is in it.

        The worker may be called before this returns; `address` is known by then. Raises
        DatabaseLockedError, DatabaseTooNewError or DatabaseUnusableError.
        """
        host = self._host = asyncio.get_running_loop()
        self._bridge = Bridge(host, self.loop)
        self._thread.start()
        try:
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._open(host), self.loop))
        except BaseException:
            self._end()
            raise

    async def stop(self, grace: float) -> None:
        """Begin no more work, give what runs `grace` seconds, commit, and close the file."""
        directory.remove(self.address)
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._close(grace), self.loop))
        self._end()

    def on_engine[**P, T](self, function: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Awaitable[T]]:
        """Make a coroutine function of the engine's loop callable from the host's."""
        return self._bridge.function(function)

    def from_any_loop[**P, T](
        self, function: Callable[P, Coroutine[Any, Any, T]]
    ) -> Callable[P, Awaitable[T]]:
        """As `on_engine`, also for user code that runs a loop of its own on its thread."""
        near = self.on_engine(function)

        async def call(*args: P.args, **kwargs: P.kwargs) -> T:
            if asyncio.get_running_loop() is self._host:
                return await near(*args, **kwargs)
            far = asyncio.run_coroutine_threadsafe(function(*args, **kwargs), self.loop)
            return await asyncio.wrap_future(far)

        return call

    async def call(self, method: str, request: Message) -> Message:
        """One call of TaskHubSidecarService from the host's loop. Raises RpcFailedError."""
        return await self.on_engine(self.servicer.call)(method, request)

    async def _open(self, host: asyncio.AbstractEventLoop) -> None:
        async with contextlib.AsyncExitStack() as undo:
            self.database = Database.open(self._path, durable=self._durable)
            undo.callback(self.database.close)
            worker = _FarWorker(self._worker, Bridge(self.loop, host))
            self.engine = Engine(self.database, worker, self._limits)
            self.servicer = Servicer(self.engine)
            self._server, port = bind(self.servicer)
            undo.push_async_callback(self._server.stop, 0)
            self.address = f"127.0.0.1:{port}"
            await (
                self.engine.start()
            )  # before anybody can call: sequence numbers go on from those in the file
            directory.add(self.address, self.servicer, self.loop)
            await self._server.start()
            undo.pop_all()

    async def _close(self, grace: float) -> None:
        await self.engine.stop(grace)
        await self._server.stop(0)
        self.database.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()
        self.loop.close()

    def _end(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
