"""The shipped examples as a user runs them: on the real host, over HTTP, with files and with kill -9."""

import json
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from loom_local.cli.api import Api
from loom_local.cli.run import run
from tests.examples.conftest import ROOT, accounts, definition, ledger, mails
from tests.host.processes import FAST, RunningHost, ready_host

NAMES = ("second-opinion", "customer-onboarding", "inbox-digest")
ADA = {"name": "Ada", "email": "ada@example.org"}
WELCOME, VERIFY = "Welcome, Ada", "Is this your address?"


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The app with these pipelines, and one that waits for milliseconds instead of hours."""
    app = tmp_path_factory.mktemp("app")
    for name in ("function_app.py", "host.json"):
        shutil.copy(ROOT / name, app)
    shutil.copytree(ROOT / "activities", app / "activities", ignore=shutil.ignore_patterns("__pycache__"))
    (app / "pipelines").mkdir()
    hasty = {**definition("customer-onboarding"), "name": "hasty-onboarding"}
    wait = next(step for step in hasty["steps"] if step["type"] == "wait")
    wait["timeout"] = wait["onTimeout"][-1]["timeout"] = 50
    for document in (*map(definition, NAMES), hasty):
        (app / "pipelines" / f"{document['name']}.json").write_text(json.dumps(document))
    return app


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def host(app: Path, folder: Path) -> Iterator[RunningHost]:
    with ready_host(app, folder, *FAST) as host:
        yield host


@pytest.fixture
def data(host: RunningHost, folder: Path) -> Path:
    """The host's data folder, without what the test before left of customer-onboarding."""
    shutil.rmtree(folder / "onboarding", ignore_errors=True)
    return folder


def start(host: RunningHost, pipeline: str, given: Any) -> str:
    return Api(host.url).post(f"/api/pipelines/{pipeline}/runs", {"input": given})["runId"]


def send(host: RunningHost, run_id: str, event: str, payload: Any = None) -> None:
    Api(host.url).post(f"/api/runs/{run_id}/events/{event}", payload)


def until(host: RunningHost, run_id: str, so: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    """The run as soon as it is so; fails if it ends without."""
    while not so(document := Api(host.url).get(f"/api/runs/{run_id}")):
        assert document["status"] in {"pending", "running"}, document
        time.sleep(0.02)
    return document


def waits_at(stage: str) -> Callable[[dict[str, Any]], bool]:
    return lambda document: document["progress"].get(stage, {}).get("total", 0) > 0


def has_ended(document: dict[str, Any]) -> bool:
    return document["status"] not in {"pending", "running"}


def test_a_second_opinion_is_what_the_command_in_its_page_prints(host: RunningHost):
    example = ROOT / "docs/examples/second-opinion.json"

    result = CliRunner().invoke(run, ["second-opinion", "--input", f"@{example}", "--url", host.url])

    assert result.exit_code == 0, result.output
    assert result.stdout.strip() in (ROOT / "docs/examples.md").read_text("utf-8")
    assert "Compare: completed 1 of 1" in result.stderr


def test_a_customer_who_says_yes_is_welcomed(host: RunningHost, data: Path):
    run_id = start(host, "customer-onboarding", ADA)
    until(host, run_id, waits_at("wait-verification"))
    send(host, run_id, "email_verified")

    document = until(host, run_id, has_ended)

    assert (document["status"], document["output"]["status"]) == ("completed", "confirmed")
    assert (accounts(data), mails(data)) == (["confirmed"], [VERIFY, WELCOME])


def test_a_customer_who_does_not_answer_in_time_has_no_account(host: RunningHost, data: Path):
    document = until(host, start(host, "hasty-onboarding", ADA), has_ended)

    assert (document["status"], document["error"]["type"]) == ("failed", "TimedOutError")
    assert (accounts(data), len(mails(data))) == (["deleted"], 2)


def test_a_welcome_that_cannot_be_sent_undoes_the_account(host: RunningHost, data: Path):
    run_id = start(host, "customer-onboarding", ADA)
    until(host, run_id, waits_at("wait-verification"))
    outbox = data / "onboarding" / "outbox"
    shutil.rmtree(outbox)
    outbox.write_text("no folder any more")
    send(host, run_id, "email_verified", {"accepted": True})

    document = until(host, run_id, has_ended)

    assert document["status"] == "failed"
    assert "FileExistsError" in document["error"]["message"]
    assert accounts(data) == ["deleted"]


def test_a_cancelled_run_undoes_the_account(host: RunningHost, data: Path):
    run_id = start(host, "customer-onboarding", ADA)
    until(host, run_id, waits_at("wait-verification"))
    Api(host.url).post(f"/api/runs/{run_id}/cancel")

    document = until(host, run_id, has_ended)

    assert (document["status"], accounts(data)) == ("cancelled", ["deleted"])


def test_two_kills_leave_one_account_and_one_mail_of_each_kind(app: Path, tmp_path: Path):
    (tmp_path / "onboarding").mkdir()
    with closing(sqlite3.connect(tmp_path / "onboarding" / "ledger.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with ready_host(app, tmp_path, *FAST) as host:
            run_id = start(host, "customer-onboarding", ADA)
            until(host, run_id, waits_at("create-account"))
        other.execute("ROLLBACK")
    with ready_host(app, tmp_path, *FAST) as host:
        until(host, run_id, lambda _: ledger(tmp_path, "SELECT 1 FROM sqlite_master") and accounts(tmp_path))
    with ready_host(app, tmp_path, *FAST) as host:
        until(host, run_id, waits_at("wait-verification"))
        send(host, run_id, "email_verified")
        document = until(host, run_id, has_ended)

    assert document["status"] == "completed"
    assert ledger(tmp_path, "SELECT user_id, status FROM accounts") == [
        (document["output"]["userId"], "confirmed")
    ]
    events = ledger(tmp_path, "SELECT event FROM events ORDER BY rowid")
    assert events == ["account_created", "account_confirmed", "user_onboarded"]
    assert mails(tmp_path) == [VERIFY, WELCOME]


def test_logs_that_are_put_into_the_inbox_are_digested_until_the_run_is_stopped(
    app: Path, host: RunningHost, tmp_path: Path
):
    run_id = start(host, "inbox-digest", {})
    until(host, run_id, waits_at("drop"))
    inbox = app / "inbox" / "logs"
    inbox.mkdir(parents=True, exist_ok=True)
    (tmp_path / "a.log").write_text("INFO request\nERROR disk 7 is full\n" * 20_000)
    shutil.move(tmp_path / "a.log", inbox / "a.log")
    until(host, run_id, lambda document: document["progress"]["report"]["done"] == 1)
    Api(host.url).post(f"/api/runs/{run_id}/stop")

    document = until(host, run_id, has_ended)

    assert document["status"] == "completed"
    assert document["output"]["problems"] == {"ERROR disk # is full": 20_000}
    assert document["output"]["levels"] == {"INFO": 20_000, "ERROR": 20_000}
    assert document["progress"]["read"]["done"] == 3
    assert "20000" in Path(document["output"]["page"]).read_text("utf-8")
