"""Faults, clock and statistics over HTTP, for tests in other processes."""

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web

from tests.emulators.servicebus.errors import ServiceBusError
from tests.emulators.servicebus.server import Server

MAX_ADVANCE = 10 * 365 * 86400


def _stats(server: Server) -> dict[str, Any]:
    return {
        "operations": server.stats.listed(),
        "entities": {
            queue.name: {
                "messages": len(queue.messages),
                "locked": len(queue.locks),
                "receivers": len(queue.receivers),
            }
            for queue in server.broker.queues()
        },
    }


def _add_fault(server: Server, values: dict[str, Any]) -> list[dict[str, Any]]:
    """`{"seed": n}`, `{"now": "drop"|"detach"|"expire", "entity"?}`, or the fields of a Fault."""
    if "seed" in values:
        server.faults.seed(values["seed"])
    elif "now" in values:
        entity = values.get("entity")
        match values["now"]:
            case "drop":
                server.drop_connections()
            case "detach":
                server.detach_links(entity)
            case "expire":
                server.expire_locks(entity)
            case other:
                raise ValueError(f"nothing can be done now that is called {other!r}")
    else:
        server.faults.add(**values)
    return server.faults.listed()


def _advance(server: Server, values: dict[str, Any]) -> dict[str, float]:
    seconds = values.get("advance")
    if not isinstance(seconds, int | float) or not 0 <= seconds <= MAX_ADVANCE:
        raise ValueError(f"advance is a number of seconds up to {MAX_ADVANCE}")
    server.advance(seconds)
    return {"now": server.broker.now(), "offset": server.broker.clock.offset}


async def _body(request: web.Request) -> dict[str, Any]:
    values = json.loads(await request.text())
    if not isinstance(values, dict):
        raise TypeError("a JSON object is needed")
    return values


@web.middleware
async def _refuse(request: web.Request, handler: Any) -> web.StreamResponse:
    try:
        return await handler(request)
    except (ValueError, TypeError, ServiceBusError) as error:
        return web.json_response({"error": str(error)}, status=400)


class _Pages:
    def __init__(self, server: Server) -> None:
        self._server = server

    async def faults(self, request: web.Request) -> web.Response:
        if request.method == "POST":
            return web.json_response(_add_fault(self._server, await _body(request)))
        if request.method == "DELETE":
            self._server.faults.clear()
        return web.json_response(self._server.faults.listed())

    async def clock(self, request: web.Request) -> web.Response:
        values = await _body(request) if request.method == "POST" else {"advance": 0}
        return web.json_response(_advance(self._server, values))

    async def stats(self, request: web.Request) -> web.Response:
        if request.method == "DELETE":
            self._server.stats.reset()
        return web.json_response(_stats(self._server))


def _app(server: Server) -> web.Application:
    app, pages = web.Application(middlewares=[_refuse]), _Pages(server)
    for path, handler in (("/_faults", pages.faults), ("/_clock", pages.clock), ("/_stats", pages.stats)):
        app.router.add_route("*", path, handler)
    return app


@contextlib.asynccontextmanager
async def serve_admin(server: Server, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[int]:
    """Give the port."""
    runner = web.AppRunner(_app(server), access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
