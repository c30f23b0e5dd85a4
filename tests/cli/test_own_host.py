"""`loom run` by itself: it starts the real host on a copy of the app, and stops it."""

import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from loom_local.cli.api import Api
from loom_local.cli.child import COMMAND, READY, child_host

ROOT = Path(__file__).parents[2]
PIPELINES = {
    "echo": {"name": "echo", "stages": [{"name": "Echo", "activity": "echo", "input": "$.said"}]},
    "wait": {"name": "wait", "stages": [{"name": "Wait", "activity": "wait-for-file", "input": "$.file"}]},
}
ACTIVITIES = """
import asyncio, pathlib
from loom_core import activity

@activity("echo")
async def echo(value):
    return value

@activity("wait-for-file")
async def wait(file: str) -> None:
    while not pathlib.Path(file).exists():
        await asyncio.sleep(0.02)
"""


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    app = tmp_path_factory.mktemp("app")
    for name in ("function_app.py", "host.json"):
        shutil.copy(ROOT / name, app)
    (app / "activities").mkdir()
    (app / "activities" / "ours.py").write_text(ACTIVITIES)
    (app / "pipelines").mkdir()
    for name, document in PIPELINES.items():
        (app / "pipelines" / f"{name}.json").write_text(json.dumps(document))
    return app


@contextmanager
def loom_run(app, *arguments):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LOOM_")}
    # A shell lets what it runs in the background ignore SIGINT, and children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with subprocess.Popen(
        [sys.executable, "-m", "loom_local.cli.main", "run", *arguments, "--app", str(app)],
        cwd=app,
        env=environment | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        yield process


def completed(app, *arguments):
    with loom_run(app, *arguments) as process:
        stdout, stderr = process.communicate()
    return process.returncode, stdout, stderr


def test_a_run_by_itself_completes_and_keeps_nothing(app):
    code, stdout, stderr = completed(app, "echo", "--scratch", "--input", '{"said": "hello"}')

    assert code == 0, stderr
    assert json.loads(stdout) == "hello"
    assert not (app / ".loom").exists()


def test_an_interrupted_run_goes_on_when_its_data_is_served_again(app, tmp_path):
    file = tmp_path / "go"
    given = json.dumps({"file": str(file)})
    options = ("wait", "--key", "once", "--data", str(tmp_path / "data"), "--json", "--input", given)
    with loom_run(app, *options) as process:
        told = process.stderr.readline()
        process.send_signal(signal.SIGINT)
        file.touch()
        told += process.stderr.read()
    assert process.returncode == 130, told

    code, stdout, stderr = completed(app, *options)

    assert code == 0, stderr
    assert json.loads(stdout)["runId"] in told


def test_data_that_another_host_serves_is_refused_with_the_reason(app, tmp_path):
    with child_host(["--app", str(app), "--data", str(tmp_path)]):
        code, stdout, stderr = completed(app, "echo", "--data", str(tmp_path))

    assert (code, stdout) == (3, "")
    assert "ended before it was ready" in stderr


def test_an_app_that_is_none_is_refused_with_the_reason(tmp_path):
    code, _, stderr = completed(tmp_path, "echo", "--scratch")

    assert code == 3
    assert "function_app.py" in stderr


def test_a_pipeline_that_was_stored_survives_a_killed_host_and_runs_with_all_it_calls(app, tmp_path):
    inner = {"name": "inner", "stages": [{"name": "Echo", "activity": "echo"}]}
    newer = {**inner, "description": "newer", "stages": [{"name": "Echo", "activity": "echo", "input": 1}]}
    outer = {"name": "outer", "stages": [{"name": "Sub", "pipeline": "inner", "input": "$.said"}]}
    arguments = ["--app", str(app), "--data", str(tmp_path)]
    with subprocess.Popen([*COMMAND, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as host:
        url = next(found[1].decode() for line in host.stdout if (found := READY.search(line)))
        for document in (inner, outer, newer):
            Api(url).put(f"/api/pipelines/{document['name']}", json.dumps(document).encode())
        host.kill()

    with child_host(arguments) as url:
        versions = Api(url).get("/api/pipelines/inner/versions")["pipelines"]
        kept = Api(url).get(f"/api/pipelines/inner?version={versions[1]['version'][:8]}")
        run = Api(url).post(
            "/api/pipelines/outer/runs", {"input": {"said": "hello"}}, headers={"Prefer": "wait=30"}
        )

    assert kept["definition"] == inner
    assert (run["status"], run["output"]) == ("completed", 1)
