"""Databases, containers and their throughput."""

import base64
import json
import re
import struct
import uuid
from dataclasses import dataclass

from tests.emulators.cosmos.errors import bad_request, conflict, not_found
from tests.emulators.cosmos.indexing import DEFAULT, IndexingPolicy
from tests.emulators.cosmos.partition_keys import PartitionKeyDefinition
from tests.emulators.cosmos.throughput import Throughput

LINKS = {
    "dbs": {"_colls": "colls/", "_users": "users/"},
    "colls": {
        "_docs": "docs/",
        "_sprocs": "sprocs/",
        "_triggers": "triggers/",
        "_udfs": "udfs/",
        "_conflicts": "conflicts/",
    },
}
BAD_ID = re.compile(r"[/\\?#\t\r\n]| $")
LONGEST_ID = 255


@dataclass(frozen=True, slots=True)
class Container:
    rid: str
    link: str
    key: PartitionKeyDefinition
    default_ttl: int | None
    indexing: IndexingPolicy
    unique_keys: tuple[tuple[tuple[str, ...], ...], ...]


def check_id(value):
    if not isinstance(value, str) or not value:
        raise bad_request(
            "The input content is invalid because the required properties - 'id; ' - are missing"
        )
    if len(value) > LONGEST_ID or BAD_ID.search(value):
        raise bad_request(
            f"The id '{value[:40]}' is longer than {LONGEST_ID} characters,"
            " contains one of / \\ ? # or ends in a space."
        )


def encoded(rid):
    return base64.b64encode(rid).decode().replace("/", "-")


def decoded(rid):
    return base64.b64decode(rid.replace("-", "/"))


class Resources:
    def __init__(self, database, clock):
        self._database = database
        self._clock = clock
        self._containers = {}
        self.throughput = Throughput(database)

    def list(self, kind, parent=""):
        rows = self._database.execute(
            "SELECT body FROM resources WHERE kind = ? AND parent = ? ORDER BY rowid", (kind, parent)
        )
        return [json.loads(body) for (body,) in rows]

    def read(self, kind, parent, name, *, owner=False):
        """A database or container as JSON says it; `owner`: it is asked for something inside of it."""
        row = self._database.execute(
            "SELECT body FROM resources WHERE kind = ? AND parent = ? AND id = ?", (kind, parent, name)
        ).fetchone()
        if row is None:
            raise not_found("Resource Not Found.", 1003 if owner else 0)
        return json.loads(row[0])

    def create(self, kind, parent, body, offer):
        """A database (`parent` is "") or a container in one; `offer`: its content, if one is asked for."""
        check_id(body.get("id"))
        owner = b""
        if kind == "colls":
            owner = decoded(self.read("dbs", "", parent)["_rid"])
            body = _container_body(body)
        with self._database.transaction():
            number = self._database.next()
            rid = owner + struct.pack(">I", number | (0x80000000 if owner else 0))
            link = f"dbs/{encoded(rid)}/" if not owner else f"dbs/{encoded(owner)}/colls/{encoded(rid)}/"
            body = {**body, "_rid": encoded(rid), "_self": link, **self._stamp(), **LINKS[kind]}
            row = (kind, parent, body["id"], body["_rid"], json.dumps(body))
            inserted = self._database.execute(
                "INSERT INTO resources VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", row
            )
            if not inserted.rowcount:
                raise conflict("Resource with specified id or name already exists.")
            if offer or (kind == "colls" and not self.throughput.of(f"dbs/{encoded(owner)}/")):
                self.throughput.create(body, offer)
        return body

    def replace(self, kind, parent, name, body):
        old = self.read(kind, parent, name)
        if kind != "colls" or body.get("id") != name:
            raise bad_request("Only containers can be replaced, and not their id.")
        if body.get("partitionKey", old["partitionKey"]) != old["partitionKey"]:
            raise bad_request("The partition key of a container cannot be changed.")
        kept = {key: old[key] for key in ("partitionKey", "_rid", "_self", "uniqueKeyPolicy") if key in old}
        body = {**_container_body({**body, **kept}), **kept, **self._stamp(), **LINKS[kind]}
        with self._database.transaction():
            self._database.execute(
                "UPDATE resources SET body = ? WHERE kind = ? AND parent = ? AND id = ?",
                (json.dumps(body), kind, parent, name),
            )
        self._containers.clear()
        return body

    def delete(self, kind, parent, name):
        gone = self.read(kind, parent, name)
        with self._database.transaction():
            containers = self.list("colls", name) if kind == "dbs" else [gone]
            for resource in [gone, *containers]:
                self._database.execute("DELETE FROM documents WHERE container = ?", (resource["_rid"],))
                self._database.execute("DELETE FROM resources WHERE rid = ?", (resource["_rid"],))
                self.throughput.delete(resource["_self"])
        self._containers.clear()

    def container(self, database, name):
        """What item requests need to know of a container."""
        found = self._containers.get((database, name))
        if found is None:
            self.read("dbs", "", database, owner=True)
            body = self.read("colls", database, name, owner=True)
            found = self._containers[database, name] = _container(body)
        return found

    def _stamp(self):
        return {"_etag": f'"{uuid.uuid4()}"', "_ts": int(self._clock.time())}


def _container_body(body):
    """What the service makes of a container that is asked for; refused if it is not a valid one."""
    body = {
        "indexingPolicy": DEFAULT,
        "conflictResolutionPolicy": {
            "mode": "LastWriterWins",
            "conflictResolutionPath": "/_ts",
            "conflictResolutionProcedure": "",
        },
        "geospatialConfig": {"type": "Geography"},
        **{name: value for name, value in body.items() if value is not None},
    }
    PartitionKeyDefinition.parse(body.get("partitionKey"))
    IndexingPolicy.parse(body["indexingPolicy"])
    ttl = body.get("defaultTtl")
    if ttl is not None and (type(ttl) is not int or (ttl != -1 and not 1 <= ttl < 2**31)):
        raise bad_request("The default time to live must be -1 or a positive number of seconds.")
    return body


def _container(body):
    policy = body.get("uniqueKeyPolicy") or {}
    return Container(
        rid=body["_rid"],
        link=body["_self"],
        key=PartitionKeyDefinition.parse(body["partitionKey"]),
        default_ttl=body.get("defaultTtl"),
        indexing=IndexingPolicy.parse(body["indexingPolicy"]),
        unique_keys=tuple(
            tuple(tuple(path.strip("/").split("/")) for path in key["paths"])
            for key in policy.get("uniqueKeys", ())
        ),
    )
