"""The service: requests on the account, its databases, containers and items, answered."""

from tests.emulators.cosmos import batch, change_feed, queries, request_units
from tests.emulators.cosmos.answers import Answer
from tests.emulators.cosmos.clock import Clock
from tests.emulators.cosmos.database import Database
from tests.emulators.cosmos.documents import LARGEST, Documents
from tests.emulators.cosmos.errors import bad_request, too_large
from tests.emulators.cosmos.metadata import Metadata, account
from tests.emulators.cosmos.partition_keys import effective, ranges, stored
from tests.emulators.cosmos.requests import unsupported
from tests.emulators.cosmos.resources import Resources
from tests.emulators.cosmos.scope import Scope, check_session, range_of, whole_key
from tests.emulators.cosmos.sql.values import compact


class Service:
    def __init__(self, data=None, *, range_count=1, clock=None, consistency="Session"):
        self.clock = clock or Clock()
        self.database = Database(data)
        self._ranges = ranges(range_count)
        self._resources = Resources(self.database, self.clock)
        self._metadata = Metadata(self.database, self.clock, self._resources, self._ranges)
        self._documents = Documents(self.database, self.clock)
        self._metadata_kinds = {
            "account": lambda request: account(request.endpoint, consistency),
            "offer": self._metadata.offer,
            "database": self._metadata.resource,
            "databases": self._metadata.feed,
            "container": self._metadata.resource,
            "containers": self._metadata.feed,
        }
        self._kinds = {
            "ranges": self._metadata.partitions,
            "batch": self._batch,
            "query": self._query,
            "query_plan": self._query_plan,
            "read_feed": self._read_feed,
            "change_feed": self._change_feed,
            "read": self._read,
            **dict.fromkeys(("create", "upsert", "replace", "patch", "delete"), self._write),
            "delete_partition": self._delete_partition,
        }

    def close(self):
        self.database.close()

    def answer(self, request):
        """Raises CosmosError for whatever is not a success."""
        if request.kind in self._metadata_kinds:
            return self._metadata_kinds[request.kind](request)
        if request.kind not in self._kinds:
            raise unsupported(request)
        container = self._resources.container(request.segments[1], request.segments[3])
        intended = request.headers.get("x-ms-cosmos-intended-collection-rid")
        if intended and intended != container.rid:
            raise bad_request("The collection's rid is not the intended one.", 1024)
        check_session(request.headers.get("x-ms-session-token"), self.database.last)
        if len(request.body) > LARGEST:
            raise too_large()
        return self._kinds[request.kind](request, container)

    def _read(self, request, container):
        key = whole_key(container, request.headers)
        if_none_match = request.headers.get("If-None-Match")
        outcome = self._documents.read(container, key, request.segments[5], if_none_match)
        return Answer(outcome.status, outcome.text, outcome.charge, self._headers(key, outcome.etag))

    def _write(self, request, container):
        key = whole_key(container, request.headers)
        if_match = request.headers.get("If-Match")
        operation = getattr(self._documents, request.kind)
        said = request.segments[5:6] if request.kind == "delete" else (*request.segments[5:6], request.json())
        with self.database.transaction():
            outcome = operation(container, key, *said, if_match)
        text = None if request.headers.get("Prefer") == "return=minimal" else outcome.text
        return Answer(outcome.status, text, outcome.charge, self._headers(key, outcome.etag))

    def _delete_partition(self, request, container):
        key = whole_key(container, request.headers)
        with self.database.transaction():
            self._documents.delete_partition(container, key)
        return Answer(200, "{}", request_units.METADATA_WRITE)

    def _batch(self, request, container):
        key, operations = whole_key(container, request.headers), request.json()
        status, results, charge = batch.run(self._documents, self.database, container, key, operations)
        body = ",".join(_result(result) if status == 200 else compact(result) for result in results)
        applied = tuple(operation["operationType"].lower() for operation in operations if status == 200)
        return Answer(status, f"[{body}]", charge, self._headers(key), applied)

    def _query(self, request, container):
        page = queries.run(self._documents, container, request.object(), request.headers, self._ranges)
        return self._page(request, container, page)

    def _read_feed(self, request, container):
        page = queries.run(
            self._documents, container, queries.FEED, request.headers, self._ranges, direct=True
        )
        return self._page(request, container, page)

    def _query_plan(self, request, _container):
        features = request.headers.get("x-ms-cosmos-supported-query-features", "")
        names = {name.strip() for name in features.split(",")}
        return Answer(200, compact(queries.query_plan(request.json(), names)))

    def _change_feed(self, request, container):
        texts, etag, charge = change_feed.read(
            self.database, self.clock, container, request.headers, self._ranges
        )
        if not texts:
            return Answer(304, charge=charge, headers={"etag": etag})
        return self._feed(request, container, texts, charge, {"etag": etag})

    def _page(self, request, container, page):
        headers = {"x-ms-continuation": page.continuation} if page.continuation else {}
        return self._feed(request, container, page.texts, page.charge, headers)

    def _feed(self, request, container, texts, charge, headers):
        scope = Scope.of(container, request.headers, self._ranges)
        token = f"{scope.range_id if scope else 0}:-1#{self.database.last}"
        text = f'{{"_rid":"{container.rid}","Documents":[{",".join(texts)}],"_count":{len(texts)}}}'
        counted = {"x-ms-item-count": str(len(texts)), "x-ms-session-token": token}
        return Answer(200, text, charge, headers | counted)

    def _headers(self, key, etag=None):
        index = range_of(effective(stored(key)), self._ranges)
        session = {"x-ms-session-token": f"{index}:-1#{self.database.last}"}
        return session | {"etag": etag} if etag else session


def _result(outcome):
    """An operation's part of a batch's answer."""
    text = f'{{"statusCode":{outcome.status},"requestCharge":{round(outcome.charge, 2)}'
    if outcome.etag:
        text += f',"eTag":{compact(outcome.etag)}'
    return text + (f',"resourceBody":{outcome.text}}}' if outcome.text else "}")
