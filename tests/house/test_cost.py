"""The page on cost computes what it says from its own prices."""

import re
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs" / "cost.md").read_text(encoding="utf-8")


def test_every_sum_follows_from_its_row_and_the_prices():
    units, operations = (
        float(price) for price in re.findall(r"^\| ([\d.]+) \| a million", PAGE, re.MULTILINE)
    )
    rows = re.findall(r"^\| [^|]+ \| ([\d.]+) \| (\d+) \| ([\d.]+) \|$", PAGE, re.MULTILINE)

    assert len(rows) == 9
    for each, asked, total in rows:
        assert abs(float(each) * units + int(asked) * operations - float(total)) < 0.0051, (
            each,
            asked,
            total,
        )
