"""The listening socket and the web server on it."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Any

from loom_core.errors import LoomError

_MAX_CONNECTIONS = 4096
_BACKLOG = 512


def listen(host: str, port: int) -> socket.socket:
    """Bind and listen; port 0 takes a free one. Raises LoomError if the address is taken or not ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named, because asyncio turns Nagle off only where it sees the protocol: 40 ms a request otherwise.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise LoomError(
            f"cannot listen on {host}:{port}: {error.strerror or error}; choose another --port"
        ) from error
    return listener


def origin(listener: socket.socket) -> str:
    """Give the address as a URL: `http://127.0.0.1:7071`."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class WebServer:
    """Serves an ASGI application on a socket that is listening already."""

    def __init__(self, application: Any, listener: socket.socket) -> None:
        import uvicorn  # noqa: PLC0415  cold start

        class Server(uvicorn.Server):
            @contextlib.contextmanager
            def capture_signals(self) -> Iterator[None]:
                yield  # signals are the process's business, not the server's

        config = uvicorn.Config(
            application,
            lifespan="off",
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=_MAX_CONNECTIONS,
        )
        self._server = Server(config)
        self._listener = listener
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._serving = asyncio.create_task(self._server.serve([self._listener]))
        while not self._server.started:
            if self._serving.done():
                await self._serving
                raise LoomError("the web server did not start")
            await asyncio.sleep(0)

    def close(self) -> None:
        """Accept no more connections; those that are idle are closed."""
        self._server.should_exit = True

    async def closed(self) -> None:
        """Wait for the last response to end."""
        assert self._serving is not None
        await self._serving
