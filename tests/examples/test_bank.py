"""examples/bank: in memory, with its real actors and its real report."""

import json

import pytest

from loom_core.activities import MARK
from loom_core.catalogue.folders import load_actors, load_folder
from loom_core.errors import StepFailedError
from loom_core.testing import Stage
from tests.examples.conftest import ROOT

APP = ROOT / "examples" / "bank"


@pytest.fixture
def bank():
    """Makes a stage with the actors of the example; `about` is what a Stage takes."""
    types = load_actors(APP / "actors").values()
    activities = {
        getattr(one, MARK): lambda given, one=one: one(**given) for one in load_folder(APP / "activities")
    }
    return lambda **about: Stage(*types, activities=activities, **about)


def move(stage, account, do, cents=0):
    return stage.ask(f"Account/{account}", {"do": do, "cents": cents})


def order(source, target, cents):
    return {"source": source, "target": target, "cents": cents}


def balances(stage, *accounts):
    return [stage.state(f"Account/{account}")["balance"] for account in accounts]


def test_a_transfer_moves_money(bank):
    stage = bank()
    move(stage, "ada", "deposit", 100)

    assert stage.ask("Transfer/1", order("ada", "bob", 60)) == "done"
    assert balances(stage, "ada", "bob") == [40, 60]


def test_an_account_is_never_overdrawn(bank):
    stage = bank()
    move(stage, "ada", "deposit", 100)

    assert stage.ask("Transfer/1", order("ada", "bob", 101)) == "refused"
    assert balances(stage, "ada") == [100]


def test_what_cannot_be_deposited_is_given_back(bank):
    stage = bank()
    move(stage, "ada", "deposit", 100)
    move(stage, "bob", "close")

    assert stage.ask("Transfer/1", order("ada", "bob", 60)) == "returned"
    assert balances(stage, "ada", "bob") == [100, 0]


def test_a_transfer_that_is_asked_for_twice_happens_once(bank):
    stage = bank()
    move(stage, "ada", "deposit", 100)
    stage.ask("Transfer/1", order("ada", "bob", 60))

    assert stage.ask("Transfer/1", order("ada", "bob", 60)) == "done"
    assert balances(stage, "ada", "bob") == [40, 60]


def test_an_order_that_is_none_is_refused(bank):
    stage = bank()

    with pytest.raises(StepFailedError, match=r"\$\.payload\.cents: .*greater than 0"):
        stage.ask("Transfer/1", order("ada", "bob", -5))


def test_the_day_of_the_bank_ends_with_the_report_that_its_page_shows(bank):
    definition = json.loads((APP / "pipelines" / "bank-day.json").read_text("utf-8"))
    given = json.loads((APP / "day.json").read_text("utf-8"))
    stage = bank()

    report = stage.pipeline(definition, given)

    assert report["paidIn"] == report["held"] == 12_550
    assert report["markdown"] in (ROOT / "docs" / "examples.md").read_text("utf-8")
    assert balances(stage, "ada", "bob", "eve") == [7_501, 4_549, 500]


@pytest.mark.parametrize("app", ["bank", "email-verification"])
@pytest.mark.parametrize("file", ["function_app.py", "host.json"])
def test_an_example_is_the_same_app_with_other_folders(app, file):
    assert (ROOT / "examples" / app / file).read_bytes() == (ROOT / file).read_bytes()
