"""One HTTP exchange as plain values, and its way from and to ASGI."""

import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

type Scope = MutableMapping[str, Any]
type Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
type Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class TooLargeError(Exception):
    """The request's body exceeds the limit."""


def capped(receive: Receive, max_body: int) -> Receive:
    """Raise TooLargeError from `receive` once more than `max_body` bytes have come."""
    size = 0

    async def counted() -> MutableMapping[str, Any]:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > max_body:
            raise TooLargeError
        return message

    return counted


class DisconnectedError(Exception):
    """The client left before its request had arrived wholly."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request with its whole body.

    Header names are lower case; the values of a repeated header or parameter are joined by commas.
    """

    method: str
    url: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def origin(self) -> str:
        return self.url[: self.url.index("/", self.url.index("//") + 2)]


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: bytes go out as they are, text as text/plain, anything else but None as JSON."""

    status: int
    body: Any = None
    headers: tuple[tuple[str, str], ...] = ()


def joined(pairs: list[tuple[str, str]]) -> dict[str, str]:
    values: dict[str, str] = {}
    for name, value in pairs:
        values[name] = f"{values[name]},{value}" if name in values else value
    return values


def headers_of(scope: Scope) -> dict[str, str]:
    return joined([(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]])


def query_of(scope: Scope) -> dict[str, str]:
    return joined(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))


async def read_request(scope: Scope, receive: Receive) -> Request:
    """Collect the request. Raises what `receive` raises, and DisconnectedError."""
    headers = headers_of(scope)
    raw = scope.get("raw_path") or scope["path"].encode()
    host = headers.get("host", "localhost")
    query = scope["query_string"].decode("latin-1")
    url = f"{scope['scheme']}://{host}{raw.decode('latin-1')}{'?' if query else ''}{query}"
    body = await _read_body(receive)
    return Request(scope["method"], url, scope["path"], query_of(scope), headers, body)


async def _read_body(receive: Receive) -> bytes:
    chunks: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise DisconnectedError
        chunks.append(message.get("body", b""))
        if not message.get("more_body"):
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)


_BODILESS = frozenset({204, 304})
_OURS = frozenset({"content-length", "transfer-encoding", "connection"})


async def send_reply(send: Send, reply: Reply) -> None:
    body, kind = _encode(reply.body)
    headers = [(name.lower(), value) for name, value in reply.headers if name.lower() not in _OURS]
    if kind and not any(name == "content-type" for name, _ in headers):
        headers.append(("content-type", kind))
    if reply.status not in _BODILESS:
        headers.append(("content-length", str(len(body))))
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    await send({"type": "http.response.start", "status": reply.status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


def _encode(body: Any) -> tuple[bytes, str | None]:
    if body is None:
        return b"", None
    if isinstance(body, bytes):
        return body, None
    if isinstance(body, str):
        return body.encode(), "text/plain; charset=utf-8"
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode(), "application/json"
