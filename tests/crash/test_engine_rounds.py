from pathlib import Path

import pytest

from tests.crash.rounds import crash_rounds


@pytest.mark.crash
async def test_nothing_acknowledged_is_lost_or_doubled_in_fifty_kills(tmp_path: Path) -> None:
    report = await crash_rounds(50, tmp_path)

    assert report["wrong"] == []
    assert report["runs"] > 200
    assert report["signals"] > 1000
    assert report["messages"] > 200
