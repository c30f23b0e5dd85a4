"""What Cosmos DB asks for each request: counted here, and by the counters of OpenTelemetry."""

from contextvars import ContextVar
from typing import Any, Final

CURRENT: Final[ContextVar[str]] = ContextVar("operation", default="open")
"""The operation that the requests of this task belong to."""


class Charges(dict[str, tuple[int, float]]):
    """By operation, how many requests there were, retries too, and their request units.

    The counters `loom.cosmos.requests` and `loom.cosmos.request_charge` say the same, by `operation` and
    `status` (the HTTP status as text).
    """

    def __init__(self) -> None:
        super().__init__()
        self._counters: tuple[Any, Any] | None = None

    def record(self, response: Any) -> None:
        """Count an answer, as the SDK's `raw_response_hook`."""
        operation, answer = CURRENT.get(), response.http_response
        charge = float(answer.headers.get("x-ms-request-charge", 0))
        count, total = self.get(operation, (0, 0.0))
        self[operation] = (count + 1, total + charge)
        requests, charges = self._counters or self._made()
        attributes = {"operation": operation, "status": str(answer.status_code)}
        requests.add(1, attributes)
        charges.add(charge, attributes)

    def _made(self) -> tuple[Any, Any]:
        from opentelemetry import metrics  # noqa: PLC0415 - at first use

        meter = metrics.get_meter("loom.cosmos")
        self._counters = (
            meter.create_counter("loom.cosmos.requests", "{request}", "Requests to Cosmos DB"),
            meter.create_counter("loom.cosmos.request_charge", "{RU}", "What they cost"),
        )
        return self._counters
