from pathlib import Path

import pytest

from tests.crash.bank_rounds import bank_rounds


@pytest.mark.crash
@pytest.mark.parametrize("faulty", [False, True], ids=["calm ports", "faults at the ports"])
async def test_a_bank_of_actors_balances_after_twenty_five_kills(tmp_path: Path, faulty: bool) -> None:
    report = await bank_rounds(25, tmp_path, faulty=faulty)

    assert report["wrong"] == []
    assert report["transfers"] > 50
    assert report["orders"] > 300
