"""A request as the service sees it: what kind of operation on which resource."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from tests.emulators.cosmos.errors import CosmosError, bad_request
from tests.emulators.cosmos.sql.values import compact

# Half of a character may follow, which no database keeps.
ESCAPED_SURROGATE = b"\\ud"
ITEM_KINDS = {"GET": "read", "PUT": "replace", "PATCH": "patch", "DELETE": "delete"}
# By the length of the path: dbs, dbs/D, dbs/D/colls, dbs/D/colls/C.
METADATA = {1: "databases", 2: "database", 3: "containers", 4: "container"}
# By what follows the container in the path.
PARTS = {"pkranges": "ranges", "operations": "delete_partition"}
# A POST to a container's documents that has one of these headers is not the creation of an item.
POSTS = {
    "x-ms-cosmos-is-query-plan-request": "query_plan",
    "x-ms-documentdb-isquery": "query",
    "x-ms-cosmos-is-batch-request": "batch",
    "x-ms-documentdb-is-upsert": "upsert",
}


@dataclass(frozen=True, slots=True)
class Request:
    """`segments` is the path without its slashes, decoded; `kind` names the operation, as statistics do."""

    method: str
    segments: tuple[str, ...]
    headers: Mapping[str, str]
    body: bytes
    kind: str
    host: str
    endpoint: str

    @classmethod
    def of(cls, incoming, body):
        """Of an aiohttp request."""
        segments = tuple(unquote(part) for part in incoming.rel_url.raw_path.split("/") if part)
        kind = _kind(incoming.method, segments, incoming.headers)
        endpoint = f"{incoming.scheme}://{incoming.host}/"
        return cls(incoming.method, segments, incoming.headers, body, kind, incoming.host, endpoint)

    @property
    def path(self):
        return "/" + "/".join(self.segments)

    def json(self):
        try:
            value = json.loads(self.body, parse_constant=_finite, parse_float=_finite)
            if ESCAPED_SURROGATE in self.body.lower():
                compact(value).encode()
        except ValueError:
            raise bad_request("The request payload is not valid JSON.") from None
        return value

    def object(self):
        value = self.json()
        if not isinstance(value, dict):
            raise bad_request("The request payload must be a JSON object.")
        return value


def _finite(text):
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def is_query(headers):
    """Whether a POST asks rather than creates."""
    return headers.get("x-ms-documentdb-isquery", "").lower() == "true"


def unsupported(request):
    return CosmosError(501, f"This test server does not serve {request.method} {request.path}.")


def _kind(method, segments, headers):
    if not segments:
        return "account"
    if segments[0] == "offers":
        return "offer"
    if segments[0] != "dbs":
        return "unknown"
    if len(segments) in METADATA:
        return METADATA[len(segments)]
    return _part_kind(method, segments[4:], headers)


def _part_kind(method, rest, headers):
    if rest[0] != "docs":
        return PARTS.get(rest[0], "unknown")
    if len(rest) == 2:
        return ITEM_KINDS.get(method, "unknown")
    if len(rest) > 2 or method not in ("GET", "POST"):
        return "unknown"
    if method == "GET":
        return "change_feed" if "A-IM" in headers else "read_feed"
    said = (kind for name, kind in POSTS.items() if headers.get(name, "").lower() == "true")
    return next(said, "create")
