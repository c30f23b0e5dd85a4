"""Items: written, read and deleted one at a time. Whoever calls a write holds the transaction around it."""

import json
import struct
import uuid
from dataclasses import dataclass

from tests.emulators.cosmos import request_units
from tests.emulators.cosmos.errors import (
    bad_request,
    conflict,
    not_found,
    precondition_failed,
    too_large,
)
from tests.emulators.cosmos.indexing import SYSTEM
from tests.emulators.cosmos.partition_keys import effective, stored
from tests.emulators.cosmos.patch import patched
from tests.emulators.cosmos.resources import check_id, decoded, encoded
from tests.emulators.cosmos.sql.execution import matches
from tests.emulators.cosmos.sql.values import UNDEFINED, canonical, compact

LARGEST = 2 * 1024 * 1024
LONGEST_TTL = 2**31 - 1
# How many writes go by before what has expired is really deleted.
SWEEP = 1_000
LIVE = "(expires IS NULL OR expires > ?)"


@dataclass(frozen=True, slots=True)
class Stored:
    """A document as it is kept: its text, system properties and all."""

    text: str
    etag: str
    number: int
    size: int
    terms: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an operation on an item answers: without a document, a text of None."""

    status: int
    charge: float
    etag: str | None = None
    text: str | None = None


class Documents:
    def __init__(self, database, clock):
        self._database = database
        self._clock = clock
        self._writes = 0

    def read(self, container, key, name, if_none_match=None):
        found = self._need(container, key, name)
        charge = request_units.point_read(found.size)
        if if_none_match in (found.etag, "*"):
            return Outcome(304, charge, found.etag)
        return Outcome(200, charge, found.etag, found.text)

    def create(self, container, key, document, _if_match=None):
        partition = self._partition(container, key, document)
        if self.find(container, partition, document["id"]):
            raise conflict()
        return self._put(container, partition, document, None)

    def upsert(self, container, key, document, if_match=None):
        # If-Match holds over what is there; where nothing is, an upsert creates.
        partition = self._partition(container, key, document)
        old = self.find(container, partition, document["id"])
        _check(old, if_match)
        return self._put(container, partition, document, old)

    def replace(self, container, key, name, document, if_match=None):
        partition = self._partition(container, key, document)
        old = self._need(container, key, name)
        if document["id"] != name:
            raise bad_request("The id of a document cannot be changed.")
        _check(old, if_match)
        return self._put(container, partition, document, old)

    def patch(self, container, key, name, body, if_match=None):
        old = self._need(container, key, name)
        _check(old, if_match)
        document = json.loads(old.text)
        condition = body.get("condition") if isinstance(body, dict) else None
        if condition is not None and not matches(condition, document):
            raise precondition_failed(1110)
        new = patched(document, body.get("operations") if isinstance(body, dict) else None)
        if new.get("id") != name or stored(container.key.of(new)) != stored(key):
            raise bad_request("The id and the partition key of a document cannot be patched.")
        return self._put(container, self._partition(container, key, new), new, old)

    def delete(self, container, key, name, if_match=None):
        old = self._need(container, key, name)
        _check(old, if_match)
        self._database.execute(
            "DELETE FROM documents WHERE container = ? AND partition = ? AND id = ?",
            (container.rid, stored(key), name),
        )
        return Outcome(204, request_units.write(old.size, old.terms))

    def delete_partition(self, container, key):
        self._database.execute(
            "DELETE FROM documents WHERE container = ? AND partition = ?", (container.rid, stored(key))
        )

    def find(self, container, partition, name):
        row = self._database.execute(
            "SELECT body, etag, number, length(CAST(body AS BLOB)), terms FROM documents"
            f" WHERE container = ? AND partition = ? AND id = ? AND {LIVE}",
            (container.rid, partition, name, self._clock.time()),
        ).fetchone()
        return Stored(*row) if row else None

    def scan(self, container, *, partition=None, bounds=None, ids=(), order="number"):
        """The (number, text) of all documents: of a partition, between bounds on the ring, with such ids."""
        where, values = f"container = ? AND {LIVE}", [container.rid, self._clock.time()]
        if partition is not None:
            where, values = f"{where} AND partition = ?", [*values, partition]
        else:
            low, high = bounds
            where, values = f"{where} AND epk >= ? AND epk < ?", [*values, low, high]
        for operator, text in ids:
            where, values = f"{where} AND id {operator} ?", [*values, text]
        return self._database.execute(
            f"SELECT number, body FROM documents WHERE {where} ORDER BY {order}", values
        )

    def _need(self, container, key, name):
        found = self.find(container, stored(key), name)
        if found is None:
            raise not_found()
        return found

    def _partition(self, container, key, document):
        """The stored partition key of a valid document that belongs to the key of the request."""
        if not isinstance(document, dict):
            raise bad_request("An item must be a JSON object.")
        check_id(document.get("id"))
        partition = stored(container.key.of(document))
        if partition != stored(key):
            raise bad_request(
                "PartitionKey extracted from document doesn't match the one specified in the header.", 1001
            )
        return partition

    def _put(self, container, partition, document, old):
        now = self._clock.time()
        number = old.number if old else self._database.next()
        rid = encoded(decoded(container.rid) + struct.pack(">Q", number))
        etag = f'"{uuid.uuid4()}"'
        document = {name: value for name, value in document.items() if name not in SYSTEM}
        expires = _expiry(container, document, now)
        terms = container.indexing.terms(document)
        document |= {
            "_rid": rid,
            "_self": f"{container.link}docs/{rid}/",
            "_etag": etag,
            "_attachments": "attachments/",
            "_ts": int(now),
        }
        try:
            text = compact(document)
        except ValueError:
            raise bad_request("The document contains a number that is none.") from None
        size = len(text.encode())
        if size > LARGEST:
            raise too_large()
        self._check_unique(container, partition, document)
        self._database.execute(
            "INSERT OR REPLACE INTO documents VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (container.rid, partition, document["id"], effective(partition), number,
             self._database.change(), self._database.next(), now, expires, etag, terms, text),
        )  # fmt: skip
        self._sweep(now)
        charge = request_units.write(size, terms)
        if old:
            charge = request_units.rewrite(old.size, old.terms, size, terms)
        return Outcome(200 if old else 201, charge, etag, text)

    def _check_unique(self, container, partition, document):
        for paths in container.unique_keys:
            wanted = _values(document, paths)
            for _, text in self.scan(container, partition=partition):
                other = json.loads(text)
                if other["id"] != document["id"] and _values(other, paths) == wanted:
                    raise conflict("Unique index constraint violation.")

    def _sweep(self, now):
        self._writes += 1
        if self._writes % SWEEP == 0:
            self._database.execute("DELETE FROM documents WHERE expires <= ?", (now,))


def _check(old, if_match):
    if old is not None and if_match not in (None, "*", old.etag):
        raise precondition_failed()


def _expiry(container, document, now):
    ttl = document.get("ttl", container.default_ttl)
    if "ttl" in document and (type(ttl) is not int or (ttl != -1 and not 1 <= ttl <= LONGEST_TTL)):
        raise bad_request("The time to live of an item must be -1 or a positive number of seconds.")
    if container.default_ttl is None or ttl in (None, -1):
        return None
    return now + ttl


def _values(document, paths):
    found = []
    for path in paths:
        value = document
        for name in path:
            value = value.get(name, UNDEFINED) if isinstance(value, dict) else UNDEFINED
        found.append([] if value is UNDEFINED else [value])
    return canonical(found)
