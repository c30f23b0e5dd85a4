"""What the Cosmos server refuses, as the SDK tells it."""

import pytest
from azure.cosmos import exceptions


async def refused(status, call, substatus=None):
    """The error that the call ends in, which has this status."""
    with pytest.raises(exceptions.CosmosHttpResponseError) as caught:
        await call
    assert caught.value.status_code == status
    assert substatus in (None, caught.value.sub_status)
    return caught.value
