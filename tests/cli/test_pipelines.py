import json

import pytest

from loom_local.cli.pipelines import pipelines


def brief(name, **more):
    warnings = [{"path": "$.stages[0]", "message": "no concurrency"}]
    return {"name": name, "version": "ab" * 32, "source": "stored", "label": "", "warnings": warnings, **more}


def test_all_pages_of_a_list_are_printed(host, loom):
    host.pages = {
        "limit=100": {"pipelines": [brief("a")], "next": "a"},
        "limit=100&after=a": {"pipelines": [brief("b")], "next": None},
    }
    result = loom(pipelines, "list", "--versions", "one", "--json")

    assert [json.loads(line)["name"] for line in result.stdout.splitlines()] == ["a", "b"]
    assert host.requests[0] == ("GET", "/api/pipelines/one/versions?limit=100")


def test_pipelines_alone_lists(host, loom):
    host.pages = {"limit=100": {"pipelines": [brief("a")], "next": None}}

    assert loom(pipelines).stdout.startswith("a  abababababab  stored\n")


def test_a_file_is_stored_as_it_is_written(host, loom, tmp_path):
    host.documents = {"/api/pipelines/one": brief("one", label="2.0")}
    text = '{ "name": "one",  "stages": [] }'
    (tmp_path / "one.json").write_text(text)

    result = loom(pipelines, "put", str(tmp_path / "one.json"))

    assert result.exit_code == 0
    assert host.bodies == [text.encode()]
    assert result.stdout == "one  abababababab  stored  2.0\n  warning: $.stages[0]: no concurrency\n"


def test_what_the_host_finds_wrong_is_printed_with_its_places(host, loom):
    problems = [{"path": "$.stages", "message": "is required"}]
    host.refusal = (422, {"detail": "the document breaks its rules", "problems": problems})

    result = loom(pipelines, "put", "-", "--json", input='{"name": "one"}')

    assert result.exit_code == 2
    assert json.loads(result.stdout)["problems"] == problems
    assert "$.stages: is required" in result.stderr


@pytest.mark.parametrize("text", ["{", "[]", '{"name": 7}', "[" * 100_000])
def test_a_file_without_a_name_is_sent_nowhere(host, loom, text):
    result = loom(pipelines, "put", "-", input=text)

    assert result.exit_code == 2
    assert host.requests == []


def test_one_pipeline_is_shown_with_its_definition(host, loom):
    host.documents = {"/api/pipelines/one": brief("one", definition={"name": "one"})}

    result = loom(pipelines, "show", "one", "--version", "abababab")

    assert json.loads(result.stdout)["definition"] == {"name": "one"}
    assert host.requests == [("GET", "/api/pipelines/one?version=abababab")]


def test_a_stored_pipeline_is_deleted(host, loom):
    assert loom(pipelines, "delete", "one").exit_code == 0
    assert host.requests == [("DELETE", "/api/pipelines/one")]
