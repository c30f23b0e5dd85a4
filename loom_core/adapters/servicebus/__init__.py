"""MessageQueue on Azure Service Bus."""

from loom_core.adapters.servicebus.queue import ServiceBusMessageQueue

__all__ = ["ServiceBusMessageQueue"]
