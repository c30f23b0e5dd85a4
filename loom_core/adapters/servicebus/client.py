"""The SDK's client: made at the first call, its retries set on purpose."""

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from loom_core.adapters.identity import credential
from loom_core.adapters.lifetime import close_with_loop
from loom_core.settings import Connection

if TYPE_CHECKING:
    from azure.servicebus.aio import ServiceBusClient

# Pauses of 0.4, 0.8 and 1.6 s: a node of the service that moves is back by then. What lasts longer is for the
# caller, who is told.
_SENDING = {"retry_total": 3, "retry_backoff_factor": 0.2, "retry_backoff_max": 5, "try_timeout": 10}
# A receiver that waits for a session waits at the service: trying again would double the wait.
_RECEIVING = {"retry_total": 0}


class Client:
    """`options` go to the SDK's client as they are: a proxy, a transport, a certificate.

    `close` is called when the loop ends on which the client was made.
    """

    def __init__(
        self, connection: Connection, options: Mapping[str, Any], close: Callable[[], Awaitable[None]]
    ) -> None:
        self._connection = connection
        self._options = options
        self._close = close
        self._life: AsyncGenerator[None] | None = None
        self._sending: ServiceBusClient | None = None
        self._receiving: ServiceBusClient | None = None

    def sending(self) -> "ServiceBusClient":
        if self._sending is None:
            self._sending = self._made(_SENDING)
        return self._sending

    def receiving(self) -> "ServiceBusClient":
        if self._receiving is None:
            self._receiving = self._made(_RECEIVING)
        return self._receiving

    def _made(self, retries: Mapping[str, Any]) -> "ServiceBusClient":
        from azure.servicebus.aio import ServiceBusClient  # noqa: PLC0415 - cold start

        self._life = close_with_loop(self._close, self._life)
        # At INFO it tells every state of every link, a dozen lines each.
        log = logging.getLogger("azure.servicebus")
        if log.level == logging.NOTSET:
            log.setLevel(logging.WARNING)
        options = {**retries, **self._options}
        if endpoint := self._connection.endpoint:
            return ServiceBusClient(endpoint, credential(), **options)
        return ServiceBusClient.from_connection_string(self._connection.connection_string, **options)
