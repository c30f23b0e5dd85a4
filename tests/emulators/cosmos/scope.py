"""Which part of a container a request is about, and the session tokens of that part."""

from dataclasses import dataclass

from tests.emulators.cosmos.errors import CosmosError, bad_request, not_found, whole
from tests.emulators.cosmos.partition_keys import EVERYTHING, effective, stored


@dataclass(frozen=True, slots=True)
class Scope:
    """A whole partition (`partition` is its stored key), or what lies between bounds on the hash ring."""

    partition: str | None
    bounds: tuple[str, str]
    range_id: int

    @classmethod
    def of(cls, container, headers, ranges):
        """What the headers say; None if they say nothing."""
        key = headers.get("x-ms-documentdb-partitionkey")
        if key is not None:
            return cls._of_key(container, container.key.header(key), ranges)
        low, high = EVERYTHING
        index, named = 0, False
        if (text := headers.get("x-ms-documentdb-partitionkeyrangeid")) is not None:
            index, named = _range(text, ranges), True
            low, high = ranges[index]
        if (start := headers.get("x-ms-start-epk")) is not None:
            low, high, named = max(low, start), min(high, headers.get("x-ms-end-epk", "FF")), True
            if low == high:
                high = low + "\0"
        return cls(None, (low, high), index) if named else None

    @classmethod
    def _of_key(cls, container, values, ranges):
        partition = stored(values)
        place = effective(partition)
        index = range_of(place, ranges)
        if len(values) < len(container.key.paths):
            return cls(None, (place, place + "FF"), index)
        return cls(partition, EVERYTHING, index)


def whole_key(container, headers):
    """The key that an operation on one item must name whole."""
    text = headers.get("x-ms-documentdb-partitionkey")
    if text is None:
        raise bad_request("PartitionKey value must be supplied for this operation.", 1001)
    values = container.key.header(text)
    if len(values) != len(container.key.paths):
        raise bad_request(
            "Partition key provided has fewer values than the definition of the collection.", 1001
        )
    return values


def range_of(place, ranges):
    return next(index for index, (low, high) in enumerate(ranges) if low <= place < high)


def _range(text, ranges):
    index = whole(text.rsplit(",", 1)[-1])
    if index is None or index >= len(ranges):
        raise CosmosError(410, "The requested partition key range is gone.", substatus=1002)
    return index


def check_session(token, last):
    """Refuse to read for a client that has seen more than there is: its data has been lost."""
    for part in (token or "").split(","):
        seen = whole(part.rpartition("#")[2])
        if seen is not None and seen > last:
            raise not_found("The read session is not available for the input session token.", 1002)
