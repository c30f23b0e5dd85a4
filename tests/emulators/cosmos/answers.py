"""What goes back to a client."""

from dataclasses import dataclass, field

from tests.emulators.cosmos import request_units
from tests.emulators.cosmos.sql.values import compact


@dataclass(slots=True)
class Answer:
    """`text` is JSON, or None for no content; `operations` are the kinds of what a batch applied."""

    status: int
    text: str | None = None
    charge: float = 0.0
    headers: dict = field(default_factory=dict)
    operations: tuple[str, ...] = ()


def refusal(error):
    """The answer that a CosmosError is."""
    headers = {**error.headers, "x-ms-substatus": str(error.substatus)}
    body = {"code": error.code, "message": str(error)}
    if error.details:
        body["additionalErrorInfo"] = error.details
    return Answer(error.status, compact(body), request_units.REFUSED, headers)
