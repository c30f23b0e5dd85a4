from collections.abc import Callable, Iterator
from contextlib import ExitStack

import aiohttp
import pytest

from tests.host.processes import APPS, FAST, RunningHost, ready_host


@pytest.fixture(scope="module")
def host_of(tmp_path_factory) -> Iterator[Callable[[str], RunningHost]]:
    """Give the one host of each app that the tests of a module share."""
    with ExitStack() as stack:
        hosts: dict[str, RunningHost] = {}

        def host(name: str) -> RunningHost:
            if name not in hosts:
                data = tmp_path_factory.mktemp(name)
                hosts[name] = stack.enter_context(ready_host(APPS / name, data, *FAST))
            return hosts[name]

        yield host


@pytest.fixture
async def http():
    async with aiohttp.ClientSession() as session:
        yield session
