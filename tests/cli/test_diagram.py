import json

import pytest

from loom_local.cli.diagram import diagram

GOOD = {"name": "good", "stages": [{"name": "Only", "activity": "noop"}]}


def test_a_pipeline_is_drawn_to_the_standard_output_or_a_file(loom, tmp_path):
    (tmp_path / "good.json").write_text(json.dumps(GOOD))

    drawn = loom(diagram, str(tmp_path / "good.json"))
    piped = loom(diagram, "-", "--output", str(tmp_path / "good.mmd"), input=json.dumps(GOOD))

    assert (drawn.exit_code, piped.exit_code, piped.stdout) == (0, 0, "")
    assert drawn.stdout.startswith("flowchart ")
    assert "Only" in drawn.stdout
    assert (tmp_path / "good.mmd").read_text() == drawn.stdout


@pytest.mark.parametrize("text", ["{", "[]", "{}"])
def test_what_is_no_pipeline_is_not_drawn(loom, text):
    result = loom(diagram, "-", input=text)

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("-: $")


def test_files_that_cannot_be_read_or_written_exit_with_2(loom, tmp_path):
    assert loom(diagram, str(tmp_path / "missing.json")).exit_code == 2
    assert loom(diagram, "-", "--output", "/nowhere/x", input=json.dumps(GOOD)).exit_code == 2
