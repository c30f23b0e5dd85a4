import asyncio
import subprocess
import sys
from pathlib import Path

from durabletask.client import OrchestrationStatus

from tests.engine.sdk import App, hub

ROOT = Path(__file__).parents[2]


async def test_a_full_disk_stops_the_process_with_a_reason_and_loses_nothing(path: Path) -> None:
    code = f"""
import asyncio, pathlib, resource
from tests.engine.sdk import App, hub

app = App()

@app.orchestrator
def keep(context, text):
    return len(text)

async def main():
    async with hub(app, pathlib.Path({str(path)!r})) as (_, client):
        resource.setrlimit(resource.RLIMIT_FSIZE, (2 << 20, resource.RLIM_INFINITY))
        for n in range(10_000):
            await client.schedule_new_orchestration("keep", input="x" * 20_000, instance_id=f"k{{n}}")
            print(n, flush=True)

asyncio.run(main())
"""
    command = [sys.executable, "-c", code]
    full = await asyncio.to_thread(
        subprocess.run, command, cwd=ROOT, check=False, capture_output=True, text=True
    )

    assert full.returncode == 74
    assert "could not be written" in full.stderr
    assert "Nothing that was acknowledged is lost" in full.stderr
    acknowledged = len(full.stdout.splitlines())
    assert 10 < acknowledged < 1_000

    app = App()

    @app.orchestrator
    def keep(context, text):
        return len(text)

    async with hub(app, path) as (_, client):
        for n in range(acknowledged):
            state = await client.wait_for_orchestration_completion(f"k{n}", timeout=10)
            assert state.runtime_status == OrchestrationStatus.COMPLETED
            assert state.serialized_output == "20000"
