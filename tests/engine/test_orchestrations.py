import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from durabletask import task
from durabletask.client import OrchestrationStatus
from durabletask.internal import orchestrator_service_pb2 as pb

from tests.engine.sdk import App, hub, until


def with_steps(app: App) -> App:
    @app.activity
    def double(n):
        return n * 2

    @app.orchestrator
    def three(context, n):
        for _ in range(3):
            n = yield context.call_activity("double", input=n)
        return n

    return app


async def test_a_sequence_of_activities_returns_its_result(app: App, path: Path) -> None:
    async with hub(with_steps(app), path) as (_, client):
        run = await client.schedule_new_orchestration("three", input=5)
        state = await client.wait_for_orchestration_completion(run, timeout=10)

        assert state.runtime_status == OrchestrationStatus.COMPLETED
        assert state.serialized_output == "40"


async def test_a_fan_out_of_a_thousand_is_dispatched_in_few_steps(app: App, path: Path) -> None:
    @app.activity
    def echo(n):
        return n

    @app.orchestrator
    def wide(context, n):
        results = yield task.when_all([context.call_activity("echo", input=i) for i in range(n)])
        return sum(results)

    async with hub(app, path) as (_, client):
        run = await client.schedule_new_orchestration("wide", input=1000)
        state = await client.wait_for_orchestration_completion(run, timeout=20)

        assert state.serialized_output == str(sum(range(1000)))
        assert len(app.dispatches) < 100


async def test_two_starts_of_one_id_at_once_make_one_run(app: App, path: Path) -> None:
    @app.orchestrator
    def waiting(context, n):
        yield context.wait_for_external_event("go")
        return n

    async with hub(app, path) as (_, client):
        outcomes = await asyncio.gather(
            *(client.schedule_new_orchestration("waiting", input=1, instance_id="same") for _ in range(20)),
            return_exceptions=True,
        )

        assert sorted(type(o).__name__ for o in outcomes) == ["AioRpcError"] * 19 + ["str"]
        refused = next(o for o in outcomes if not isinstance(o, str))
        assert refused.code().name == "ALREADY_EXISTS"
        await client.raise_orchestration_event("same", "go")
        state = await client.wait_for_orchestration_completion("same", timeout=10)
        assert state.serialized_output == "1"
        assert len(app.dispatches) == 2


async def test_an_ended_run_is_replaced_by_a_new_start_unless_the_policy_forbids_it(
    app: App, path: Path
) -> None:
    async with hub(with_steps(app), path) as (_, client):
        for n in (1, 2):
            await client.schedule_new_orchestration("three", input=n, instance_id="same")
            state = await client.wait_for_orchestration_completion("same", timeout=10)
            assert state.serialized_output == str(n * 8)

        never = pb.OrchestrationIdReusePolicy()
        with pytest.raises(Exception, match="already exists"):
            await client.schedule_new_orchestration(
                "three", input=3, instance_id="same", reuse_id_policy=never
            )


async def test_sub_orchestrations_answer_and_their_failures_reach_the_parent(app: App, path: Path) -> None:
    @app.orchestrator
    def child(context, n):
        if n == 3:
            raise ValueError("three is too many")
        yield context.create_timer(timedelta(milliseconds=10))
        return n

    @app.orchestrator
    def parent(context, _):
        good = yield task.when_all([context.call_sub_orchestrator("child", input=i) for i in range(3)])
        try:
            yield context.call_sub_orchestrator("child", input=3)
        except task.TaskFailedError as error:
            return [good, error.details.message]
        return "no failure"

    async with hub(app, path) as (_, client):
        run = await client.schedule_new_orchestration("parent")
        state = await client.wait_for_orchestration_completion(run, timeout=10)

        assert state.serialized_output == '[[0, 1, 2], "three is too many"]'


async def test_continue_as_new_keeps_the_id_and_the_order_of_waiting_events(app: App, path: Path) -> None:
    @app.orchestrator
    def collect(context, seen):
        seen = seen or []
        value = yield context.wait_for_external_event("item")
        seen.append(value)
        if len(seen) == 50:
            return seen
        context.continue_as_new(seen, save_events=True)
        return None

    async with hub(app, path) as (_, client):
        run = await client.schedule_new_orchestration("collect")
        for n in range(50):
            await client.raise_orchestration_event(run, "item", data=n)
        state = await client.wait_for_orchestration_completion(run, timeout=10)

        assert state.serialized_output == str(list(range(50)))


async def test_results_of_an_earlier_generation_do_not_reach_the_next(app: App, path: Path) -> None:
    release = asyncio.Event()
    started = []

    @app.activity
    async def slow(n):
        started.append(n)
        await asyncio.to_thread(lambda: None)
        while not release.is_set():
            await asyncio.sleep(0.01)
        return f"late {n}"

    @app.activity
    def quick(n):
        return f"quick {n}"

    @app.orchestrator
    def generations(context, n):
        n = n or 0
        if n == 0:
            context.call_activity("slow", input=0)
            yield context.create_timer(timedelta(milliseconds=50))
            context.continue_as_new(1)
            return None
        yield context.wait_for_external_event("go")
        return (yield context.call_activity("quick", input=n))

    async with hub(app, path) as (_, client):
        run = await client.schedule_new_orchestration("generations")
        await until(lambda: len([d for d in app.dispatches if d[1] == 0]) == 2)
        release.set()
        await asyncio.sleep(0.05)
        await client.raise_orchestration_event(run, "go")
        state = await client.wait_for_orchestration_completion(run, timeout=10)

        assert state.serialized_output == '"quick 1"'
        assert started == [0]


async def test_a_suspended_run_waits_and_goes_on_when_resumed(app: App, path: Path) -> None:
    @app.orchestrator
    def waiting(context, _):
        return (yield context.wait_for_external_event("go"))

    async with hub(app, path) as (_, client):
        run = await client.schedule_new_orchestration("waiting")
        await client.wait_for_orchestration_start(run, timeout=10)
        await client.suspend_orchestration(run)
        await client.raise_orchestration_event(run, "go", data="now")
        await until(lambda: len(app.dispatches) >= 2)
        await asyncio.sleep(0.05)
        state = await client.get_orchestration_state(run)
        assert state.runtime_status == OrchestrationStatus.SUSPENDED

        await client.resume_orchestration(run)
        state = await client.wait_for_orchestration_completion(run, timeout=10)
        assert state.serialized_output == '"now"'


async def test_terminating_a_run_ends_what_it_started(app: App, path: Path) -> None:
    @app.orchestrator
    def leaf(context, _):
        yield context.wait_for_external_event("never")

    @app.orchestrator
    def root(context, _):
        yield task.when_all(
            [context.call_sub_orchestrator("leaf", instance_id=f"leaf-{n}") for n in range(3)]
        )

    async with hub(app, path) as (_, client):
        run = await client.schedule_new_orchestration("root")
        for n in range(3):
            await until(lambda: len(app.dispatches) >= 4)
            await client.wait_for_orchestration_start(f"leaf-{n}", timeout=10)
        await client.terminate_orchestration(run, output="enough", recursive=True)

        assert (
            await client.wait_for_orchestration_completion(run, timeout=10)
        ).runtime_status == OrchestrationStatus.TERMINATED
        for n in range(3):
            leaf_state = await client.wait_for_orchestration_completion(f"leaf-{n}", timeout=10)
            assert leaf_state.runtime_status == OrchestrationStatus.TERMINATED


async def test_messages_to_nobody_are_refused_and_those_to_the_ended_too(app: App, path: Path) -> None:
    async with hub(with_steps(app), path) as (sidecar, client):
        with pytest.raises(Exception, match="No instance with ID 'nobody'"):
            await client.raise_orchestration_event("nobody", "x")
        run = await client.schedule_new_orchestration("three", input=1)
        await client.wait_for_orchestration_completion(run, timeout=10)
        with pytest.raises(Exception, match="Completed state"):
            await client.raise_orchestration_event(run, "x")
        with pytest.raises(Exception, match="Completed state"):
            await client.terminate_orchestration(run)

        rows = sidecar.database.reader().execute("SELECT COUNT(*) FROM inbox").fetchone()
        assert rows == (0,)


async def test_an_event_sent_by_an_orchestration_to_an_ended_one_leaves_nothing_behind(
    app: App, path: Path
) -> None:
    @app.orchestrator
    def quick(context, _):
        return 1

    @app.orchestrator
    def sender(context, _):
        context.send_event("gone", "hello", data=1)
        return 2

    async with hub(app, path) as (sidecar, client):
        await client.schedule_new_orchestration("quick", instance_id="gone")
        await client.wait_for_orchestration_completion("gone", timeout=10)
        run = await client.schedule_new_orchestration("sender")
        await client.wait_for_orchestration_completion(run, timeout=10)

        reader = sidecar.database.reader()
        await until(lambda: reader.execute("SELECT COUNT(*) FROM inbox").fetchone() == (0,))


async def test_a_scheduled_start_waits_and_can_be_terminated_before(app: App, path: Path) -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    soon = datetime.now(UTC) + timedelta(milliseconds=300)
    async with hub(with_steps(app), path) as (sidecar, client):
        await client.schedule_new_orchestration("three", input=1, instance_id="later", start_at=later)
        await client.schedule_new_orchestration("three", input=1, instance_id="soon", start_at=soon)
        state = await client.wait_for_orchestration_completion("soon", timeout=10)
        assert datetime.now(UTC) >= soon
        assert state.serialized_output == "8"

        assert (await client.get_orchestration_state("later")).runtime_status == OrchestrationStatus.PENDING
        await client.terminate_orchestration("later", output="never")
        ended = await client.wait_for_orchestration_completion("later", timeout=10)
        assert ended.runtime_status == OrchestrationStatus.TERMINATED
        assert sidecar.database.reader().execute("SELECT COUNT(*) FROM inbox").fetchone() == (0,)


async def test_an_event_for_a_scheduled_run_waits_for_its_start(app: App, path: Path) -> None:
    @app.orchestrator
    def waiting(context, _):
        return (yield context.wait_for_external_event("go"))

    soon = datetime.now(UTC) + timedelta(milliseconds=300)
    async with hub(app, path) as (_, client):
        await client.schedule_new_orchestration("waiting", instance_id="soon", start_at=soon)
        await client.raise_orchestration_event("soon", "go", data="early")
        state = await client.wait_for_orchestration_completion("soon", timeout=10)

        assert state.serialized_output == '"early"'


async def test_a_failed_run_is_rewound_with_its_children(app: App, path: Path) -> None:
    broken = [True]
    calls = []

    @app.activity
    def flaky(n):
        calls.append(n)
        if broken[0]:
            raise ValueError("down")
        return n

    @app.orchestrator
    def child(context, n):
        return (yield context.call_activity("flaky", input=n))

    @app.orchestrator
    def parent(context, _):
        first = yield context.call_sub_orchestrator("child", input=1, instance_id="child-1")
        return first + (yield context.call_activity("flaky", input=2))

    async with hub(app, path) as (_, client):
        await client.schedule_new_orchestration("parent", instance_id="p")
        state = await client.wait_for_orchestration_completion("p", timeout=10)
        assert state.runtime_status == OrchestrationStatus.FAILED

        broken[0] = False
        await client.rewind_orchestration("p", reason="mended")
        state = await client.wait_for_orchestration_completion("p", timeout=10)
        assert state.serialized_output == "3"
        assert calls == [1, 1, 2]


async def test_a_run_is_restarted_with_its_input_under_its_id_or_a_new_one(app: App, path: Path) -> None:
    async with hub(with_steps(app), path) as (_, client):
        await client.schedule_new_orchestration("three", input=2, instance_id="r")
        await client.wait_for_orchestration_completion("r", timeout=10)

        again = await client.restart_orchestration("r", restart_with_new_instance_id=True)
        assert again != "r"
        state = await client.wait_for_orchestration_completion(again, timeout=10)
        assert state.serialized_output == "16"
        assert await client.restart_orchestration("r") == "r"
        assert (await client.wait_for_orchestration_completion("r", timeout=10)).serialized_output == "16"


async def test_long_histories_fail_with_a_reason_instead_of_growing_for_ever(app: App, path: Path) -> None:
    from loom_local.engine.worker import EngineLimits

    @app.activity
    def nothing(_):
        return None

    @app.orchestrator
    def endless(context, _):
        while True:
            yield context.call_activity("nothing")

    async with hub(app, path, limits=EngineLimits(history_events=100)) as (_, client):
        run = await client.schedule_new_orchestration("endless")
        state = await client.wait_for_orchestration_completion(run, timeout=10)

        assert state.runtime_status == OrchestrationStatus.FAILED
        assert "the limit is 100" in state.failure_details.message
        assert state.failure_details.error_type == "HistoryTooLarge"


async def test_waiting_runs_leave_memory_and_come_back(app: App, path: Path) -> None:
    from loom_local.engine.worker import EngineLimits

    @app.orchestrator
    def waiting(context, n):
        got = yield context.wait_for_external_event("go")
        return [n, got]

    async with hub(app, path, limits=EngineLimits(loaded_instances=20)) as (sidecar, client):
        for n in range(200):
            await client.schedule_new_orchestration("waiting", input=n, instance_id=f"w-{n}")
        for n in range(200):
            await client.wait_for_orchestration_start(f"w-{n}", timeout=10)
        assert len(sidecar.engine.instances) < 60

        for n in range(200):
            await client.raise_orchestration_event(f"w-{n}", "go", data=n * n)
        for n in range(200):
            state = await client.wait_for_orchestration_completion(f"w-{n}", timeout=10)
            assert state.serialized_output == f"[{n}, {n * n}]"
