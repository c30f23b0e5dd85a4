import json

from loom_local.cli.run import run


def test_a_run_is_followed_to_its_end_and_its_output_is_printed(host, loom):
    result = loom(run, "count", "--input", '{"text": "a b c"}')

    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == {"words": 3}
    assert result.stderr.splitlines()[:2] == ["Split: running 0 of 2", "Split: completed 2 of 2"]
    assert host.bodies == [{"input": {"text": "a b c"}}]


def test_a_broken_stream_is_taken_up_where_it_broke_off(host, loom):
    host.break_after = 2

    result = loom(run, "count")

    assert result.exit_code == 0
    assert host.resumed_from == [None, "2"]


def test_a_lost_answer_does_not_start_a_second_run(host, loom):
    host.lose_first_answer = True

    result = loom(run, "count")

    assert result.exit_code == 0
    assert len(host.keys) == 2
    assert len(set(host.keys)) == 1


def test_the_idempotency_key_can_be_given(host, loom):
    loom(run, "count", "--key", "monday")

    assert host.keys == ["monday"]


def test_a_failed_run_says_why_and_exits_with_1(host, loom):
    host.outcome = {"status": "failed", "error": {"type": "ValueError", "message": "no text"}}

    result = loom(run, "count")

    assert result.exit_code == 1
    assert result.stdout == ""
    assert "run-a failed: ValueError: no text" in result.stderr


def test_a_refused_input_lists_every_problem_with_its_path_and_exits_with_2(host, loom):
    problems = [
        {"path": "$.path", "message": "is missing"},
        {"path": "$.depth", "message": "is not a number"},
    ]
    host.refusal = (422, {"title": "Invalid", "detail": "the input is not valid", "problems": problems})

    result = loom(run, "count")

    assert result.exit_code == 2
    assert "the input is not valid" in result.stderr
    assert "$.path: is missing" in result.stderr
    assert "$.depth: is not a number" in result.stderr


def test_under_json_a_refusal_is_the_problem_document_on_the_standard_output(host, loom):
    host.refusal = (404, {"title": "Not found", "detail": "no pipeline 'count'"})

    result = loom(run, "count", "--json")

    assert result.exit_code == 2
    assert json.loads(result.stdout) == host.refusal[1]


def test_a_host_that_wants_a_key_is_told_by_the_name_of_its_variable(host, loom):
    host.refusal = (401, {"detail": "A key is needed"})

    result = loom(run, "count")

    assert result.exit_code == 2
    assert "LOOM_API_KEY" in result.stderr


def test_a_host_that_fails_is_not_the_fault_of_the_input(host, loom):
    host.refusal = (500, {"title": "Internal error"})

    assert loom(run, "count").exit_code == 3


def test_an_address_that_was_asked_for_and_does_not_answer_exits_with_3(nowhere, loom):
    result = loom(run, "count", "--url", nowhere)

    assert result.exit_code == 3
    assert nowhere in result.stderr


def test_input_that_is_not_json_is_a_usage_error_before_anything_is_sent(host, loom):
    result = loom(run, "count", "--input", "{")

    assert result.exit_code == 2
    assert "not JSON" in result.stderr
    assert host.requests == []


def test_input_comes_from_a_file_or_from_the_standard_input(host, loom, tmp_path):
    (tmp_path / "input.json").write_text('{"n": 1}')

    loom(run, "count", "--input", f"@{tmp_path / 'input.json'}")
    loom(run, "count", "--input", "-", input='{"n": 2}')

    assert host.bodies == [{"input": {"n": 1}}, {"input": {"n": 2}}]


def test_a_missing_input_file_is_named(host, loom, tmp_path):
    result = loom(run, "count", "--input", f"@{tmp_path / 'none.json'}")

    assert result.exit_code == 2
    assert "none.json" in result.stderr


def test_detach_starts_the_run_and_leaves_it(host, loom):
    result = loom(run, "count", "--detach", "--json")

    assert result.exit_code == 0
    assert json.loads(result.stdout)["status"] == "running"
    assert host.requests == [("POST", "/api/pipelines/count/runs")]


def test_the_output_is_written_where_asked(host, loom, tmp_path):
    result = loom(run, "count", "--output", str(tmp_path / "out.json"))

    assert json.loads((tmp_path / "out.json").read_text()) == {"words": 3}
    assert "out.json" in result.stderr


def test_an_output_that_could_not_be_written_is_refused_before_the_run_starts(host, loom, tmp_path):
    result = loom(run, "count", "--output", str(tmp_path / "nowhere" / "out.json"))

    assert result.exit_code == 2
    assert f"{tmp_path / 'nowhere'} is no folder that can be written to" in result.stderr
    assert host.bodies == []


def test_an_output_that_cannot_be_written_in_the_end_is_said_without_a_traceback(host, loom, tmp_path):
    result = loom(run, "count", "--output", str(tmp_path / ("x" * 300)))

    assert result.exit_code == 1
    assert "File name too long" in result.stderr
    assert json.loads(result.stdout) == {"words": 3}


def test_a_report_is_printed_as_the_markdown_it_carries(host, loom):
    host.outcome = {"status": "completed", "output": {"markdown": "# Licences\n\nMIT", "families": {}}}

    assert loom(run, "licence-audit").stdout == "# Licences\n\nMIT\n"


def test_untrusted_text_cannot_command_the_terminal(host, loom):
    host.outcome = {"status": "completed", "output": {"markdown": "a\x1b]0;owned\x07\x9b31mb"}}

    stdout = loom(run, "licence-audit", color=True).stdout

    assert "\x1b" not in stdout
    assert "\x9b" not in stdout


def test_a_name_is_quoted_for_its_place_in_the_path(host, loom):
    loom(run, "../admin?x", "--detach")

    assert host.requests == [("POST", "/api/pipelines/..%2Fadmin%3Fx/runs")]


def test_options_that_contradict_each_other_are_refused(loom, tmp_path):
    for options in [("--url", "http://x", "--scratch"), ("--data", str(tmp_path), "--scratch")]:
        assert loom(run, "count", *options).exit_code == 2


def test_a_host_of_its_own_cannot_be_left_alone_with_the_run(loom):
    result = loom(run, "count", "--scratch", "--detach")

    assert result.exit_code == 2
    assert "loom dev" in result.stderr


def test_an_address_that_is_none_is_a_usage_error(loom):
    result = loom(run, "count", "--url", "ftp://example")

    assert result.exit_code == 2


def test_a_version_can_be_asked_for(host, loom):
    loom(run, "count", "--version", "1.0")

    assert host.bodies == [{"input": {}, "version": "1.0"}]
