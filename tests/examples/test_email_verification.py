"""examples/email-verification: every way that it can end, in memory."""

import json

import pytest

from loom_core.catalogue.folders import load_actors
from loom_core.errors import StepFailedError
from loom_core.testing import Stage
from tests.examples.conftest import ROOT

APP = ROOT / "examples" / "email-verification"
ADA = "EmailVerification/ada"
HOUR = 3_600


@pytest.fixture
def stage():
    return Stage(*load_actors(APP / "actors").values(), activities={"send-mail": lambda mail: mail["to"]})


def mails(stage):
    return [mail["subject"] for _, mail in stage.calls]


def test_who_says_yes_is_verified_after_one_mail(stage):
    stage.send(ADA, {"email": "ada@example.org"})
    stage.run()
    assert stage.status(ADA)["suspendReason"] == "awaiting_event:email_verified"
    stage.event(ADA, "email_verified")
    stage.run()

    assert stage.state(ADA) == {"status": "verified", "mails": 1, "email": "ada@example.org"}
    assert mails(stage) == ["Is this your address?"]
    assert f"loom send {ADA} --event email_verified" in stage.calls[0][1]["text"]


def test_who_says_no_is_refused(stage):
    stage.send(ADA, {"email": "ada@example.org"})
    stage.event(ADA, "email_verified", False)
    stage.run()

    assert stage.state(ADA)["status"] == "refused"


def test_who_is_reminded_can_still_say_yes(stage):
    stage.send(ADA, {"email": "ada@example.org"})
    stage.advance(2 * HOUR)
    assert len(mails(stage)) == 2
    stage.event(ADA, "email_verified", True)
    stage.run()

    assert stage.state(ADA)["status"] == "verified"


def test_who_never_answers_is_reminded_once(stage):
    stage.send(ADA, {"email": "ada@example.org"})
    stage.advance(100 * HOUR)

    assert stage.state(ADA) == {"status": "expired", "mails": 2, "email": "ada@example.org"}


def test_what_is_no_address_is_refused_before_any_mail(stage):
    with pytest.raises(StepFailedError, match=r"\$\.payload\.email"):
        stage.ask(ADA, {"email": "ada"})

    assert mails(stage) == []


@pytest.mark.parametrize(("answer", "last"), [(True, "Welcome"), (False, "Is this your address?")])
def test_a_pipeline_waits_for_the_answer(stage, answer, last):
    definition = json.loads((APP / "pipelines" / "sign-up.json").read_text("utf-8"))
    stage.bench.after(HOUR / 2, lambda: stage.event(ADA, "email_verified", answer))

    output = stage.pipeline(definition, {"user": "ada", "email": "ada@example.org"})

    assert output == {"user": "ada", "answer": "verified" if answer else "refused"}
    assert mails(stage)[-1] == last


@pytest.mark.parametrize("seed", range(10))
def test_crashes_and_outages_change_no_answer(seed):
    types = load_actors(APP / "actors").values()
    stage = Stage(
        *types, activities={"send-mail": lambda mail: mail["to"]}, seed=seed, crashes=True, outages=True
    )
    stage.send(ADA, {"email": "ada@example.org"})
    stage.advance(2 * HOUR)
    stage.event(ADA, "email_verified")
    stage.advance(HOUR)

    assert stage.state(ADA) == {"status": "verified", "mails": 2, "email": "ada@example.org"}
