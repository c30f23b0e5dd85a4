import json

import pytest

from loom_local.cli.runs import runs


def page(*names, following=None):
    times = {"createdAt": "2026-01-02T03:04:05Z", "updatedAt": "2026-01-02T03:04:06Z"}
    documents = [{"runId": name, "pipeline": "p", "status": "running"} | times for name in names]
    return {"runs": documents, "next": following}


def test_a_list_goes_on_to_the_next_page_until_it_has_enough(host, loom):
    host.pages = {
        "limit=3": page("run-a", "run-b", following="b"),
        "limit=1&after=b": page("run-c", following="c"),
    }

    result = loom(runs, "list", "--limit", "3", "--json")

    assert [json.loads(line)["runId"] for line in result.stdout.splitlines()] == ["run-a", "run-b", "run-c"]


def test_a_list_is_narrowed_by_status(host, loom):
    host.pages = {"status=failed&limit=20": page("run-a")}

    result = loom(runs, "list", "--status", "failed")

    assert "run-a" in result.stdout


def test_runs_alone_lists(host, loom):
    host.pages = {"limit=20": page()}

    assert loom(runs).exit_code == 0


def test_show_prints_the_state_the_stages_and_the_output(host, loom):
    host.finished = True

    result = loom(runs, "show", "run-a")

    assert "run-a  completed  p" in result.stdout
    assert "Split: completed 2 of 2" in result.stdout
    assert '"words": 3' in result.stdout


def test_an_unknown_run_exits_with_2(host, loom):
    assert loom(runs, "show", "run-b").exit_code == 2


def test_cancelling_can_be_forced(host, loom):
    result = loom(runs, "cancel", "run-a", "--force")

    assert result.stdout == "run-a  running\n"
    assert host.requests == [("POST", "/api/runs/run-a/cancel?force=true")]
    assert loom(runs, "stop", "run-a", "--force").exit_code == 2


@pytest.mark.parametrize("action", ["cancel", "stop", "rewind", "suspend", "resume"])
def test_a_run_is_steered_by_its_id(host, loom, action):
    result = loom(runs, action, "run-a", "--json")

    assert result.exit_code == 0
    assert host.requests == [("POST", f"/api/runs/run-a/{action}")]
    assert json.loads(result.stdout)["runId"] == "run-a"


def test_events_are_followed_to_the_end_over_a_broken_stream(host, loom):
    host.break_after = 1

    result = loom(runs, "events", "run-a", "--follow", "--json")

    assert [json.loads(line)["id"] for line in result.stdout.splitlines()] == ["1", "2", "3", "end"]


def test_events_can_be_taken_up_after_an_id(host, loom):
    result = loom(runs, "events", "run-a", "--after", "2", "--json")

    assert [json.loads(line)["id"] for line in result.stdout.splitlines()] == ["3", "end"]


def test_no_host_exits_with_3(nowhere, loom):
    assert loom(runs, "list").exit_code == 3


def test_show_says_what_was_undone(host, loom):
    error = {"type": "OSError", "message": "no disk"}
    undone = [{"stage": "B", "status": "failed", "error": error}, {"stage": "A", "status": "completed"}]
    host.finished, host.outcome = True, {"status": "cancelled", "compensations": undone}

    lines = loom(runs, "show", "run-a").stdout.splitlines()

    assert lines[-2:] == ["  B: could not be undone (OSError: no disk)", "  A: undone"]


def test_an_event_is_sent_with_its_payload(host, loom):
    result = loom(runs, "send", "run-a", "email/verified", "--payload", '{"accepted": false}')

    assert result.stdout == "run-a  running\n"
    assert host.requests[0] == ("POST", "/api/runs/run-a/events/email%2Fverified")
    assert host.bodies == [{"accepted": False}]


def test_an_event_without_a_payload_has_null(host, loom):
    result = loom(runs, "send", "run-a", "go", "--json")

    assert json.loads(result.stdout)["runId"] == "run-a"
    assert host.bodies == [None]


def test_an_event_that_is_refused_exits_with_2(host, loom):
    host.refusal = (409, {"title": "Conflict", "detail": "run-a is completed and takes no more events"})

    result = loom(runs, "send", "run-a", "go")

    assert result.exit_code == 2
    assert "takes no more events" in result.stderr
