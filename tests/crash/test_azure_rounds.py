from pathlib import Path

import pytest

from tests.crash.bank_rounds import bank_rounds


@pytest.mark.crash
async def test_a_bank_balances_when_host_broker_and_cosmos_server_are_killed(tmp_path: Path) -> None:
    report = await bank_rounds(20, tmp_path, on_azure=True)

    assert report["wrong"] == []
    assert report["transfers"] > 30
    assert report["orders"] > 150
