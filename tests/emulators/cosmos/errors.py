"""What the service refuses, as it says it: an HTTP status, a substatus and a message."""

import re

CODES = {
    304: "NotModified",
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    408: "RequestTimeout",
    409: "Conflict",
    410: "Gone",
    412: "PreconditionFailed",
    413: "RequestEntityTooLarge",
    429: "429",
    449: "RetryWith",
    501: "NotImplemented",
    503: "ServiceUnavailable",
}


# As far as SQLite counts.
DIGITS = re.compile(r"[0-9]{1,18}")


def whole(text):
    """The number that a text of digits is; None if it is something else."""
    return int(text) if DIGITS.fullmatch(text) else None


class CosmosError(Exception):
    """An answer that is not a success; `details` become `additionalErrorInfo` in its body."""

    def __init__(self, status, message, *, substatus=0, headers=None, details=None):
        super().__init__(message)
        self.status = status
        self.substatus = substatus
        self.headers = headers or {}
        self.details = details

    @property
    def code(self):
        return CODES.get(self.status, "Error")


def bad_request(message, substatus=0):
    return CosmosError(400, message, substatus=substatus)


def not_found(what="Entity with the specified id does not exist in the system.", substatus=0):
    return CosmosError(404, what, substatus=substatus)


def conflict(message="Entity with the specified id already exists in the system."):
    return CosmosError(409, message)


def precondition_failed(substatus=0):
    return CosmosError(
        412,
        "Operation cannot be performed because one of the specified precondition is not met.",
        substatus=substatus,
    )


def too_large(message="Request size is too large"):
    return CosmosError(413, message)
