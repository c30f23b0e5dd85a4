from pathlib import Path

import pytest

from tests.engine.sdk import App


@pytest.fixture(params=["in-process", "grpc"])
def app(request: pytest.FixtureRequest) -> App:
    """Every test runs over both ways to the engine: a durable client cannot tell them apart."""
    return App(transport=request.param)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hub.db"
