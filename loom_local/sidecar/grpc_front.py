"""TaskHubSidecarService on a loopback socket, for durable clients of other processes."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import Message

from loom_local.engine.protocol import pb
from loom_local.sidecar.servicer import RpcFailedError, Servicer

SERVICE = "TaskHubSidecarService"
LARGEST_MESSAGE = 64 << 20
"""Bytes."""


def bind(servicer: Servicer) -> tuple[grpc.aio.Server, int]:
    """Take a free port of 127.0.0.1; returns the server, which answers once it is started, and the port."""
    handlers = {
        name: grpc.unary_unary_rpc_method_handler(
            _unary(servicer, name),
            request_deserializer=request_type.FromString,
            response_serializer=_serialize,
        )
        for name, (request_type, _) in servicer.methods.items()
    }
    handlers["StreamInstanceHistory"] = grpc.unary_stream_rpc_method_handler(
        _stream(servicer),
        request_deserializer=pb.StreamInstanceHistoryRequest.FromString,
        response_serializer=_serialize,
    )
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", LARGEST_MESSAGE),
            ("grpc.max_send_message_length", LARGEST_MESSAGE),
            ("grpc.so_reuseport", 0),
        ]
    )
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    return server, server.add_insecure_port("127.0.0.1:0")


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()


def _unary(servicer: Servicer, name: str) -> Callable[[Message, Any], Awaitable[Message]]:
    async def handle(request: Message, context: grpc.aio.ServicerContext[Any, Any]) -> Message:
        try:
            return await servicer.call(name, request)
        except RpcFailedError as refused:
            await context.abort(refused.code, refused.details)
            raise

    return handle


def _stream(servicer: Servicer) -> Callable[[Any, Any], AsyncIterator[Message]]:
    async def handle(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Message]:
        try:
            async for chunk in servicer.history(request):
                yield chunk
        except RpcFailedError as refused:
            await context.abort(refused.code, refused.details)

    return handle
