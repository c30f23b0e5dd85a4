"""The HTTP front: the app's HTTP functions, the durable webhooks and /admin, as one ASGI application."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from loom_core.errors import InvalidError
from loom_local.host.access import Access
from loom_local.host.client_binding import WEBHOOKS
from loom_local.host.exchange import (
    DisconnectedError,
    Receive,
    Reply,
    Request,
    Scope,
    Send,
    TooLargeError,
    capped,
    headers_of,
    query_of,
    read_request,
    send_reply,
)
from loom_local.host.function import Function
from loom_local.host.functions import FunctionApp, HandlerError
from loom_local.host.http_v1 import reply_of, request_fields
from loom_local.host.http_v2 import refusal_of, request_of, response_of
from loom_local.host.routes import Route, compile_route

MAX_BODY = 100 * 1024 * 1024
ALL_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")

type Handler = Callable[[Request], Awaitable[Reply]]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One HTTP function: where it is, and whether its callers need a key."""

    route: Route
    methods: tuple[str, ...]
    function: Function
    anonymous: bool


def endpoints(app: FunctionApp, route_prefix: str) -> list[Endpoint]:
    """List the app's HTTP functions, the most specific route first. Raises InvalidError for a bad route."""
    found: list[Endpoint] = []
    for function in app.of_kind("httpTrigger"):
        trigger = function.trigger
        template = "/".join(
            filter(None, (route_prefix, str(trigger.get("route") or function.name).strip("/")))
        )
        methods = tuple(str(method).upper() for method in trigger.get("methods") or ALL_METHODS)
        anonymous = str(trigger.get("authLevel", "function")).lower() == "anonymous"
        try:
            found.append(Endpoint(compile_route(template), methods, function, anonymous))
        except InvalidError as error:
            raise InvalidError(f"{function.name}: {error}") from error
    return sorted(found, key=lambda endpoint: endpoint.route.rank)


class HttpFront:
    """Serves ASGI. `webhooks` and `admin` answer whole requests under their own paths."""

    def __init__(
        self,
        app: FunctionApp,
        routes: list[Endpoint],
        *,
        access: Access,
        webhooks: Handler,
        admin: Handler,
        max_body: int = MAX_BODY,
    ) -> None:
        self._app = app
        self._routes = routes
        self._access = access
        self._own = ((WEBHOOKS + "/", webhooks, True), ("/admin/", admin, False))
        self._max_body = max_body
        self._running: dict[asyncio.Task[Any], Sending] = {}
        self._stopping = False

    async def stop(self, grace: float) -> None:
        """End event streams at once, for their clients come back to the next host, the rest in `grace` s."""
        self._stopping = True
        for task, sending in self._running.items():
            if sending.is_event_stream:
                task.cancel()
        if self._running:
            await asyncio.wait(list(self._running), timeout=grace)
        for task in self._running:
            task.cancel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        task = asyncio.current_task()
        assert task is not None
        sending = self._running[task] = Sending(send)
        try:
            await self._serve(scope, capped(receive, self._max_body), sending)
        except TooLargeError:
            await sending.instead(Reply(413, f"The body is larger than {self._max_body} bytes.\n"))
        except DisconnectedError:
            pass
        except asyncio.CancelledError:
            if not self._stopping:
                raise
            await sending.instead(Reply(503, "The host is stopping.\n", (("retry-after", "1"),)))
        except Exception as error:  # noqa: BLE001  a function may raise anything; it ends this request only
            cause = error.error if isinstance(error, HandlerError) else error
            _log.error("%s %s failed", scope["method"], scope["path"], exc_info=cause)
            await sending.instead(Reply(500, "Internal Server Error\n"))
        finally:
            del self._running[task]

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = headers_of(scope)
        if refusal := self._access.refuse_caller(headers):
            await send_reply(send, refusal)
            return
        length = headers.get("content-length", "")
        if length.isdigit() and int(length) > self._max_body:
            raise TooLargeError
        for prefix, handler, webhook in self._own:
            if scope["path"].startswith(prefix):
                refusal = self._access.refuse_key(headers, query_of(scope), webhook=webhook)
                await send_reply(send, refusal or await handler(await read_request(scope, receive)))
                return
        path = scope["path"].lstrip("/")
        for endpoint in self._routes:
            if scope["method"] in endpoint.methods and (found := endpoint.route.match(path)) is not None:
                if not endpoint.anonymous and (refusal := self._access.refuse_key(headers, query_of(scope))):
                    await send_reply(send, refusal)
                    return
                serve = self._serve_v2 if self._app.http_v2 else self._serve_v1
                await serve(endpoint.function, found, scope, receive, send)
                return
        await send_reply(send, Reply(404))

    async def _serve_v1(
        self, function: Function, parameters: dict[str, str], scope: Scope, receive: Receive, send: Send
    ) -> None:
        fields = request_fields(await read_request(scope, receive), parameters, self._app.datum)
        answer = await self._app.invoke(function, fields, kind="http")
        await send_reply(send, reply_of(answer))

    async def _serve_v2(
        self, function: Function, parameters: dict[str, str], scope: Scope, receive: Receive, send: Send
    ) -> None:
        try:
            answer = await self._app.invoke(function, request_of(scope, receive, parameters), kind="request")
            response = response_of(answer)
        except HandlerError as error:
            if isinstance(error.error, TooLargeError):
                raise error.error from error
            response = refusal_of(error.error)
            if response is None:
                raise
        await response(scope, receive, send)


class Sending:
    """An ASGI send that knows how far the response has come."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._started = False
        self._ended = False
        self.is_event_stream = False

    async def __call__(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self._started = True
            kinds = [value for name, value in message["headers"] if name.lower() == b"content-type"]
            self.is_event_stream = any(kind.startswith(b"text/event-stream") for kind in kinds)
        elif message["type"] == "http.response.body":
            self._ended = not message.get("more_body")
        await self._send(message)

    async def instead(self, reply: Reply) -> None:
        """Send `reply` in place of the response; one that has begun is cut off where it is.

        An event stream may end anywhere. Anything else that is cut off must look cut off, so the
        connection is dropped by leaving the response unfinished.
        """
        if not self._started:
            await send_reply(self, reply)
        elif self.is_event_stream and not self._ended:
            await self({"type": "http.response.body", "body": b""})
