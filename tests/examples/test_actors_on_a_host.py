"""The examples with actors as a user runs them: on the real host, over HTTP, and with kill -9."""

import time
from collections.abc import Callable, Iterator
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from loom_local.cli.api import Api
from loom_local.cli.run import run
from tests.examples.conftest import ROOT
from tests.host.processes import FAST, RunningHost, ready_host

BANK, VERIFY = ROOT / "examples" / "bank", ROOT / "examples" / "email-verification"


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHost]:
    with ready_host(BANK, tmp_path_factory.mktemp("bank"), *FAST) as host:
        yield host


def until(found: Callable[[], Any]) -> Any:
    while not (answer := found()):
        time.sleep(0.02)
    return answer


def balance(api: Api, account: str) -> int:
    return api.get(f"/api/actors/Account/{account}")["state"]["balance"]


def test_the_day_of_the_bank_is_what_the_command_in_its_page_prints(bank: RunningHost):
    given = ["bank-day", "--input", f"@{BANK / 'day.json'}", "--url", bank.url]

    result = CliRunner().invoke(run, given)

    assert result.exit_code == 0, result.output
    assert result.stdout.strip() in (ROOT / "docs/examples.md").read_text("utf-8")


def test_a_transfer_is_asked_for_over_http(bank: RunningHost):
    api = Api(bank.url)
    wait = {"Prefer": "wait=30"}
    api.post("/api/actors/Account/x/messages", {"payload": {"do": "deposit", "cents": 100}}, headers=wait)

    order = {"payload": {"source": "x", "target": "y", "cents": 30}}
    [result] = api.post("/api/actors/Transfer/x-y/messages", order, headers=wait)["results"]

    assert (result["status"], result["result"]) == ("done", "done")
    assert (balance(api, "x"), balance(api, "y")) == (70, 30)


def test_a_bank_that_is_killed_three_times_balances_to_the_cent(tmp_path: Path):
    accounts = [f"a-{number}" for number in range(5)]
    transfers = [
        {
            "actorId": f"Transfer/t-{number}",
            "messageId": f"t-{number}",
            "payload": {
                "source": accounts[number % 5],
                "target": accounts[(number * 3 + 1) % 5],
                "cents": number,
            },
        }
        for number in range(1, 61)
    ]
    moves = [
        {"actorId": f"Account/{one}", "messageId": f"in-{one}", "payload": {"do": "deposit", "cents": 10_000}}
        for one in accounts
    ]
    with ready_host(BANK, tmp_path, *FAST) as host:
        Api(host.url).post("/api/messages", moves, headers={"Prefer": "wait=30"})
    for batch in (transfers[:30], transfers[30:]):
        with ready_host(BANK, tmp_path, *FAST) as host:
            Api(host.url).post("/api/messages", batch)  # and killed as soon as they are kept
    with ready_host(BANK, tmp_path, *FAST) as host:
        api = Api(host.url)
        for one in transfers:
            until(lambda one=one: status(api, one["actorId"]) in {"done", "refused"})
        held = {account: balance(api, account) for account in accounts}

    wanted = dict.fromkeys(accounts, 10_000)
    for one in transfers:
        wanted[one["payload"]["source"]] -= one["payload"]["cents"]
        wanted[one["payload"]["target"]] += one["payload"]["cents"]
    assert held == wanted


def status(api: Api, transfer: str) -> str | None:
    _, _, id_ = transfer.partition("/")
    found = {one.partition("/")[2] for one in api.get("/api/actors/Transfer", {"limit": 1_000})["actors"]}
    if id_ not in found:
        return None
    return (api.get(f"/api/actors/{transfer}")["state"] or {}).get("status")


def test_a_pipeline_waits_for_a_person_over_a_kill(tmp_path: Path):
    with ready_host(VERIFY, tmp_path, *FAST) as host:
        api = Api(host.url)
        given = {"input": {"user": "ada", "email": "ada@example.org"}}
        run_id = api.post("/api/pipelines/sign-up/runs", given)["runId"]
        until(lambda: list((tmp_path / "outbox").glob("*.eml")))
        until(lambda: api.get("/api/actors/EmailVerification/ada")["status"] == "suspended")
    with ready_host(VERIFY, tmp_path, *FAST) as host:
        api = Api(host.url)
        event = {"messageType": "event", "payload": {"eventType": "email_verified", "data": True}}
        api.post("/api/actors/EmailVerification/ada/messages", event)
        document = until(lambda: ended(api.get(f"/api/runs/{run_id}")))

    assert (document["status"], document["output"]) == ("completed", {"user": "ada", "answer": "verified"})
    mails = [message_from_bytes(file.read_bytes()) for file in (tmp_path / "outbox").glob("*.eml")]
    assert sorted(mail["Subject"] for mail in mails) == ["Is this your address?", "Welcome"]


def ended(document: dict[str, Any]) -> dict[str, Any] | None:
    return None if document["status"] in {"pending", "running"} else document
