"""A function app, running: its functions on the engine, HTTP, timers, queues and blobs."""

import asyncio
import os
import socket
import sys
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from loom_core.adapters.embedded import lend
from loom_core.errors import LoomError, UnavailableError
from loom_local.host.access import Access, is_loopback
from loom_local.host.client_binding import client_binding
from loom_local.host.containers import write_list
from loom_local.host.exchange import Reply, Request
from loom_local.host.function import Function, durable_name
from loom_local.host.functions import FunctionApp
from loom_local.host.http import MAX_BODY, Endpoint, HttpFront, endpoints
from loom_local.host.replay import Pace, install
from loom_local.host.server import WebServer, origin
from loom_local.host.settings import HostJson, load_app_settings
from loom_local.host.worker import HostWorker

DATABASE = "loom.db"


@dataclass(frozen=True, slots=True)
class HostOptions:
    """How to host an app. `data` holds everything that must survive; `key` is needed beyond loopback."""

    app: Path
    data: Path
    key: str | None = None
    durable: bool = True
    max_body: int = MAX_BODY
    activity_threads: int = min(32, (os.cpu_count() or 1) + 4)


class Feed(Protocol):
    """Something that brings work to the app."""

    async def stop(self, grace: float) -> None:
        """Bring no more, and let what runs end within `grace` seconds."""
        ...


class Host:
    """Hosts one app on a socket that listens already. `start` once, `stop` once.

    The constructor indexes the app: it raises AppError or InvalidError for an app that Azure would refuse,
    and LoomError for a listener that others can reach without a key or data that cannot be written.
    """

    def __init__(self, options: HostOptions, listener: socket.socket) -> None:
        self._options = options
        self._listener = listener
        bound = listener.getsockname()[0]
        if not is_loopback(bound) and not options.key:
            raise LoomError(
                f"{bound} can be reached by others: set LOOM_API_KEY or give --api-key-file, "
                "and send the key as x-functions-key"
            )
        self._access = Access(options.key, is_loopback(bound))
        _make_writable(options.data)
        os.environ.setdefault("LOOM_DATA", str(options.data))
        load_app_settings(options.app)
        self.settings = HostJson.read(options.app)
        self._lendable = False
        lend(self._lend_queue)
        self.app = FunctionApp.load(options.app)
        self.endpoints: list[Endpoint] = endpoints(self.app, self.settings.route_prefix)
        self._server: WebServer | None = None
        self._sidecar: Any = None
        self._broker: Any = None
        self._lent: Any = None
        self._namespaces = ""
        self._opening = threading.Lock()
        self._feeds: list[Feed] = []

    @property
    def url(self) -> str:
        return origin(self._listener)

    async def start(self) -> None:
        """Open the data, take up the work that was left, and serve.

        Raises what `Sidecar.start` raises, or InvalidError for a trigger that cannot run.
        """
        try:
            await self._start()
        except BaseException:
            await self.stop(0.0)
            raise

    async def stop(self, grace: float) -> None:
        """Take no new work, let what runs end within `grace` seconds, and close the data.

        What does not end in time is cut off: its work items run again at the next start.
        """
        if self._server is not None:
            self._server.close()
        await asyncio.gather(*(feed.stop(grace / 2) for feed in self._feeds))
        if self._broker is not None:
            await self._sidecar.on_engine(self._broker.drain)()
        if self._server is not None:
            await self._server.closed()
        if self._sidecar is not None:
            await self._sidecar.stop(grace / 2)
        self._lendable = False
        self.app.close()

    async def _start(self) -> None:
        from loom_local.sidecar.service import Sidecar  # noqa: PLC0415  cold start: it brings grpc

        if "azure.durable_functions" in sys.modules:
            install(Pace())
        worker = HostWorker(self.app)
        sidecar = Sidecar(self._options.data / DATABASE, worker, durable=self._options.durable)
        await sidecar.start()
        self._sidecar = sidecar
        binding = client_binding(
            rpc_address=sidecar.address,
            origin=self.url,
            hub=self.settings.hub_name,
            key=self._access.webhook_key,
        )
        self.app.open(client_binding=binding, activity_threads=self._options.activity_threads)
        # What async activities hand to threads (`asyncio.to_thread`) is held to the same number of them.
        asyncio.get_running_loop().set_default_executor(self.app.activity_threads)
        # Queues are declared before anybody can send: a first message would make one of another kind.
        await self._start_queues()
        self._lendable = True
        worker.open()
        front = HttpFront(
            self.app,
            self.endpoints,
            access=self._access,
            webhooks=self._webhooks(binding),
            admin=self._admin,
            max_body=self._options.max_body,
        )
        await self._start_timers()
        self._start_blobs()
        self._server = WebServer(front, self._listener)
        await self._server.start()
        self._feeds.append(front)

    async def _start_timers(self) -> None:
        if functions := self.app.of_kind("timerTrigger"):
            from loom_local.host.timers import Timers  # noqa: PLC0415  cold start

            timers = Timers(functions, self.app.invoke, self._sidecar.database)
            timers.start()
            self._feeds.append(timers)

    async def _start_queues(self) -> None:
        functions = self.app.of_kind("serviceBusTrigger")
        if not functions:
            return
        from loom_local.host.queues import QueueOptions, QueueTriggers  # noqa: PLC0415  cold start

        options = QueueOptions.of(self.settings.document)
        if os.environ.get("LOOM_QUEUE") == "servicebus":
            from loom_local.host.namespace import NamespaceTriggers  # noqa: PLC0415  cold start

            queues = NamespaceTriggers(functions, self.app.invoke, options=options)
            self._namespaces = queues.names
        else:
            broker, on_engine = self._open_broker(), self._sidecar.on_engine
            queues = QueueTriggers(
                functions, self.app.invoke, broker=broker, on_engine=on_engine, options=options
            )
        await queues.start()
        self._feeds.append(queues)

    def _start_blobs(self) -> None:
        functions, folders = self.app.of_kind("blobTrigger"), set[Path]()
        if functions:
            from loom_local.host.blobs import BlobOptions, BlobTriggers  # noqa: PLC0415  cold start

            options = BlobOptions.of(self.settings.document)
            blobs = BlobTriggers(
                functions, self.app.invoke, self._sidecar.database, app=self._options.app, options=options
            )
            blobs.start()
            self._feeds.append(blobs)
            folders = blobs.folders
        write_list(self._options.data, folders)

    def _open_broker(self) -> Any:
        from loom_local.broker import Broker  # noqa: PLC0415  cold start

        with self._opening:
            if self._broker is None:
                self._broker = Broker(self._sidecar.database)
                # What was scheduled before the last stop comes even if no trigger waits for it.
                asyncio.run_coroutine_threadsafe(self._broker.tick(), self._sidecar.loop)
            return self._broker

    def _lend_queue(self) -> Any:
        """Give the app its queue, on whatever thread it asks."""
        from loom_local.host.lent_queue import LentQueue  # noqa: PLC0415  cold start

        if not self._lendable:
            raise UnavailableError("the queues cannot be used while the host starts or stops")
        broker = self._open_broker()
        with self._opening:
            if self._lent is None:
                self._lent = LentQueue(broker, self._sidecar.from_any_loop)
            return self._lent

    def _webhooks(self, binding: str) -> Any:
        from loom_local.host.webhooks import Webhooks  # noqa: PLC0415  cold start

        servicer = self._sidecar.servicer

        async def history(request: Any) -> list[Any]:
            return [event async for chunk in servicer.history(request) for event in chunk.events]

        return Webhooks(
            self._sidecar.call,
            self._sidecar.on_engine(history),
            orchestrators={durable_name(function) for function in self.app.of_kind("orchestrationTrigger")},
            binding=binding,
        )

    async def _admin(self, request: Request) -> Reply:
        match request.method, request.path.rstrip("/"):
            case "GET", "/admin/host/status":
                return Reply(200, {"state": "Running", "hub": self.settings.hub_name})
            case "GET", "/admin/functions":
                return Reply(200, [describe(function) for function in self.app.functions.values()])
        if request.path.startswith("/admin/queues") and self._namespaces:
            detail = f"the queues of this app live in {self._namespaces}: look at them there"
            return Reply(409, {"type": "about:blank", "title": "Conflict", "status": 409, "detail": detail})
        if request.path.startswith("/admin/queues"):
            from loom_local.host.queue_admin import QueueAdmin  # noqa: PLC0415  cold start

            admin = QueueAdmin(self._open_broker(), self._sidecar.on_engine)
            answer = await admin.answer(request.method, request.path, request.query, request.body)
            if answer is not None:
                return Reply(*answer)
        return Reply(404)


def _make_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise LoomError(
            f"cannot keep data in {folder}: {error.strerror}; choose another folder with --data"
        ) from error


def describe(function: Function) -> Mapping[str, Any]:
    """Describe a function as /admin/functions lists it."""
    return {
        "name": function.name,
        "trigger": dict(function.trigger),
        "bindings": [dict(binding) for binding in function.bindings],
        "disabled": function.disabled,
    }
