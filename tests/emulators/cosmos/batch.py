"""Transactional batches: up to a hundred operations in one partition, all or none."""

from tests.emulators.cosmos import request_units
from tests.emulators.cosmos.errors import CosmosError, bad_request

MOST = 100
# These are about the item that is their body.
BODY_ALONE = ("Create", "Upsert")


class _FailedError(Exception):
    def __init__(self, index, error, charge):
        super().__init__(index)
        self.index = index
        self.error = error
        self.charge = charge


def run(documents, database, container, key, operations):
    """(status, results, charge); a failed operation has its own status, and all others 424."""
    if not isinstance(operations, list) or not operations:
        raise bad_request("Batch request has no operations.")
    if len(operations) > MOST:
        raise bad_request("Batch request has more operations than what is supported.")
    for operation in operations:
        _check(operation)
    try:
        with database.transaction():
            outcomes = list(_applied(documents, container, key, operations))
    except _FailedError as failed:
        results = [{"statusCode": 424, "requestCharge": 0} for _ in operations]
        results[failed.index] = {
            "statusCode": failed.error.status,
            "subStatusCode": failed.error.substatus,
            "requestCharge": request_units.REFUSED,
        }
        return 207, results, failed.charge + request_units.REFUSED
    return 200, outcomes, sum(outcome.charge for outcome in outcomes)


def _check(operation):
    if not isinstance(operation, dict) or operation.get("operationType") not in OPERATIONS:
        raise bad_request("Batch request has an operation that is not supported.")
    needed = () if operation["operationType"] in BODY_ALONE else ("id",)
    texts = [
        operation[name] for name in (*needed, "ifMatch", "ifNoneMatch") if operation.get(name) is not None
    ]
    if not all(isinstance(text, str) for text in texts) or any(name not in operation for name in needed):
        raise bad_request("Batch request has an operation whose id or etag is missing or no text.")


def _applied(documents, container, key, operations):
    charge = 0.0
    for index, operation in enumerate(operations):
        try:
            outcome = OPERATIONS[operation["operationType"]](documents, container, key, operation)
        except CosmosError as error:
            raise _FailedError(index, error, charge) from error
        charge += outcome.charge
        yield outcome


def _create(documents, container, key, operation):
    return documents.create(container, key, operation.get("resourceBody"))


def _upsert(documents, container, key, operation):
    return documents.upsert(container, key, operation.get("resourceBody"), operation.get("ifMatch"))


def _replace(documents, container, key, operation):
    name, body = operation.get("id"), operation.get("resourceBody")
    return documents.replace(container, key, name, body, operation.get("ifMatch"))


def _patch(documents, container, key, operation):
    name, body = operation.get("id"), operation.get("resourceBody")
    return documents.patch(container, key, name, body, operation.get("ifMatch"))


def _delete(documents, container, key, operation):
    return documents.delete(container, key, operation.get("id"), operation.get("ifMatch"))


def _read(documents, container, key, operation):
    return documents.read(container, key, operation.get("id"), operation.get("ifNoneMatch"))


OPERATIONS = {
    "Create": _create,
    "Upsert": _upsert,
    "Replace": _replace,
    "Patch": _patch,
    "Delete": _delete,
    "Read": _read,
}
