from pathlib import Path

import pytest

from tests.engine.sdk import App


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hub.db"
