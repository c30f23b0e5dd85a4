"""What is around the items: the account, databases, containers, their throughput and physical partitions."""

import base64
import struct

from tests.emulators.cosmos import request_units
from tests.emulators.cosmos.answers import Answer
from tests.emulators.cosmos.queries import text_of
from tests.emulators.cosmos.requests import is_query, unsupported
from tests.emulators.cosmos.sql.execution import select
from tests.emulators.cosmos.sql.values import compact
from tests.emulators.cosmos.throughput import offered

FEEDS = {"dbs": "Databases", "colls": "DocumentCollections", "offers": "Offers"}
RANGES_ETAG = '"ranges"'


class Metadata:
    def __init__(self, database, clock, resources, ranges):
        self._database = database
        self._clock = clock
        self._resources = resources
        self._ranges = ranges

    def offer(self, request):
        throughput = self._resources.throughput
        if request.method == "PUT" and len(request.segments) == 2:
            with self._database.transaction():
                offer = throughput.replace(request.segments[1], request.object())
            return Answer(200, compact(offer), request_units.METADATA_WRITE)
        return _listed(request, "offers", throughput.list())

    def feed(self, request):
        """Of databases or containers: one more, or all there are."""
        kind, parent = request.segments[-1], _parent(request)
        if kind not in ("dbs", "colls"):
            raise unsupported(request)
        if parent:
            self._resources.read("dbs", "", parent)
        if request.method == "POST" and not is_query(request.headers):
            body = self._resources.create(kind, parent, request.object(), offered(request.headers))
            return _resource(201, body, request_units.METADATA_WRITE)
        return _listed(request, kind, self._resources.list(kind, parent))

    def resource(self, request):
        """One database or container."""
        kind, name = request.segments[-2:]
        parent = _parent(request)
        if kind not in ("dbs", "colls"):
            raise unsupported(request)
        match request.method:
            case "GET":
                body = self._resources.read(kind, parent, name)
                return _resource(200, body, request_units.METADATA_READ)
            case "PUT":
                body = self._resources.replace(kind, parent, name, request.object())
                return _resource(200, body, request_units.METADATA_WRITE)
            case "DELETE":
                self._resources.delete(kind, parent, name)
                return Answer(204, charge=request_units.METADATA_WRITE)
        raise unsupported(request)

    def partitions(self, request, container):
        """The physical partitions; they never change, so who knows them is told nothing new."""
        if request.headers.get("If-None-Match") == RANGES_ETAG:
            return Answer(304, headers={"etag": RANGES_ETAG})
        found = [
            self._partition(container, index, low, high) for index, (low, high) in enumerate(self._ranges)
        ]
        body = {"_rid": container.rid, "PartitionKeyRanges": found, "_count": len(found)}
        return Answer(200, compact(body), request_units.METADATA_READ, {"etag": RANGES_ETAG})

    def _partition(self, container, index, low, high):
        return {
            "_rid": base64.b64encode(struct.pack(">Q", index)).decode(),
            "id": str(index),
            "_etag": RANGES_ETAG,
            "minInclusive": low,
            "maxExclusive": high,
            "ridPrefix": index,
            "_self": f"{container.link}pkranges/{index}/",
            "throughputFraction": 1 / len(self._ranges),
            "status": "online",
            "parents": [],
            "ownedArchivalPKRangeIds": [],
            "_ts": int(self._clock.time()),
            "lsn": self._database.last,
        }


def account(endpoint, consistency):
    location = [{"name": "Local", "databaseAccountEndpoint": endpoint}]
    replication = {"asyncReplication": False, "minReplicaSetSize": 1, "maxReplicasetSize": 4}
    body = {
        "id": "test",
        "_self": "",
        "_rid": "test",
        "_dbs": "//dbs/",
        "media": "//media/",
        "addresses": "//addresses/",
        "writableLocations": location,
        "readableLocations": location,
        "enableMultipleWriteLocations": False,
        "userReplicationPolicy": replication,
        "systemReplicationPolicy": replication,
        "userConsistencyPolicy": {"defaultConsistencyLevel": consistency},
        "readPolicy": {"primaryReadCoefficient": 1, "secondaryReadCoefficient": 1},
        "queryEngineConfiguration": "{}",
    }
    return Answer(200, compact(body))


def _parent(request):
    return request.segments[1] if len(request.segments) > 2 else ""


def _listed(request, kind, found):
    if is_query(request.headers):
        body = request.object()
        found = select(text_of(body), found, body.get("parameters"))
    elif request.method != "GET":
        raise unsupported(request)
    body = {"_rid": "", FEEDS[kind]: found, "_count": len(found)}
    return Answer(200, compact(body), request_units.METADATA_READ)


def _resource(status, body, charge):
    return Answer(status, compact(body), charge, {"etag": body["_etag"]})
