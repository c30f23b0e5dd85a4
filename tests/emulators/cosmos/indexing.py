"""Indexing policies: which values of a document are in the index, and what a query may therefore order by."""

from dataclasses import dataclass

from tests.emulators.cosmos.errors import bad_request

DEFAULT = {
    "indexingMode": "consistent",
    "automatic": True,
    "includedPaths": [{"path": "/*"}],
    "excludedPaths": [{"path": '/"_etag"/?'}],
}
SYSTEM = {"_rid", "_self", "_etag", "_attachments", "_ts"}
# These are in every index, whatever the policy says.
ALWAYS = {("id",), ("_ts",)}


@dataclass(frozen=True, slots=True)
class IndexingPolicy:
    enabled: bool
    included: tuple[tuple[str, ...], ...]
    excluded: tuple[tuple[str, ...], ...]
    composite: tuple[tuple[tuple[tuple[str, ...], bool], ...], ...]

    @classmethod
    def parse(cls, policy):
        """Of a container's `indexingPolicy`; refused as the service refuses it."""
        mode = str(policy.get("indexingMode", "consistent")).lower()
        if mode not in ("consistent", "none", "lazy"):
            raise bad_request(f"The indexing mode {mode} is invalid.")
        included, excluded = (
            tuple(_parsed(item.get("path")) for item in policy.get(name) or ())
            for name in ("includedPaths", "excludedPaths")
        )
        if mode != "none" and ("*",) not in included + excluded:
            raise bad_request('The special mandatory indexing path "/" is not provided in the path type set.')
        composite = tuple(
            tuple((_parsed(f"{item['path']}/?")[:-1], item.get("order") == "descending") for item in index)
            for index in policy.get("compositeIndexes") or ()
        )
        return cls(mode != "none", included, excluded, composite)

    def indexes(self, path):
        """Whether the value at this path (names; "[]" for any element) is in the index."""
        if path in ALWAYS:
            return True
        if not self.enabled:
            return False
        return _depth(self.included, path) > _depth(self.excluded, path)

    def terms(self, document):
        """How many values of a document are in the index."""
        if not self.enabled:
            return 0
        if ("*",) in self.included:
            return self._under(document, (), top=True)
        return sum(
            self._under(value, pattern[:-1])
            for pattern in self.included
            for value in _at(document, pattern[:-1])
        )

    def _under(self, value, path, *, top=False):
        if isinstance(value, dict):
            return sum(
                self._under(item, (*path, name))
                for name, item in value.items()
                if not (top and name in SYSTEM)
            )
        if isinstance(value, list):
            return sum(self._under(item, (*path, "[]")) for item in value)
        return int(self.indexes(path))

    def check_order(self, items):
        """Refuse to order by (path, descending) pairs that no index can serve; paths of None pass."""
        if len(items) > 1:
            turned = tuple((path, not down) for path, down in items)
            if tuple(items) not in self.composite and turned not in self.composite:
                raise bad_request(
                    "The order by query does not have a corresponding composite index"
                    " that it can be served from."
                )
        elif items and items[0][0] is not None and not self.indexes(items[0][0]):
            raise bad_request("The index path corresponding to the specified order-by item is excluded.")


def _parsed(path):
    if not isinstance(path, str) or not path.startswith("/"):
        raise bad_request(f"The indexing path '{path}' could not be accepted.")
    parts = tuple(part.strip('"') for part in path[1:].split("/"))
    if parts[-1] not in ("?", "*"):
        raise bad_request(f"The indexing path '{path}' could not be accepted. It ends in neither ? nor *.")
    return parts


def _depth(patterns, path):
    """How precisely the best of the patterns names a path; -1 if none does."""
    best = -1
    for pattern in patterns:
        names = pattern[:-1]
        if pattern[-1] == "?" and names == path:
            best = max(best, 2 * len(names) + 1)
        elif pattern[-1] == "*" and names == path[: len(names)]:
            best = max(best, 2 * len(names))
    return best


def _at(value, path):
    if not path:
        yield value
    elif path[0] == "[]":
        for item in value if isinstance(value, list) else ():
            yield from _at(item, path[1:])
    elif isinstance(value, dict) and path[0] in value:
        yield from _at(value[path[0]], path[1:])
