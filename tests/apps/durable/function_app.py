"""A foreign Durable app: every style of orchestrator, entity, activity and client that the SDK knows."""

import asyncio
import json
import logging
import threading
import time
from pathlib import Path

import azure.durable_functions as df
import azure.functions as func
from durabletask import task
from durabletask.entities import DurableEntity, EntityInstanceId
from more import bp

app = df.DFApp(http_auth_level=func.AuthLevel.ANONYMOUS)
app.register_functions(bp)
released = threading.Event()
log = logging.getLogger(__name__)


class AppError(Exception):
    pass


# -- activities -------------------------------------------------------------------------------------------


@app.activity_trigger(input_name="n")
def square(n: int) -> int:
    return n * n


@app.activity_trigger(input_name="n", activity="Double")
async def double(n: int) -> int:
    return n * 2


@app.activity_trigger(input_name="text")
def fail(text: str) -> str:
    try:
        {}["inside"]
    except KeyError as error:
        raise AppError(text) from error


@app.activity_trigger(input_name="code")
def leave(code: int) -> None:
    raise SystemExit(code)


@app.activity_trigger(input_name="path")
def wait_for_file(path: str) -> str:
    while not Path(path).exists():
        time.sleep(0.01)
    return Path(path).read_text(encoding="utf-8")


# -- orchestrators ----------------------------------------------------------------------------------------


@app.orchestration_trigger(context_name="context")
def native(ctx: task.OrchestrationContext, n: int):
    parts = yield task.when_all([ctx.call_activity("square", input=i) for i in range(n)])
    return (yield ctx.call_activity("Double", input=sum(parts)))


@app.orchestration_trigger(context_name="context", orchestration="Classic")
def classic(context: df.DurableOrchestrationContext):
    name = context.get_input()
    first = yield context.call_activity("square", 3)
    second = yield context.call_sub_orchestrator("native", 3)
    context.set_custom_status({"hello": name})
    return [first, second]


@app.orchestration_trigger(context_name="context")
def failing(ctx: task.OrchestrationContext, name: str):
    try:
        return (yield ctx.call_activity(name, input="no"))
    except task.TaskFailedError as error:
        details = error.details
        return {"type": details.error_type, "message": details.message, "stack": details.stack_trace}


@app.orchestration_trigger(context_name="context")
def always_fails(ctx: task.OrchestrationContext, _: None):
    yield ctx.call_activity("fail", input="for good")


@app.orchestration_trigger(context_name="context")
def approval(ctx: task.OrchestrationContext, _: None):
    return (yield ctx.wait_for_external_event("Approve"))


@app.orchestration_trigger(context_name="context")
def watch_file(ctx: task.OrchestrationContext, path: str):
    return (yield ctx.call_activity("wait_for_file", input=path))


@app.orchestration_trigger(context_name="context")
def stubborn(ctx: task.OrchestrationContext, _: None):
    released.wait(30)  # what nobody should do in an orchestrator
    return "released"


@app.orchestration_trigger(context_name="context")
def locked(ctx: task.OrchestrationContext, key: str):
    counter = EntityInstanceId("Counter", key)
    with (yield ctx.lock_entities([counter])):
        value = yield ctx.call_entity(counter, "get")
        yield ctx.call_entity(counter, "add", value + 1)
    return (yield ctx.call_entity(counter, "get"))


# -- entities ---------------------------------------------------------------------------------------------


@app.entity_trigger(context_name="context", entity_name="Counter")
class Counter(DurableEntity):
    def add(self, n: int = 0) -> int:
        total = self.get_state(int, 0) + n
        self.set_state(total)
        return total

    def get(self, _=None) -> int:
        return self.get_state(int, 0)


@app.entity_trigger(context_name="context")
def ledger(context: df.DurableEntityContext) -> None:
    entries = context.get_state(list)
    if context.operation_name == "append":
        entries.append(context.get_input())
        context.set_state(entries)
    context.set_result(len(entries))


# -- HTTP, timers, queues ---------------------------------------------------------------------------------


@app.route(route="start/{name}", methods=["POST"])
@app.durable_client_input(client_name="client")
async def start(req: func.HttpRequest, client: df.DurableFunctionsClient) -> func.HttpResponse:
    instance = await client.schedule_new_orchestration(req.route_params["name"], input=req.get_json())
    return client.create_check_status_response(req, instance)


@app.route(route="entities/{name}/{key}/{op}", methods=["POST"])
@app.durable_client_input(client_name="client")
def signal(req: func.HttpRequest, client: df.SyncDurableFunctionsClient) -> func.HttpResponse:
    target = EntityInstanceId(req.route_params["name"], req.route_params["key"])
    client.signal_entity(target, req.route_params["op"], input=req.get_json())
    return func.HttpResponse(status_code=202)


@app.route(route="binding", methods=["GET"])
@app.generic_input_binding(arg_name="client", type="durableClient", durableRequiresGrpc=True)
def binding(req: func.HttpRequest, client: str) -> func.HttpResponse:
    return func.HttpResponse(client, mimetype="application/json")


@app.route(route="block", methods=["POST"])
async def block(req: func.HttpRequest) -> func.HttpResponse:
    path = Path(req.get_body().decode())
    while not path.exists():  # noqa: ASYNC240  this app blocks the loop on purpose
        time.sleep(0.01)  # noqa: ASYNC251  as above
    return func.HttpResponse("unblocked")


@app.route(route="release", methods=["POST"])
async def release(req: func.HttpRequest) -> func.HttpResponse:
    released.set()
    return func.HttpResponse(status_code=204)


@app.route(route="stray", methods=["POST"])
async def stray(req: func.HttpRequest) -> func.HttpResponse:
    async def never() -> None:
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                log.info("a stray task will not end")

    req.stray = asyncio.create_task(never())
    return func.HttpResponse(status_code=204)


@app.timer_trigger(schedule="* * * * * *", arg_name="timer")
@app.durable_client_input(client_name="client")
async def tick(timer: func.TimerRequest, client: df.DurableFunctionsClient) -> None:
    await client.signal_entity(EntityInstanceId("Counter", "ticks"), "add", 1)


@app.service_bus_queue_trigger(
    arg_name="message", queue_name="%MAILBOX%", connection="Bus", is_sessions_enabled=True
)
@app.durable_client_input(client_name="client")
async def on_message(message: func.ServiceBusMessage, client: df.DurableFunctionsClient) -> None:
    n = json.loads(message.get_body())["n"]
    await client.signal_entity(EntityInstanceId("Counter", str(message.session_id)), "add", n)
