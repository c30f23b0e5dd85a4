from hypothesis import given
from hypothesis import strategies as st

from loom_local.cli.board import Bars, Lines, counts, printable

RUNNING = {"status": "running", "done": 1, "total": 4, "skipped": 2, "failed": 1}
COMPLETED = RUNNING | {"status": "completed", "done": 4}


def test_bars_end_with_what_became_of_each_stage(capsys):
    with Bars() as bars:
        bars.show("Split", RUNNING)
        bars.show("Split", COMPLETED)
        bars.show("[red]Join", {"status": "failed", "done": 0, "total": 0})

    drawn = capsys.readouterr().err
    assert "4/4" in drawn
    assert "completed (2 skipped, 1 failed)" in drawn
    assert "[red]Join" in drawn


def test_lines_tell_the_start_and_the_end_once(capsys):
    with Lines() as lines:
        lines.show("Split", {"status": "pending"})
        lines.show("Split", RUNNING)
        lines.show("Split", RUNNING | {"done": 2})
        lines.show("Split", COMPLETED)

    told = capsys.readouterr().err.splitlines()
    assert told == [
        "Split: running 1 of 4 (2 skipped, 1 failed)",
        "Split: completed 4 of 4 (2 skipped, 1 failed)",
    ]


def test_a_stage_without_items_has_no_counts():
    assert counts({"done": 0, "total": 0}) == ""


@given(st.text())
def test_printable_text_has_no_control_characters(text):
    assert all(character in "\n\t" or character.isprintable() for character in printable(text))
