"""What stands between an adapter and a service over HTTP, and breaks what a test says.

async with Wire(azurite.url) as wire:
    wire.next("lose", "PUT")        # the next PUT is carried out, and its answer never comes
    …                               # against wire.url
wire.seen                           # [("PUT", "/devstoreaccount1/test/x"), …]
"""

import asyncio
import io
from collections.abc import Awaitable, Callable
from typing import Literal, NamedTuple, Self

import aiohttp
from aiohttp import web
from yarl import URL

type Kind = Literal["lose", "busy", "hang", "damage", "cut"]
"""The answer is lost; the service is busy (503) and does nothing; no answer comes, ever; a byte of the answer
is another one; the connection ends in the middle of the answer."""

_OF_A_HOP = {"connection", "host", "keep-alive", "transfer-encoding"}


class Seen(NamedTuple):
    method: str
    path: str
    comp: str = ""


class Wire:
    def __init__(self, target: str) -> None:
        self.seen: list[Seen] = []
        self.before: Callable[[Seen], Awaitable[object]] | None = None
        """Called before a request is passed on."""
        self._target = target
        self._planned: list[tuple[Kind, str, str]] = []

    def next(self, kind: Kind, method: str, comp: str = "", times: int = 1) -> None:
        """Plan what happens to the next requests of this method and `comp` parameter."""
        self._planned += [(kind, method, comp)] * times

    async def __aenter__(self) -> Self:
        signed = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
        self._session = aiohttp.ClientSession(auto_decompress=False, skip_auto_headers=signed)
        app = web.Application(client_max_size=2**27)
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()
        await self._session.close()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        seen = Seen(request.method, request.path, request.query.get("comp", ""))
        self.seen.append(seen)
        if self.before:
            await self.before(seen)
        kind = self._take(seen)
        if kind == "busy":
            return web.Response(status=503, headers={"x-ms-error-code": "ServerBusy"})
        if kind == "hang":
            await asyncio.Event().wait()
        return await self._pass_on(request, body, kind)

    def _take(self, seen: Seen) -> Kind | None:
        for planned in self._planned:
            kind, method, comp = planned
            if (method, comp) == (seen.method, seen.comp):
                self._planned.remove(planned)
                return kind
        return None

    async def _pass_on(self, request: web.Request, body: bytes, kind: Kind | None) -> web.StreamResponse:
        url = URL(self._target + request.raw_path, encoded=True)
        headers = {k: v for k, v in request.headers.items() if k.lower() not in _OF_A_HOP}
        given = io.BytesIO(body) if body else None
        async with self._session.request(request.method, url, data=given, headers=headers) as answer:
            said = bytearray(await answer.read())
            kept = {k: v for k, v in answer.headers.items() if k.lower() not in _OF_A_HOP}
        if kind == "damage":
            said[len(said) // 2] ^= 1
        response = web.StreamResponse(status=answer.status, headers=kept)
        if kind == "lose":
            self._drop(request)
            return response
        await response.prepare(request)
        if kind == "cut":
            await response.write(bytes(said[: len(said) // 2]))
            self._drop(request)
        elif request.method != "HEAD":
            await response.write(bytes(said))
        return response

    @staticmethod
    def _drop(request: web.Request) -> None:
        if request.transport:
            request.transport.abort()
