import asyncio
from pathlib import Path

import pytest
from azure.durable_functions.client import SyncDurableFunctionsClient

from tests.engine.sdk import App, binding, hub
from tests.engine.test_orchestrations import with_steps


async def test_a_sync_client_works_from_a_thread(app: App, path: Path) -> None:
    def use(address: str) -> str | None:
        client = SyncDurableFunctionsClient(binding(address))
        try:
            run = client.schedule_new_orchestration("three", input=5, instance_id="s")
            state = client.wait_for_orchestration_completion(run, timeout=10)
            with pytest.raises(Exception, match="Completed state"):
                client.terminate_orchestration(run)
            assert client.get_orchestration_history(run)
            return state.serialized_output
        finally:
            client.close()

    async with hub(with_steps(app), path) as (sidecar, _):
        assert await asyncio.to_thread(use, sidecar.address) == "40"


async def test_a_sync_client_that_blocks_the_hosts_loop_does_not_stall_the_engine(
    app: App, path: Path
) -> None:
    @app.orchestrator
    def quick(context, n):
        return n

    async with hub(app, path) as (sidecar, _):
        client = SyncDurableFunctionsClient(binding(sidecar.address))
        # On purpose on the loop that runs user code, as careless user code would.
        run = client.schedule_new_orchestration("quick", input=5, instance_id="s")
        assert client.get_orchestration_state(run).instance_id == "s"
        client.close()
