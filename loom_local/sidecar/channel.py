"""A gRPC channel without gRPC: durable clients of the host's own process call the engine directly.

The SDK's clients get their channel from `durabletask.internal.shared`; for the host's own address they get
this one. Everything else about the clients stays as it is, and other processes still use sockets.
"""

import asyncio
import concurrent.futures
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from typing import Any

import grpc
import grpc.aio
from durabletask.internal import shared
from google.protobuf.message import Message

from loom_local.engine.bridge import Bridge, CallLostError
from loom_local.sidecar.servicer import RpcFailedError, Servicer

STOPPED = "The host has stopped."


class InProcessRpcError(grpc.RpcError):
    """What a sync client sees of a refused call: the surface of a gRPC error."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(details)
        self._code = code
        self._details = details

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._details


class Directory:
    """Which addresses are this process's own engines."""

    def __init__(self) -> None:
        self._engines: dict[str, tuple[Servicer, asyncio.AbstractEventLoop]] = {}
        self._original = (shared.get_grpc_channel, shared.get_async_grpc_channel)

    def add(self, address: str, servicer: Servicer, loop: asyncio.AbstractEventLoop) -> None:
        self._engines[address] = servicer, loop
        shared.get_grpc_channel = self._sync_channel  # pyright: ignore[reportAttributeAccessIssue]
        shared.get_async_grpc_channel = self._async_channel  # pyright: ignore[reportAttributeAccessIssue]

    def remove(self, address: str) -> None:
        self._engines.pop(address, None)
        if not self._engines:
            shared.get_grpc_channel, shared.get_async_grpc_channel = self._original

    def _sync_channel(self, host_address: str | None, *args: Any, **kwargs: Any) -> Any:
        own = self._engines.get(_bare(host_address))
        return SyncChannel(*own) if own else self._original[0](host_address, *args, **kwargs)

    def _async_channel(self, host_address: str | None, *args: Any, **kwargs: Any) -> Any:
        own = self._engines.get(_bare(host_address))
        return AsyncChannel(*own) if own else self._original[1](host_address, *args, **kwargs)


def _bare(host_address: str | None) -> str:
    return (host_address or "").lower().removeprefix("http://").removeprefix("grpc://")


class AsyncChannel:
    """Stands where a `grpc.aio.Channel` stands in the SDK's generated stub."""

    def __init__(self, servicer: Servicer, loop: asyncio.AbstractEventLoop) -> None:
        self._servicer = servicer
        self._loop = loop
        self._calls: dict[asyncio.AbstractEventLoop, Callable[[str, Message], Awaitable[Message]]] = {}

    def unary_unary(self, method: str, *_: Any, **__: Any) -> Callable[..., Coroutine[Any, Any, Message]]:
        name = method.rsplit("/", 1)[1]

        async def invoke(request: Message, timeout: float | None = None, **_: Any) -> Message:  # noqa: ASYNC109 - gRPC's own parameter
            try:
                if timeout is None:
                    return await self._call(name, request)
                async with asyncio.timeout(timeout):
                    return await self._call(name, request)
            except TimeoutError:
                raise _aio_error(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded") from None
            except RpcFailedError as refused:
                raise _aio_error(refused.code, refused.details) from None
            except CallLostError:
                raise _aio_error(grpc.StatusCode.UNAVAILABLE, STOPPED) from None

        return invoke

    def unary_stream(self, *_: Any, **__: Any) -> Callable[..., AsyncIterator[Message]]:
        async def invoke(request: Any, **_: Any) -> AsyncIterator[Message]:
            collect = asyncio.run_coroutine_threadsafe(_collect(self._servicer, request), self._loop)
            try:
                chunks = await asyncio.wrap_future(collect)
            except RpcFailedError as refused:
                raise _aio_error(refused.code, refused.details) from None
            for chunk in chunks:
                yield chunk

        return invoke

    stream_unary = stream_stream = unary_stream

    async def close(self, grace: float | None = None) -> None:
        """Nothing is held open."""

    def _call(self, name: str, request: Message) -> Awaitable[Message]:
        here = asyncio.get_running_loop()
        call = self._calls.get(here)
        if call is None:
            self._calls = {loop: known for loop, known in self._calls.items() if not loop.is_closed()}
            call = self._calls[here] = Bridge(here, self._loop).function(self._servicer.call)
        return call(name, request)


class SyncChannel:
    """Stands where a `grpc.Channel` stands; blocks the calling thread, never the engine's."""

    def __init__(self, servicer: Servicer, loop: asyncio.AbstractEventLoop) -> None:
        self._servicer = servicer
        self._loop = loop

    def unary_unary(self, method: str, *_: Any, **__: Any) -> Callable[..., Message]:
        name = method.rsplit("/", 1)[1]

        def invoke(request: Message, timeout: float | None = None, **_: Any) -> Message:
            return self._result(self._servicer.call(name, request), timeout)

        return invoke

    def unary_stream(self, *_: Any, **__: Any) -> Callable[..., Iterator[Message]]:
        def invoke(request: Any, timeout: float | None = None, **_: Any) -> Iterator[Message]:
            return iter(self._result(_collect(self._servicer, request), timeout))

        return invoke

    stream_unary = stream_stream = unary_stream

    def close(self) -> None:
        """Nothing is held open."""

    def _result[T](self, work: Coroutine[Any, Any, T], timeout: float | None) -> T:
        try:
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
        except RuntimeError:
            work.close()
            raise InProcessRpcError(grpc.StatusCode.UNAVAILABLE, STOPPED) from None
        try:
            return future.result(timeout)
        except concurrent.futures.TimeoutError:
            future.cancel()
            raise InProcessRpcError(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded") from None
        except RpcFailedError as refused:
            raise InProcessRpcError(refused.code, refused.details) from None
        except concurrent.futures.CancelledError:
            raise InProcessRpcError(grpc.StatusCode.UNAVAILABLE, STOPPED) from None


async def _collect(servicer: Servicer, request: Any) -> list[Message]:
    return [chunk async for chunk in servicer.history(request)]


def _aio_error(code: grpc.StatusCode, details: str) -> grpc.aio.AioRpcError:
    nothing = grpc.aio.Metadata()
    return grpc.aio.AioRpcError(code, nothing, nothing, details=details)


directory = Directory()
