"""What the crash rounds run: an entity that counts, runs with children and timers, a mailbox."""

from datetime import timedelta

import azure.durable_functions as df
import azure.functions as func
from durabletask import entities, task

app = df.DFApp(http_auth_level=func.AuthLevel.ANONYMOUS)


@app.entity_trigger(context_name="context")
class Counter(entities.DurableEntity):
    def add(self, amount):
        self.set_state((self.get_state(int) or 0) + amount)


@app.entity_trigger(context_name="context")
class Inbox(entities.DurableEntity):
    def receive(self, message_id):
        self.set_state([*(self.get_state(list) or []), message_id])


@app.activity_trigger(input_name="n")
def double(n: int) -> int:
    return n * 2


@app.orchestration_trigger(context_name="context")
def child(context, n):
    yield context.create_timer(timedelta(milliseconds=20))
    return (yield context.call_activity("double", input=n))


@app.orchestration_trigger(context_name="context")
def parent(context, n):
    parts = yield task.when_all([context.call_sub_orchestrator("child", input=i) for i in range(n)])
    yield context.call_entity(entities.EntityInstanceId("counter", "runs"), "add", 1)
    return sum(parts)


@app.orchestration_trigger(context_name="context")
def sleeper(context, seconds):
    yield context.create_timer(timedelta(seconds=seconds))
    return "awake"


@app.service_bus_queue_trigger(
    arg_name="message", queue_name="mail", connection="ServiceBus", is_sessions_enabled=True
)
@app.durable_client_input(client_name="client")
async def mail(message: func.ServiceBusMessage, client: df.DurableFunctionsClient) -> None:
    inbox = entities.EntityInstanceId("inbox", message.session_id or "")
    await client.signal_entity(inbox, "receive", message.get_body().decode())
