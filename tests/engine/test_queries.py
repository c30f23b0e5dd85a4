from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from durabletask.client import OrchestrationQuery, OrchestrationStatus
from durabletask.internal import orchestrator_service_pb2 as pb

from tests.engine.sdk import App, hub


def quick_and_waiting(app: App) -> App:
    @app.orchestrator
    def quick(context, n):
        context.set_custom_status({"n": n})
        return n

    @app.orchestrator
    def waiting(context, _):
        yield context.wait_for_external_event("go")

    return app


async def test_instances_are_listed_in_pages_by_status_time_and_prefix(app: App, path: Path) -> None:
    async with hub(quick_and_waiting(app), path) as (sidecar, client):
        for n in range(25):
            await client.schedule_new_orchestration("quick", input=n, instance_id=f"q{n:02}")
            await client.wait_for_orchestration_completion(f"q{n:02}", timeout=10)
        middle = datetime.now(UTC)
        await client.schedule_new_orchestration("waiting", instance_id="w")
        await client.wait_for_orchestration_start("w", timeout=10)

        async def ids(**wanted):
            query = OrchestrationQuery(max_instance_count=10, **wanted)
            return [s.instance_id for s in await client.get_all_orchestration_states(query)]

        quick = [f"q{n:02}" for n in range(25)]
        assert await ids() == [*quick, "w"]
        assert await ids(runtime_status=[OrchestrationStatus.RUNNING]) == ["w"]
        assert await ids(created_time_from=middle) == ["w"]
        assert await ids(created_time_to=middle - timedelta(0)) == quick

        page = await sidecar.call(
            "QueryInstances",
            pb.QueryInstancesRequest(
                query=pb.InstanceQuery(maxInstanceCount=10, instanceIdPrefix={"value": "q1"})
            ),
        )
        assert [s.instanceId for s in page.orchestrationState] == quick[10:20]
        assert not page.HasField("continuationToken")


async def test_a_forged_continuation_token_is_refused(app: App, path: Path) -> None:
    query = pb.InstanceQuery(maxInstanceCount=1, continuationToken={"value": "rubbish"})
    async with hub(app, path) as (sidecar, _):
        with pytest.raises(Exception, match="not a continuation token"):
            await sidecar.call("QueryInstances", pb.QueryInstancesRequest(query=query))


async def test_payloads_and_custom_status_come_only_when_asked_for(app: App, path: Path) -> None:
    async with hub(quick_and_waiting(app), path) as (_, client):
        await client.schedule_new_orchestration("quick", input=7, instance_id="q")
        await client.wait_for_orchestration_completion("q", timeout=10)

        bare = await client.get_orchestration_state("q", fetch_payloads=False)
        full = await client.get_orchestration_state("q", fetch_payloads=True)
        assert (bare.serialized_input, bare.serialized_output, bare.serialized_custom_status) == (None,) * 3
        assert (full.serialized_input, full.serialized_output) == ("7", "7")
        assert full.serialized_custom_status.replace(" ", "") == '{"n":7}'


async def test_the_ids_of_ended_instances_are_listed_in_pages(app: App, path: Path) -> None:
    async with hub(quick_and_waiting(app), path) as (_, client):
        for n in range(7):
            await client.schedule_new_orchestration("quick", input=n, instance_id=f"q{n}")
            await client.wait_for_orchestration_completion(f"q{n}", timeout=10)
        await client.schedule_new_orchestration("waiting", instance_id="w")

        first = await client.list_instance_ids(page_size=4)
        second = await client.list_instance_ids(page_size=4, continuation_token=first.continuation_token)
        assert [*first.items, *second.items] == [f"q{n}" for n in range(7)]
        assert second.continuation_token is None


async def test_the_history_of_a_run_can_be_read(app: App, path: Path) -> None:
    async with hub(quick_and_waiting(app), path) as (_, client):
        await client.schedule_new_orchestration("quick", input=7, instance_id="q")
        await client.wait_for_orchestration_completion("q", timeout=10)

        kinds = [type(e).__name__ for e in await client.get_orchestration_history("q")]
        assert kinds[0] == "OrchestratorStartedEvent"
        assert "ExecutionStartedEvent" in kinds
        assert kinds[-1] == "ExecutionCompletedEvent"
        with pytest.raises(Exception, match="No instance with ID 'nobody'"):
            await client.get_orchestration_history("nobody")


async def test_waiting_has_a_deadline(app: App, path: Path) -> None:
    async with hub(quick_and_waiting(app), path) as (_, client):
        await client.schedule_new_orchestration("waiting", instance_id="w")
        with pytest.raises(TimeoutError):
            await client.wait_for_orchestration_completion("w", timeout=0.2)
