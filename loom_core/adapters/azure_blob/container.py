"""A container of an account: its client, made once, the time a call may take, and what its errors say."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from loom_core.adapters.identity import credential
from loom_core.adapters.lifetime import close_with_loop
from loom_core.errors import LoomError, UnavailableError
from loom_core.settings import Connection

if TYPE_CHECKING:
    from azure.core.exceptions import AzureError
    from azure.storage.blob.aio import ContainerClient

MIB: Final = 1024 * 1024
_ROLE: Final = "give its identity the role Storage Blob Data Contributor on the account or the container"
# Of one request; the SDK sends what failed anew up to three times: after 0-4, 2-6 and 6-10 seconds.
_CONNECTED_WITHIN: Final = 5
_ANSWERED_WITHIN: Final = 20
_AGAIN: Final = 3


class Container:
    """Calls a container, at most `budget` seconds long each, all the SDK's attempts together.

    The client (and the SDK, which takes a while to import) comes with the first call. With a connection
    string, a container that is missing is made; with an endpoint that is for the deployment to do.
    """

    def __init__(self, connection: Connection, name: str, budget: float) -> None:
        self._connection = connection
        self._name = name
        self._budget = budget
        self._client: ContainerClient | None = None
        self._life: AsyncGenerator[None] | None = None

    async def call[T](self, work: Callable[["ContainerClient"], Awaitable[T]]) -> T:
        """Raise UnavailableError for every error of the SDK that `work` lets through."""
        client = self._client = self._client or self._open()
        from azure.core.exceptions import AzureError  # noqa: PLC0415 - cold start

        try:
            async with asyncio.timeout(self._budget):
                try:
                    return await work(client)
                except AzureError as error:
                    if self._connection.endpoint or code_of(error) != "ContainerNotFound":
                        raise
                    await _create(client)
                    return await work(client)
        except TimeoutError:
            raise UnavailableError(f"Blob Storage took longer than {self._budget:g} seconds") from None
        except AzureError as error:
            raise UnavailableError(self._told(error)) from None
        except LoomError:
            raise
        except Exception as error:
            if self._client is client:
                raise
            raise UnavailableError("the connection to Blob Storage was closed meanwhile") from error

    async def aclose(self) -> None:
        client, self._client = self._client, None
        if client:
            await client.close()

    def _open(self) -> "ContainerClient":
        # No await in here: of two first calls, one makes the client and the other finds it.
        from azure.storage.blob.aio import ContainerClient, ExponentialRetry  # noqa: PLC0415 - cold start

        self._life = close_with_loop(self.aclose, self._life)
        options: dict[str, Any] = {
            "connection_timeout": _CONNECTED_WITHIN,
            "read_timeout": _ANSWERED_WITHIN,
            "retry_policy": ExponentialRetry(
                initial_backoff=0, increment_base=2, random_jitter_range=2, retry_total=_AGAIN
            ),
            "max_single_get_size": 4 * MIB,
            "max_chunk_get_size": 4 * MIB,
        }
        if self._connection.endpoint:
            return ContainerClient(self._connection.endpoint, self._name, credential(), **options)
        text = self._connection.connection_string
        try:
            return ContainerClient.from_connection_string(text, self._name, **options)
        except ValueError:
            raise UnavailableError("the connection string of the blobs' emulator cannot be read") from None

    def _told(self, error: "AzureError") -> str:
        """Say what to do, without the SDK's own words where they may quote what was signed."""
        from azure.core.exceptions import ClientAuthenticationError, HttpResponseError  # noqa: PLC0415

        status, code = status_of(error), code_of(error)
        if code == "ContainerNotFound":
            return f"Blob Storage has no container {self._name!r}: the deployment makes it"
        if status in (401, 403):
            return f"Blob Storage refused this app ({status} {code}): {_ROLE}"
        if isinstance(error, ClientAuthenticationError):
            return f"this app has no identity for Blob Storage: {error.message[:1_000]}"
        if isinstance(error, HttpResponseError) and status:
            return f"Blob Storage answered {status} {code}"
        return f"Blob Storage cannot be reached: {error.message[:1_000]}"


async def found[T](work: Awaitable[T]) -> T | None:
    """What is done with a blob; None if there is no such blob. (A container that is missing is an error.)"""
    from azure.core.exceptions import ResourceNotFoundError  # noqa: PLC0415 - cold start

    try:
        return await work
    except ResourceNotFoundError as error:
        if code_of(error) == "ContainerNotFound":
            raise
        return None


def code_of(error: "AzureError") -> str:
    code = getattr(error, "error_code", None)
    return str(getattr(code, "value", code) or "")


def status_of(error: "AzureError") -> int:
    return getattr(error, "status_code", None) or 0


async def _create(client: "ContainerClient") -> None:
    from azure.core.exceptions import ResourceExistsError  # noqa: PLC0415 - cold start

    try:
        await client.create_container()
    except ResourceExistsError:  # somebody was faster
        logging.getLogger(__name__).debug("container %s is there", client.container_name)
