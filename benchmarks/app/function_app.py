"""A small app of entities behind HTTP, layered as Loom's own: FastAPI inside one catch-all function."""

import asyncio
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import azure.durable_functions as df
import azure.functions as func
from azurefunctions.extensions.http.fastapi import Request, Response
from durabletask.entities import DurableEntity, EntityInstanceId
from fastapi import FastAPI
from fastapi import Request as Incoming
from pydantic import BaseModel

from loom_core.http.application import Delegate

app = df.DFApp(http_auth_level=func.AuthLevel.ANONYMOUS)
api = FastAPI(openapi_url=None)
durable_client: Callable[[str], Any] = lru_cache(maxsize=1)(df.DurableFunctionsClient)


class Message(BaseModel):
    key: str
    amount: int = 1


@app.route(route="{*path}")
@app.generic_input_binding(arg_name="client", type="durableClient", durableRequiresGrpc=True)
async def http(req: Request, client: str) -> Response:
    return Delegate(api, durable_client(client))


@app.entity_trigger(context_name="context")
class Counter(DurableEntity):
    def add(self, amount: int) -> None:
        self.set_state((self.get_state(int) or 0) + amount)


@api.get("/null")
async def null() -> dict[str, bool]:
    return {"ok": True}


@api.post("/messages", status_code=202)
async def send(message: Message, request: Incoming) -> dict[str, int]:
    await signal(request, message)
    return {"accepted": 1}


@api.post("/batches", status_code=202)
async def send_batch(messages: list[Message], request: Incoming) -> dict[str, int]:
    await asyncio.gather(*(signal(request, message) for message in messages))
    return {"accepted": len(messages)}


async def signal(request: Incoming, message: Message) -> None:
    client = request.state.runs  # under this name a Delegate hands on whatever it was given
    await client.signal_entity(EntityInstanceId("counter", message.key), "add", message.amount)
