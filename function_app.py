"""What Azure calls, and where it leads: this file is the map of the app."""

import os
from pathlib import Path

import azure.durable_functions as df
import azure.functions as func
from azurefunctions.extensions.http.fastapi import Request, Response

from loom_core.app import compose
from loom_core.clients.runs import Runs
from loom_core.durable.driver import run_program as drive
from loom_core.durable.hub import hub_of
from loom_core.durable.stopping import stop_work as ask_to_stop
from loom_core.http.application import Delegate
from loom_core.notations import PROGRAMS
from loom_core.watches import CONTAINER, source

loom = compose(Path(__file__).parent, os.environ)
app = df.DFApp(http_auth_level=func.AuthLevel.FUNCTION)


@app.route(route="{*path}")
@app.generic_input_binding(arg_name="client", type="durableClient", durableRequiresGrpc=True)
async def http(req: Request, client: str) -> Response:
    """The whole API: loom_core/http."""
    return Delegate(loom.http, Runs(hub_of(client), loom.activities.stops))


@app.route(route="health", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
async def health(req: Request) -> Response:
    """The process answers: for probes, which have no key."""
    return Delegate(loom.http)


@app.orchestration_trigger(context_name="context")
def run_program(context, call):
    """Pipelines and their lanes: loom_core/durable drives the programs of loom_core/pipelines."""
    return (yield from drive(PROGRAMS, context, call))


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
    await loom.watches.changed(blob, Runs(hub_of(client), loom.activities.stops))


@app.activity_trigger(input_name="work")
@app.generic_input_binding(arg_name="client", type="durableClient", durableRequiresGrpc=True)
async def stop_work(work, client: str):
    """What a run does not wait for any more is asked to stop: lanes, sub-pipelines, activities."""
    await ask_to_stop(hub_of(client), loom.activities.stops, work)
