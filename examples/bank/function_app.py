"""What Azure calls, and where it leads: this file is the map of the app."""

import os
from datetime import UTC, datetime
from pathlib import Path

import azure.durable_functions as df
import azure.functions as func
from azurefunctions.extensions.http.fastapi import Request, Response

from loom_core.app import compose
from loom_core.clients.stopping import stop_work as ask_to_stop
from loom_core.durable.driver import run_program as drive
from loom_core.durable.hub import hub_of
from loom_core.http.application import Delegate
from loom_core.mailbox import DEAD, QUEUE, bury, take
from loom_core.sdk.prepared import Prepared
from loom_core.sweep import SCHEDULE
from loom_core.sweep import sweep as forget
from loom_core.watches import CONTAINER, source

loom = compose(Path(__file__).parent, os.environ)
app = df.DFApp(http_auth_level=func.AuthLevel.FUNCTION)


@app.route(route="{*path}")
@app.generic_input_binding(arg_name="client", type="durableClient", durableRequiresGrpc=True)
async def http(req: Request, client: str) -> Response:
    """The whole API: loom_core/http."""
    return Delegate(loom.http, *loom.clients(hub_of(client)))


@app.route(route="health", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
async def health(req: Request) -> Response:
    """The process answers: for probes, which have no key."""
    return Delegate(loom.http)


@app.orchestration_trigger(context_name="context")
def run_program(context, call):
    """Pipelines and their lanes: loom_core/durable drives the programs of loom_core/pipelines."""
    return (yield from drive(loom.programs, context, call))


def run_turn(context, call):
    return (yield from drive(loom.programs, context, call))


turns = Prepared(run_turn, loom.turn_states.prepare)


@app.function_name("actor_turn")
@app.generic_trigger(
    arg_name="context", type="orchestrationTrigger", orchestration="actor_turn", durableRequiresGrpc=True
)
async def actor_turn(context: func.OrchestrationContext) -> str:
    """A message to an actor that takes its time: loom_core/actors/turn.py. A large state is read first."""
    return await turns.serve(context.body)


@app.orchestration_trigger(context_name="context")
def ask(context, call):
    """Somebody who waits for an actor's answer: loom_core/actors/ask.py."""
    return (yield from drive(loom.programs, context, call))


@app.orchestration_trigger(context_name="context")
def flush(context, call):
    """What follows an actor's commit: replies, the outbox, dead letters: loom_core/outbox.py."""
    return (yield from drive(loom.programs, context, call))


async def entity(context: func.EntityContext) -> str:
    """Every actor: actors/, loom_core/actors, served by loom_core/durable/entities.py."""
    return await loom.entities.serve(context.body)


for name in loom.actors:
    trigger = {"type": "entityTrigger", "entityName": name, "durableRequiresGrpc": True}
    app.function_name(loom.actors[name].name)(app.generic_trigger(arg_name="context", **trigger)(entity))


@app.service_bus_queue_trigger(
    arg_name="message", queue_name=QUEUE, connection="ServiceBus", is_sessions_enabled=True
)
@app.generic_input_binding(arg_name="client", type="durableClient", durableRequiresGrpc=True)
async def actor_mailbox(message: func.ServiceBusMessage, client: str) -> None:
    """Messages to actors that come through Service Bus: loom_core/mailbox.py."""
    _, actors = loom.clients(hub_of(client))
    await take(message, actors)


@app.service_bus_queue_trigger(arg_name="message", queue_name=DEAD, connection="ServiceBus")
@app.generic_input_binding(arg_name="client", type="durableClient", durableRequiresGrpc=True)
async def dead_letters(message: func.ServiceBusMessage, client: str) -> None:
    """What Service Bus has given up, for whoever looks at dead letters: loom_core/mailbox.py."""
    _, actors = loom.clients(hub_of(client))
    await bury(message, actors)


@app.timer_trigger(arg_name="timer", schedule=SCHEDULE)
@app.generic_input_binding(arg_name="client", type="durableClient", durableRequiresGrpc=True)
async def sweep(timer: func.TimerRequest, client: str) -> None:
    """What actors' orchestrations leave behind: loom_core/sweep.py."""
    await forget(hub_of(client), loom.locks, loom.turn_states, datetime.now(UTC), loom.relay)


@app.activity_trigger(input_name="call")
async def run_activity(call):
    """Every activity, native or WASM: activities/, wasm/, loom_core/activities."""
    return await loom.activities.run(call)


@app.blob_trigger(
    "blob", f"{CONTAINER}/{{name}}", "AzureWebJobsStorage", source=func.BlobSource(source(os.environ))
)
@app.generic_input_binding(arg_name="client", type="durableClient", durableRequiresGrpc=True)
async def file_changed(blob: func.InputStream, client: str) -> None:
    """A file that came, for the runs that wait for it: loom_core/watches."""
    runs, _ = loom.clients(hub_of(client))
    await loom.watches.changed(blob, runs)


@app.activity_trigger(input_name="work")
@app.generic_input_binding(arg_name="client", type="durableClient", durableRequiresGrpc=True)
async def stop_work(work, client: str):
    """What a run does not wait for any more is asked to stop: lanes, sub-pipelines, activities."""
    await ask_to_stop(hub_of(client), loom.activities.stops, work)
