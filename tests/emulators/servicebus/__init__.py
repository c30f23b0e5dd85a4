"""An Azure Service Bus broker for tests: AMQP 1.0 on a socket, for the unmodified SDK."""

from tests.emulators.servicebus.properties import ConfigError
from tests.emulators.servicebus.server import Server, serve

__all__ = ["ConfigError", "Server", "serve"]
