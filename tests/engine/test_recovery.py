import asyncio
from datetime import timedelta
from pathlib import Path

from durabletask.client import OrchestrationStatus
from durabletask.internal import orchestrator_service_pb2 as pb

from loom_local.engine.worker import EngineLimits
from tests.engine.sdk import App, hub, until
from tests.engine.test_entities import Counter, counter, value


async def test_timers_that_became_due_while_the_host_was_down_fire_at_once(app: App, path: Path) -> None:
    @app.orchestrator
    def sleeper(context, seconds):
        yield context.create_timer(timedelta(seconds=seconds))
        return "awake"

    async with hub(app, path) as (_, client):
        await client.schedule_new_orchestration("sleeper", input=0.3, instance_id="s")
        await client.wait_for_orchestration_start("s", timeout=10)
    await asyncio.sleep(0.4)

    async with hub(app, path) as (_, client):
        state = await client.wait_for_orchestration_completion("s", timeout=5)
        assert state.serialized_output == '"awake"'


async def test_an_activity_under_way_at_a_stop_runs_again_and_its_run_ends(app: App, path: Path) -> None:
    attempts = []

    @app.activity
    async def long(_):
        attempts.append(1)
        if len(attempts) == 1:
            await asyncio.sleep(60)
        return "done"

    @app.orchestrator
    def waits(context, _):
        return (yield context.call_activity("long"))

    async with hub(app, path, grace=0.1) as (_, client):
        await client.schedule_new_orchestration("waits", instance_id="w")
        await until(lambda: attempts)

    async with hub(app, path) as (_, client):
        state = await client.wait_for_orchestration_completion("w", timeout=5)
        assert state.serialized_output == '"done"'
        assert len(attempts) == 2


async def test_a_lock_held_at_a_stop_is_still_held_and_given_back(app: App, path: Path) -> None:
    app.entities["counter"] = Counter

    @app.orchestrator
    def holds(context, _):
        with (yield context.lock_entities([counter("a")])):
            yield context.wait_for_external_event("release")
            return (yield context.call_entity(counter("a"), "add", 1))

    async with hub(app, path) as (_, client):
        await client.schedule_new_orchestration("holds", instance_id="h")
        await until(lambda: len(app.dispatches) >= 2)
        await client.signal_entity(counter("a"), "add", 10)

    async with hub(app, path) as (sidecar, client):
        locked = await sidecar.call("GetEntity", pb.GetEntityRequest(instanceId="@counter@a"))
        assert locked.entity.lockedBy.value == "h"
        await client.raise_orchestration_event("h", "release")
        state = await client.wait_for_orchestration_completion("h", timeout=5)
        assert state.serialized_output == "1"
        await value(client, "a", 11)


async def test_work_that_cannot_be_run_is_tried_again_and_then_failed_with_a_reason(
    app: App, path: Path
) -> None:
    limits = EngineLimits(attempts=3)

    @app.orchestrator
    def fine(context, _):
        return (yield context.call_activity("broken"))

    async def cannot(call):
        raise OSError("the worker is gone")

    app.run_activity = cannot
    async with hub(app, path, limits=limits) as (_, client):
        run = await client.schedule_new_orchestration("fine")
        state = await client.wait_for_orchestration_completion(run, timeout=10)
        assert state.runtime_status == OrchestrationStatus.FAILED
        assert "could not be run in 3 attempts: the worker is gone" in state.failure_details.message

        run = await client.schedule_new_orchestration("not registered")
        state = await client.wait_for_orchestration_completion(run, timeout=10)
        assert state.failure_details.error_type == "PoisonWorkItem"


async def test_an_entity_batch_that_cannot_be_run_fails_its_callers_and_frees_the_entity(
    app: App, path: Path
) -> None:
    app.entities["counter"] = Counter
    real, broken = app.run_entity, [True]

    async def sometimes(name, request):
        if broken[0]:
            raise OSError("gone")
        return await real(name, request)

    @app.orchestrator
    def calls(context, _):
        return (yield context.call_entity(counter("a"), "add", 1))

    app.run_entity = sometimes
    async with hub(app, path, limits=EngineLimits(attempts=2)) as (_, client):
        run = await client.schedule_new_orchestration("calls")
        state = await client.wait_for_orchestration_completion(run, timeout=10)
        assert state.runtime_status == OrchestrationStatus.FAILED
        broken[0] = False
        await client.signal_entity(counter("a"), "add", 5)
        await value(client, "a", 5)


async def test_an_entity_batch_that_fails_as_a_whole_changes_nothing(app: App, path: Path) -> None:
    app.entities["counter"] = Counter
    real, broken = app.run_entity, list[bool]()

    async def sometimes(name, request):
        if broken:
            broken.pop()
            details = pb.TaskFailureDetails(errorType="Broken", errorMessage="no")
            return pb.EntityBatchResult(failureDetails=details).SerializeToString()
        return await real(name, request)

    @app.orchestrator
    def calls(context, _):
        return (yield context.call_entity(counter("a"), "add", 1))

    app.run_entity = sometimes
    async with hub(app, path) as (_, client):
        await client.signal_entity(counter("a"), "add", 5)
        await value(client, "a", 5)
        broken.append(True)
        run = await client.schedule_new_orchestration("calls")
        state = await client.wait_for_orchestration_completion(run, timeout=10)
        assert state.runtime_status == OrchestrationStatus.FAILED
        await client.signal_entity(counter("a"), "add", 1)
        await value(client, "a", 6)


async def test_a_run_that_keeps_ending_the_process_is_failed_and_its_neighbours_are_not(
    path: Path,
) -> None:
    import subprocess
    import sys

    code = f"""
import asyncio, os, pathlib, sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from datetime import timedelta
from loom_local.engine.worker import EngineLimits
from tests.engine.sdk import App, hub

app = App()

@app.activity
def deadly(_):
    os._exit(9)

@app.activity
def harmless(_):
    return 1

@app.orchestrator
def suicidal(context, _):
    return (yield context.call_activity("deadly"))

@app.orchestrator
def patient(context, _):
    yield context.wait_for_external_event("go")
    return (yield context.call_activity("harmless"))

async def main():
    async with hub(app, pathlib.Path({str(path)!r}), limits=EngineLimits(crashes=2)) as (_, client):
        if await client.get_orchestration_state("bad") is None:
            await client.schedule_new_orchestration("patient", instance_id="good")
            await client.schedule_new_orchestration("suicidal", instance_id="bad")
        bad = await client.wait_for_orchestration_completion("bad", timeout=20)
        await client.raise_orchestration_event("good", "go")
        good = await client.wait_for_orchestration_completion("good", timeout=20)
        print(bad.runtime_status.name, bad.failure_details.message, good.runtime_status.name)

asyncio.run(main())
"""
    crashes = 0
    while crashes < 10:
        done = await asyncio.to_thread(
            subprocess.run, [sys.executable, "-c", code], check=False, capture_output=True, text=True
        )
        if done.returncode == 0:
            break
        assert done.returncode == 9, done.stderr
        crashes += 1

    assert crashes == 4
    assert "FAILED" in done.stdout
    assert "the process ended 2 times while this ran" in done.stdout
    assert done.stdout.rstrip().endswith("COMPLETED")


async def test_purging_removes_ended_runs_and_all_that_was_kept_of_them(app: App, path: Path) -> None:
    @app.orchestrator
    def quick(context, n):
        return n

    @app.orchestrator
    def waiting(context, _):
        yield context.wait_for_external_event("go")

    async with hub(app, path) as (sidecar, client):
        for n in range(5):
            await client.schedule_new_orchestration("quick", input=n, instance_id=f"q{n}")
            await client.wait_for_orchestration_completion(f"q{n}", timeout=10)
        await client.schedule_new_orchestration("waiting", instance_id="w")
        await client.wait_for_orchestration_start("w", timeout=10)

        assert (await client.purge_orchestration("w")).deleted_instance_count == 0
        assert (await client.purge_orchestration("q0")).deleted_instance_count == 1
        purged = await client.purge_orchestrations_by(runtime_status=[OrchestrationStatus.COMPLETED])
        assert purged.deleted_instance_count == 4
        reader = sidecar.database.reader()
        for table in ("instances", "inputs", "history"):
            assert reader.execute(f"SELECT DISTINCT id FROM {table}").fetchall() == [("w",)]
