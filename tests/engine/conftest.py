from pathlib import Path

import pytest
from durabletask import worker

from loom_core.sdk.sticky import StickyExecutor
from tests.engine.sdk import App


@pytest.fixture(params=["in-process", "grpc", "kept"])
def app(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> App:
    """Every test runs over both ways to the engine: a durable client cannot tell them apart.

    And once more with orchestrators that are kept between two steps instead of being replayed.
    """
    if request.param == "kept":
        monkeypatch.setattr(StickyExecutor, "keeps", worker._RuntimeOrchestrationContext)
        return App()
    return App(transport=request.param)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hub.db"
