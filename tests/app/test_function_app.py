"""The function app, indexed by the code of the cloud's own worker and called as Azure calls it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# The worker's registry is one per process, and importing the HTTP extension changes the process for good.
INDEX = """
import json, sys
from types import SimpleNamespace
from azure_functions_runtime.bindings import meta
from azure_functions_runtime.functions import Registry
from azure_functions_runtime.loader import index_function_app

meta.load_binding_registry()
directions = type("BindingInfo", (), {"in": 0, "in_": 0, "out": 1, "inout": 2, "undefined": 0})
registry = Registry()
found = {}
for function in index_function_app(sys.argv[1]):
    registry.add_indexed_function(function=function, protos=SimpleNamespace(BindingInfo=directions))
    found[function.get_function_name()] = function.get_bindings_dict()["bindings"]
print(json.dumps(found, default=str))
"""


@pytest.fixture(scope="module")
def bindings(tmp_path_factory):
    environment = {"PATH": "", "LOOM_DATA": str(tmp_path_factory.mktemp("data"))}
    command = [sys.executable, "-W", "ignore", "-c", INDEX, str(ROOT / "function_app.py")]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_azure_finds_our_functions(bindings):
    ours = {name for name in bindings if not name.startswith("BuiltIn")}

    assert ours == {
        *("http", "health", "run_program", "run_activity", "stop_work", "file_changed"),
        *("actor_turn", "ask", "flush", "actor_mailbox", "dead_letters", "sweep"),
    }


def trigger(bindings, name):
    return next(b for b in bindings[name] if b["type"].lower().endswith("trigger"))


def test_only_the_health_probe_is_anonymous(bindings):
    levels = {name: trigger(bindings, name)["authLevel"] for name in ("http", "health")}

    assert levels == {"http": "FUNCTION", "health": "ANONYMOUS"}
    assert trigger(bindings, "health")["route"] == "health"
    assert trigger(bindings, "http")["route"] == "{*path}"


def test_the_durable_client_is_bound_as_its_raw_string(bindings):
    for name in ("http", "stop_work", "file_changed"):
        client = next(b for b in bindings[name] if b["type"] == "durableClient")

        assert client["durableRequiresGrpc"] is True


def test_files_are_polled_for_in_the_storage_of_the_app(bindings):
    blob = trigger(bindings, "file_changed")

    assert (blob["path"], blob["connection"]) == ("inbox/{name}", "AzureWebJobsStorage")
    assert blob["source"] == "LogsAndContainerScan"


def test_importing_the_app_does_not_load_what_only_activities_need():
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", "import function_app, sys; print(*sys.modules)"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert not {"wasmtime", "jsonschema_rs", "jsonpath", "rich", "sqlite3"} & set(done.stdout.split())


def test_a_pipeline_runs_through_the_trigger_functions(tmp_path):
    """One dispatch of the orchestration, one activity, one more dispatch, encoded as in Azure."""
    script = """
import asyncio, base64, json
import durabletask.internal.helpers as make
import durabletask.internal.orchestrator_service_pb2 as pb
import function_app as module

functions = {f.get_function_name(): f.get_user_function() for f in module.app.get_functions()}
call = {"program": "pipeline", "payload": {"run": "run-1", "input": {"x": 1}, "definition": {
    "name": "one", "stages": [{"name": "Only", "activity": "noop"}]}}}
past, new = [], [make.new_execution_started_event("run_program", "run-1", json.dumps(call))]

async def dispatch():
    request = pb.OrchestratorRequest(instanceId="run-1", pastEvents=past, newEvents=new)
    answer = await functions["run_program"](base64.b64encode(request.SerializeToString()).decode())
    past.extend(new)
    return pb.OrchestratorResponse.FromString(base64.b64decode(answer))

async def main():
    scheduled = (await dispatch()).actions[0]
    result = await functions["run_activity"](json.loads(scheduled.scheduleTask.input.value))
    past.append(make.new_task_scheduled_event(scheduled.id, "run_activity"))
    new[:] = [make.new_task_completed_event(scheduled.id, json.dumps(result))]
    print((await dispatch()).actions[0].completeOrchestration.result.value)

asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        cwd=ROOT, env={"PATH": "", "LOOM_DATA": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {"x": 1}
