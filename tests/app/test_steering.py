"""The shipped function app on the real local host: runs are steered through HTTP."""

import json
import shutil
import time
from pathlib import Path

import httpx
import pytest

from tests.host.processes import FAST, ROOT, ready_host

PIPELINES = {
    "many": {
        "name": "many",
        "stages": [
            {
                "name": "Each",
                "mode": "scatter",
                "activity": "until-stopped",
                "input": {"folder": "$.folder", "index": "$.index"},
                "scatter": {"input": "$.items", "as": "index"},
                "config": {"concurrency": 4},
            }
        ],
    },
    "echo": {"name": "echo", "stages": [{"name": "Echo", "activity": "noop", "input": "$.items"}]},
}
ACTIVITIES = """
import asyncio
from pathlib import Path
from loom_core import activity
from loom_core.activities import current_call

@activity("noop")
async def noop(value):
    return value

@activity("until-stopped")
def until_stopped(*, folder: str, index: int) -> None:
    Path(folder, f"began-{index}").touch()
    if current_call.get().stop.wait(60):
        Path(folder, f"stopped-{index}").touch()
"""
PATIENCE = 60.0


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    app = tmp_path_factory.mktemp("app")
    for name in ("function_app.py", "host.json"):
        shutil.copy(ROOT / name, app)
    (app / "activities").mkdir()
    (app / "activities" / "ours.py").write_text(ACTIVITIES)
    (app / "pipelines").mkdir()
    for name, document in PIPELINES.items():
        (app / "pipelines" / f"{name}.json").write_text(json.dumps(document))
    environment = {"PYTHONPATH": str(ROOT)}
    with (
        ready_host(app, tmp_path_factory.mktemp("data"), *FAST, env=environment) as host,
        httpx.Client(base_url=host.url, timeout=PATIENCE) as client,
    ):
        yield client


def start(api, name, **given):
    return api.post(f"/api/pipelines/{name}/runs", json={"input": given}).json()["runId"]


def until(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def names(folder: Path, kind: str) -> set[str]:
    return {path.name.removeprefix(kind) for path in folder.glob(f"{kind}*")}


@pytest.mark.parametrize(("items", "how"), [(8, ""), (600, ""), (8, "?force=true"), (600, "?force=true")])
def test_cancelling_reaches_every_running_activity(api, tmp_path, items, how):
    run_id = start(api, "many", folder=str(tmp_path), items=list(range(items)))
    until(lambda: len(names(tmp_path, "began-")) == 4)

    answered = api.post(f"/api/runs/{run_id}/cancel{how}").json()

    assert (answered["status"], answered["error"]) == ("cancelled", None)
    until(lambda: len(names(tmp_path, "stopped-")) == 4)
    assert names(tmp_path, "stopped-") == names(tmp_path, "began-"), "nothing new was begun"
    rewound = api.post(f"/api/runs/{run_id}/rewind")
    assert rewound.status_code == (409 if how else 200), rewound.text
    assert api.post(f"/api/runs/{run_id}/cancel?force=true").json()["status"] == "cancelled"


def test_a_large_input_is_whole_for_clients_and_activities_and_never_in_a_history(api):
    text = "x" * 900_000
    run_id = start(api, "echo", items=[text, "short"])

    until(lambda: api.get(f"/api/runs/{run_id}").json()["status"] == "completed")
    run = api.get(f"/api/runs/{run_id}").json()
    kept = api.get(f"/runtime/webhooks/durabletask/instances/{run_id}?showInput=true&showHistory=true")

    assert run["input"] == {"items": [text, "short"]}
    assert run["output"] == [text, "short"]
    assert kept.status_code == 200
    assert len(kept.content) < 16_384
