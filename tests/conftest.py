"""Servers that several rooms of tests share: each is started when the first test asks for it."""

import pytest

from tests.emulators.azurite import blob_service


@pytest.fixture(scope="session")
def azurite():
    with blob_service() as service:
        yield service
