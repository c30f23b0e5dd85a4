import pytest

from loom_core.adapters.memory import MemoryStateStore
from loom_core.adapters.sqlite import SqliteStateStore
from tests.journals.world import House


@pytest.fixture(params=["memory", "sqlite"])
async def house(request, tmp_path):
    if request.param == "memory":
        yield House(MemoryStateStore())
        return
    store = SqliteStateStore(tmp_path / "state.db")
    yield House(store)
    await store.aclose()
