"""The benchmarks run: tiny sizes, every area, no opinion on the figures."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.__main__ import AREAS
from benchmarks.measure import Figure, Row, Scale, Table, percentile
from benchmarks.report import markdown

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    path = tmp_path_factory.mktemp("benchmarks") / "figures.json"
    command = [sys.executable, "-m", "benchmarks", "--smoke", "--json", str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(path.read_text(encoding="utf-8"))


def test_every_area_is_measured_and_in_the_report(smoke):
    report, figures = smoke

    assert len(figures["tables"]) == len(AREAS)
    for table in figures["tables"]:
        assert f"## {table['title']}" in report
        assert all(f"| {row['work']} |" in report for row in table["rows"])


def test_every_area_has_a_floor_and_an_aim_and_no_figure_is_nothing(smoke):
    for table in smoke[1]["tables"]:
        rows = table["rows"]
        assert any(row["floors"] for row in rows), table["title"]
        assert any(row["aim"] for row in rows), table["title"]
        assert all(row["figure"]["least"] > 0 for row in rows), table["title"]


def test_the_machine_is_described(smoke):
    described = smoke[1]["machine"]

    assert {"date", "Loom", "processor", "memory", "system", "Python", "disk"} <= described.keys()
    assert all(described.values())


def test_a_smoke_leaves_the_published_results_alone(smoke):
    results = ROOT / "benchmarks" / "results.md"

    assert not results.exists() or results.read_text(encoding="utf-8") != smoke[0]


def test_a_figure_is_the_median_of_the_rounds_after_the_warm_up():
    assert Figure.of([99, 1, 5, 3]) == Figure(3, 1, 5)
    assert len(Scale(repeats=3).rounds) == 4


def test_a_percentile_is_one_of_the_values():
    assert percentile(range(1, 101), 99) == 100
    assert percentile([4, 1, 3], 50) == 3


@pytest.mark.parametrize(
    ("unit", "median", "aim", "said"),
    [
        ("/s", 900, 1000, "0.90 (missed)"),
        ("/s", 1100, 1000, "1.10 |"),
        ("ms", 3, 4, "0.75 |"),
        ("ms", 5, 4, "1.25 (missed)"),
    ],
)
def test_the_report_says_whether_an_aim_is_reached(unit, median, aim, said):
    row = Row("work", unit, Figure(median, median, median), aim)

    assert said in markdown({}, [Table("Title", "About.", (row,))])
