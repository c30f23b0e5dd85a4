import json

import pytest

from loom_local.cli.validate import validate

GOOD = {"name": "good", "stages": [{"name": "Only", "activity": "noop"}]}
ACTIVITY = """
from loom_core import activity
print("hello")

@activity("noop")
def noop(value):
    return value
"""


@pytest.fixture
def app(tmp_path, monkeypatch):
    for name in ("activities", "pipelines"):
        (tmp_path / name).mkdir()
    (tmp_path / "activities" / "noop.py").write_text(ACTIVITY)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder, name, document):
    text = document if isinstance(document, str) else json.dumps(document)
    (folder / name).write_text(text, encoding="utf-8")


def test_files_in_which_nothing_is_wrong_print_nothing(app, loom):
    write(app, "good.json", GOOD)

    result = loom(validate, "good.json")

    assert (result.exit_code, result.stdout) == (0, "")
    assert "1 checked, 0 wrong" in result.stderr


def test_every_problem_is_printed_with_its_file_its_line_and_its_path(app, loom):
    text = """{
  "name": "bad",
  "stages": [
    {"name": "A", "activity": "nop"},
    {
      "name": "B",
      "activity": "noop",
      "after": [
        "Z"
      ]
    }
  ]
}"""
    write(app, "bad.json", text)

    result = loom(validate, "bad.json")

    assert result.exit_code == 1
    assert sorted(result.stdout.splitlines()) == [
        "bad.json:4: $.stages[0].activity: there is no activity 'nop'; did you mean 'noop'?",
        "bad.json:9: $.stages[1].after[0]: there is no stage 'Z'",
    ]


def test_a_warning_is_no_problem(app, loom):
    stages = [{"name": "S", "activity": "noop", "mode": "scatter", "scatter": {"input": [1]}}]
    write(app, "warned.json", {"name": "warned", "stages": stages})

    result = loom(validate, "warned.json")

    assert result.exit_code == 0
    assert result.stdout.startswith("warned.json:1: warning: $.stages[0].config.concurrency: ")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", ":1: $: not JSON"),
        ('{\n"name":\n}', ":3: $: not JSON"),
        ('{"name": 1,\n"name": 2}', ":2: $.name: is given twice"),
        ("[]", ":1: $: a pipeline is an object"),
        ('{"name": NaN}', ":1: $: not JSON"),
        ("[" * 100_000, ":1: $: not JSON"),
    ],
)
def test_what_is_no_pipeline_is_told(app, loom, content, told):
    write(app, "odd.json", content)

    result = loom(validate, "odd.json")

    assert result.exit_code == 1
    assert f"odd.json{told}" in result.stdout


def test_bytes_that_are_no_text_and_files_that_are_not_there_do_not_hide_the_others(app, loom):
    (app / "binary.json").write_bytes(b"\xff\xfe\x00")
    write(app, "good.json", GOOD)

    result = loom(validate, "binary.json", "missing.json", "good.json", "--json")

    found = {document["file"]: document for document in map(json.loads, result.stdout.splitlines())}
    assert {name: document["valid"] for name, document in found.items()} == {
        "binary.json": False,
        "missing.json": False,
        "good.json": True,
    }
    assert "not UTF-8" in found["binary.json"]["problems"][0]["message"]
    assert result.exit_code == 1


def test_what_the_app_prints_is_not_among_the_answers(app, loom):
    write(app / "pipelines", "good.json", GOOD)

    result = loom(validate, "--json")

    assert [json.loads(line)["name"] for line in result.stdout.splitlines()] == ["good"]
    assert "hello" in result.stderr


def test_the_standard_input_is_a_file_too(app, loom):
    assert loom(validate, "-", input=json.dumps(GOOD)).exit_code == 0
    assert loom(validate, "-", input="{").exit_code == 1


def test_names_are_not_looked_up_when_nobody_wants_it_or_there_is_no_app(app, loom, tmp_path, monkeypatch):
    unknown = {"name": "u", "stages": [{"name": "A", "activity": "elsewhere"}]}
    write(app, "unknown.json", unknown)
    (app / "empty").mkdir()

    assert loom(validate, "unknown.json").exit_code == 1
    assert loom(validate, "unknown.json", "--no-names").exit_code == 0
    alone = loom(validate, "unknown.json", "--app", "empty")
    assert alone.exit_code == 0
    assert "no app here" in alone.stderr


def test_an_app_that_cannot_be_imported_is_told_apart_from_a_wrong_pipeline(app, loom):
    write(app / "activities", "broken.py", "import nothing_of_this_name\n")
    write(app, "good.json", GOOD)

    result = loom(validate, "good.json")

    assert result.exit_code == 2
    assert "broken.py: ModuleNotFoundError" in result.stderr
    assert "--no-names" in result.stderr


def test_two_pipelines_of_one_name_in_one_folder_are_a_problem(app, loom):
    for name in ("one.json", "two.json"):
        write(app / "pipelines", name, GOOD)

    result = loom(validate, "pipelines")

    assert result.exit_code == 1
    assert "two.json:1: $.name: pipelines/one.json also defines a pipeline 'good'" in result.stdout


def test_a_schema_that_is_none_is_a_problem(app, loom):
    write(app, "odd.json", {**GOOD, "input": {"type": "strnig"}})

    assert "$.input: not a usable JSON Schema" in loom(validate, "odd.json").stdout


def test_thousands_of_files_are_checked(app, loom):
    (app / "many").mkdir()
    for number in range(2_000):
        write(app / "many", f"{number}.json", {**GOOD, "name": f"p{number}"})

    result = loom(validate, "many")

    assert result.exit_code == 0
    assert "2000 checked, 0 wrong" in result.stderr
