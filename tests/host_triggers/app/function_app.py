"""A foreign app: a mailbox that signals entities, a queue whose messages can be poison, and timers."""

import json
import logging
import sys

import azure.durable_functions as df
import azure.functions as func
from durabletask.entities import DurableEntity, EntityInstanceId

app = df.DFApp(http_auth_level=func.AuthLevel.ANONYMOUS)
log = logging.getLogger(__name__)


@app.entity_trigger(context_name="context")
class Notes(DurableEntity):
    def add(self, note):
        self.set_state([*(self.get_state(list) or []), note])


@app.service_bus_queue_trigger(
    arg_name="message", queue_name="%MAILBOX%", connection="BUS", is_sessions_enabled=True
)
@app.durable_client_input(client_name="client")
async def mailbox(message: func.ServiceBusMessage, client: df.DurableOrchestrationClient) -> None:
    note = json.loads(message.get_body())
    await client.signal_entity(EntityInstanceId("Notes", message.session_id), "add", note)


@app.service_bus_queue_trigger(arg_name="message", queue_name="work", connection="BUS")
def work(message: func.ServiceBusMessage) -> None:
    match message.get_body():
        case b"leave":
            sys.exit(3)
        case b"return":
            return "what nobody asked for"


@app.timer_trigger(arg_name="timer", schedule="* * * * * *", run_on_startup=True)
@app.durable_client_input(client_name="client")
async def tick(timer: func.TimerRequest, client: df.DurableOrchestrationClient) -> None:
    await client.signal_entity(EntityInstanceId("Notes", "timer"), "add", timer.past_due)


@app.blob_trigger(arg_name="blob", path="drop-box/{name}.json", connection="STORAGE")
@app.durable_client_input(client_name="client")
async def dropped(blob: func.InputStream, client: df.DurableOrchestrationClient) -> None:
    note = [blob.name, json.loads(blob.read()), blob.length]
    await client.signal_entity(EntityInstanceId("Notes", "blobs"), "add", note)
