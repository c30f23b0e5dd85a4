from pathlib import Path

import pytest

from tests.crash.bank_rounds import bank_rounds
from tests.crash.rounds import crash_rounds


@pytest.mark.crash
async def test_nothing_acknowledged_is_lost_or_doubled_in_fifty_kills(tmp_path: Path) -> None:
    report = await crash_rounds(50, tmp_path)

    assert report["wrong"] == []
    assert report["runs"] > 200
    assert report["signals"] > 1000
    assert report["messages"] > 200


@pytest.mark.crash
@pytest.mark.parametrize("faulty", [False, True], ids=["calm ports", "faults at the ports"])
async def test_a_bank_of_actors_balances_after_twenty_five_kills(tmp_path: Path, faulty: bool) -> None:
    report = await bank_rounds(25, tmp_path, faulty=faulty)

    assert report["wrong"] == []
    assert report["transfers"] > 50
    assert report["orders"] > 300
