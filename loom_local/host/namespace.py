"""Service Bus queue triggers, fed from namespaces in Azure: `LOOM_QUEUE=servicebus`."""

import asyncio
import logging
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from loom_core.adapters.identity import credential
from loom_core.errors import InvalidError, Problem
from loom_core.settings import Connection, connection
from loom_local.host.function import Function
from loom_local.host.namespace_pump import LONG, PAUSES, Pump
from loom_local.host.queues import QueueOptions, problem_of
from loom_local.host.triggers import Invoke

if TYPE_CHECKING:
    from azure.servicebus.aio import ServiceBusClient

_DEFAULT = "ServiceBus"


class NamespaceTriggers:
    """The queue functions of an app, fed by the namespaces that their `connection` names.

    `start` once, `stop` once. The constructor raises InvalidError naming every function that cannot be fed.
    """

    def __init__(
        self,
        functions: Sequence[Function],
        invoke: Invoke,
        *,
        options: QueueOptions,
        environment: Mapping[str, str] = os.environ,
        pauses: Sequence[float] = PAUSES,
    ) -> None:
        self._functions = functions
        self._invoke = invoke
        self._options = options
        self._pauses = pauses
        self._pumps: list[Pump] = []
        self._connections: dict[str, Connection] = {}
        problems: list[Problem] = []
        for function in functions:
            if problem := problem_of(function):
                problems.append(Problem("$.queueName", f"function {function.name}: {problem}"))
            try:
                self._connections[function.name] = _connection(function, environment)
            except InvalidError as error:
                told = f"function {function.name}: {error.problems[0].message}"
                problems.append(Problem("$.connection", told))
        if problems:
            raise InvalidError(problems)

    @property
    def names(self) -> str:
        """The namespaces, as a user knows them."""
        return ", ".join(sorted({_name(each) for each in self._connections.values()}))

    async def start(self) -> None:
        """Begin to receive. A namespace that cannot be reached is tried again and again, and told of."""
        for function in self._functions:
            where = self._connections[function.name]
            pump = Pump(
                function,
                self._invoke,
                client=_client(where),
                namespace=_name(where),
                options=self._options,
                pauses=self._pauses,
            )
            self._pumps.append(pump)
            pump.start()

    async def stop(self, grace: float) -> None:
        """Receive nothing more and let what runs end within `grace` seconds; the rest is given back."""
        await asyncio.gather(*(pump.stop(grace) for pump in self._pumps))


def _connection(function: Function, environment: Mapping[str, str]) -> Connection:
    name = str(function.trigger.get("connection") or _DEFAULT)
    return connection(environment, [name, f"AzureWebJobs{name}"], "fullyQualifiedNamespace")


def _name(where: Connection) -> str:
    if where.endpoint:
        return where.endpoint
    given = (part.partition("=")[2] for part in where.connection_string.split(";"))
    return next((urlsplit(each).netloc for each in given if "://" in each), "a local emulator")


def _client(where: Connection) -> "ServiceBusClient":
    from azure.servicebus.aio import ServiceBusClient  # noqa: PLC0415 - cold start

    # At INFO the SDK tells every state of every link, a dozen lines each.
    log = logging.getLogger("azure.servicebus")
    if log.level == logging.NOTSET:
        log.setLevel(logging.WARNING)
    # The pumps try again, with pauses of their own and a word about it.
    options: dict[str, Any] = {"retry_total": 0, "try_timeout": LONG + 30}
    if where.endpoint:
        return ServiceBusClient(where.endpoint, credential(), **options)
    return ServiceBusClient.from_connection_string(where.connection_string, **options)
