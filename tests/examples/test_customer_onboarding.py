"""customer-onboarding: every way that it can end, in memory, over a real ledger."""

from pathlib import Path

import pytest

from loom_core.errors import CancelledError, ConflictError, NotFoundError, StepFailedError, TimedOutError
from loom_core.notations import parse
from tests.examples.conftest import World, accounts, definition, ledger, mails

ADA = {"name": " Ada  Lovelace ", "email": "ada@EXAMPLE.org"}
HOUR = 3_600
CUSTOMER = {"name": "Ada", "email": "ada@example.org"}


def events(data: Path):
    return ledger(data, "SELECT event FROM events ORDER BY rowid")


def test_the_definition_has_no_problem_and_no_warning():
    assert parse(definition("customer-onboarding")).warnings == ()


def test_a_verified_customer_has_an_account_and_two_mails(world: World):
    account = world.run("customer-onboarding", ADA, (60, "email_verified", None))

    assert (account["email"], account["name"]) == ("ada@example.org", "Ada Lovelace")
    assert accounts(world.data) == ["confirmed"]
    assert events(world.data) == ["account_created", "account_confirmed", "user_onboarded"]
    assert mails(world.data) == ["Is this your address?", "Welcome, Ada Lovelace"]


def test_who_is_reminded_after_an_hour_can_still_say_yes(world: World):
    world.run("customer-onboarding", ADA, (2 * HOUR, "email_verified", {"accepted": True}))

    assert accounts(world.data) == ["confirmed"]
    assert len(mails(world.data)) == 3


def test_the_account_of_who_never_answers_is_deleted(world: World):
    with pytest.raises(TimedOutError, match="wait-again"):
        world.run("customer-onboarding", ADA)

    assert world.bench.clock == 25 * HOUR
    assert accounts(world.data) == ["deleted"]
    assert events(world.data) == ["account_created", "account_deleted"]
    assert world.told["compensations"] == [{"stage": "create-account", "status": "completed"}]


@pytest.mark.parametrize("hours", [0.5, 2])
def test_the_account_of_who_refuses_is_deleted(world: World, hours: float):
    with pytest.raises(StepFailedError, match="not theirs"):
        world.run("customer-onboarding", ADA, (hours * HOUR, "email_verified", {"accepted": False}))

    assert accounts(world.data) == ["deleted"]


def test_a_cancelled_run_leaves_no_account(world: World):
    with pytest.raises(CancelledError):
        world.run("customer-onboarding", ADA, (60, "loom:cancel", None))

    assert accounts(world.data) == ["deleted"]


def test_an_address_has_one_account_until_that_is_deleted(world: World):
    with pytest.raises(TimedOutError):
        world.run("customer-onboarding", ADA)
    world.run("customer-onboarding", ADA, (60, "email_verified", None))

    with pytest.raises(StepFailedError, match="an account for this address"):
        world.run("customer-onboarding", ADA)

    assert accounts(world.data) == ["deleted", "confirmed"]
    assert "delete-user-account" not in world.called


def test_the_same_call_again_makes_no_second_account_and_no_second_entry(world: World):
    first, second = (world.call("create-user-account", CUSTOMER, key="run-1/create") for _ in range(2))

    assert first == second
    assert (accounts(world.data), events(world.data)) == (["new"], ["account_created"])


def test_the_same_deletion_again_changes_nothing(world: World):
    user = world.call("create-user-account", CUSTOMER)["userId"]

    first, second = (world.call("delete-user-account", user, key="run-1/undo") for _ in range(2))

    assert first == second
    assert events(world.data) == ["account_created", "account_deleted"]


def test_the_same_mail_again_is_one_mail(world: World):
    mail = {"to": "ada@example.org", "subject": "Grüße", "text": "x" * 200}

    first, second = (world.call("send-email", mail, key="run-1/mail") for _ in range(2))

    assert first == second
    assert mails(world.data) == ["Grüße"]


def test_a_subject_of_two_lines_is_no_second_header(world: World):
    with pytest.raises(ValueError, match="linefeed"):
        world.call("send-email", {"to": "a@b", "subject": "Hello\nBcc: all@example.org", "text": ""})

    assert mails(world.data) == []


def test_what_does_not_exist_or_is_deleted_cannot_be_confirmed(world: World):
    user = world.call("create-user-account", CUSTOMER)["userId"]
    world.call("delete-user-account", user)

    with pytest.raises(ConflictError, match="is deleted"):
        world.call("confirm-user-account", {"userId": user})
    with pytest.raises(NotFoundError):
        world.call("confirm-user-account", {"userId": "user-0"})


def test_an_entry_is_written_once_and_stays_as_it_was(world: World):
    world.call("log-event", {"event": "opened", "subject": {"by": "Ada"}}, key="run-1/log")
    before = ledger(world.data, "SELECT * FROM events")

    world.call("log-event", {"event": "closed"}, key="run-1/log")

    assert ledger(world.data, "SELECT * FROM events") == before
