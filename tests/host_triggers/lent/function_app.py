"""An app that sends to its own mailbox through the port: on the host's loop, and on one of its own."""

import asyncio
import json

import azure.functions as func

from loom_core.adapters.embedded import EmbeddedMessageQueue
from loom_core.ports.queue import QueueMessage

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)
queue = EmbeddedMessageQueue()
received = []


def letter(req: func.HttpRequest) -> QueueMessage:
    body = req.get_json()
    return QueueMessage(body=body, message_id=body["id"], session_id="ada")


@app.route(route="send", methods=["POST"])
async def send(req: func.HttpRequest) -> func.HttpResponse:
    await queue.send("mail", [letter(req)])
    return func.HttpResponse("sent")


@app.route(route="send-from-a-thread", methods=["POST"])
def send_from_a_thread(req: func.HttpRequest) -> func.HttpResponse:
    asyncio.run(queue.send("mail", [letter(req)]))
    return func.HttpResponse("sent")


@app.route(route="received", methods=["GET"])
def list_received(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse(json.dumps(received))


@app.service_bus_queue_trigger(
    arg_name="message", queue_name="mail", connection="BUS", is_sessions_enabled=True
)
def mailbox(message: func.ServiceBusMessage) -> None:
    received.append([message.session_id, message.message_id, json.loads(message.get_body())])
