"""The settings: one frozen object, read once from the environment."""

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Self, cast, get_args
from urllib.parse import urlsplit

from loom_core.errors import InvalidError, Problem

type Blobs = Literal["files", "azure", "memory"]
type Queue = Literal["sqlite", "servicebus", "memory"]
type Store = Literal["sqlite", "cosmos", "memory"]

_CHOICES: Final = {
    "LOOM_BLOBS": ("files", Blobs),
    "LOOM_QUEUE": ("sqlite", Queue),
    "LOOM_STORE": ("sqlite", Store),
}
_NAMES: Final = {
    "LOOM_BLOB_CONTAINER": ("loom", r"(?=.{3,57}\Z)[a-z0-9]+(-[a-z0-9]+)*\Z"),
    "LOOM_COSMOS_CONTAINER": ("state", r"[^/\\?#\s]{1,255}\Z"),
    "LOOM_COSMOS_DATABASE": ("loom", r"[^/\\?#\s]{1,255}\Z"),
    "LOOM_TENANT": ("main", r"[A-Za-z0-9._-]{1,64}\Z"),
}
_OURS: Final = (*sorted([*_CHOICES, *_NAMES, "LOOM_DATA"]),)
# Read by the `loom` command and by the tests; an app finds them in its environment and has no use for them.
_OF_TOOLS: Final = ("LOOM_URL", "LOOM_API_KEY")
_OF_TESTS: Final = ("LOOM_TEST_", "LOOM_CRASH_")
_HOME: Final = re.compile(
    r"localhost|127(\.\d+){3}|::1|host\.docker\.internal|[a-z][a-z0-9-]*", re.IGNORECASE | re.ASCII
)
"""This machine, and names without a dot, as containers have among themselves: never a service in Azure."""
_ENDPOINTS: Final = frozenset({"accountendpoint", "blobendpoint", "endpoint", "hostname"})
"""Where a connection string leads: of Cosmos DB, Blob Storage and Service Bus, in lower case."""
_MORE_THAN_A_PLACE: Final = frozenset("?#@;=")
"""What only addresses with a key, a signature or a password have in them."""


@dataclass(frozen=True, slots=True)
class Connection:
    """Where a service of Azure is: an endpoint for the identity, or a local emulator's connection string."""

    endpoint: str = ""
    connection_string: str = ""

    def __repr__(self) -> str:
        return f"Connection({self.endpoint or 'a local emulator'!r})"


@dataclass(frozen=True, slots=True)
class Settings:
    """Where an app keeps what it keeps. `data` is a directory for what lives in files.

    The connections are there for what was chosen: `cosmos` with `store`, `storage` with `blobs`,
    `servicebus` with `queue`. `tenant` keeps apps apart that share a container of Cosmos DB.
    """

    data: Path
    blobs: Blobs
    store: Store
    queue: Queue
    cosmos: Connection | None = None
    storage: Connection | None = None
    servicebus: Connection | None = None
    blob_container: str = "loom"
    cosmos_container: str = "state"
    cosmos_database: str = "loom"
    tenant: str = "main"

    @classmethod
    def read(cls, environment: Mapping[str, str], root: Path) -> Self:
        """Read the `LOOM_` settings of docs/reference.md, and the connections of the services they choose.

        `LOOM_DATA` is `.loom` in the app's root by default. An empty value counts as unset. Raises
        InvalidError for every `LOOM_` name that is not known, every value that is not allowed, every service
        without a connection, and every connection that would need a key.
        """
        given = {name: value for name, value in environment.items() if name.startswith("LOOM_") and value}
        problems = [Problem(name, _unknown(name)) for name in sorted(given) if not _is_known(name)]
        chosen = {name: given.get(name, default) for name, (default, _) in _CHOICES.items()}
        names = {name: given.get(name, default) for name, (default, _) in _NAMES.items()}
        problems += _bad_values(chosen, names)
        services = {
            "cosmos": ("LOOM_STORE", ["Cosmos"], "accountEndpoint"),
            "azure": ("LOOM_BLOBS", ["Blobs", "AzureWebJobsStorage"], "blobServiceUri"),
            "servicebus": ("LOOM_QUEUE", ["ServiceBus"], "fullyQualifiedNamespace"),
        }
        connections: dict[str, Connection] = {}
        for service, (setting, prefixes, suffix) in services.items():
            if chosen[setting] == service:
                try:
                    connections[service] = connection(environment, prefixes, suffix)
                except InvalidError as error:
                    problems += [Problem(setting, f"{service}: {error.problems[0].message}")]
        if problems:
            raise InvalidError(problems)
        return cls(
            root / Path(given.get("LOOM_DATA", ".loom")).expanduser(),
            cast("Blobs", chosen["LOOM_BLOBS"]),
            cast("Store", chosen["LOOM_STORE"]),
            cast("Queue", chosen["LOOM_QUEUE"]),
            connections.get("cosmos"),
            connections.get("azure"),
            connections.get("servicebus"),
            *(names[name] for name in _NAMES),
        )


def connection(environment: Mapping[str, str], prefixes: list[str], suffix: str) -> Connection:
    """Read the connection of the first prefix that has one, as the Functions host does.

    `PREFIX__SUFFIX` is an endpoint, and `PREFIX__accountName` says as much of blobs. `PREFIX` is a connection
    string, which has a key in it: it is taken for emulators on this machine only. Raises InvalidError, which
    never tells the value.
    """
    for prefix in prefixes:
        if endpoint := environment.get(f"{prefix}__{suffix}"):
            if not _MORE_THAN_A_PLACE.isdisjoint(endpoint):
                raise InvalidError(
                    f"{prefix}__{suffix} says more than where the service is; "
                    "give the app's identity a role there, and no key"
                )
            return Connection(endpoint=endpoint)
        name = environment.get(f"{prefix}__accountName", "")
        if suffix == "blobServiceUri" and re.fullmatch(r"[a-z0-9]{3,24}", name):
            return Connection(endpoint=f"https://{name}.blob.core.windows.net/")
        if text := environment.get(prefix):
            if _is_local(text):
                return Connection(connection_string=text)
            raise InvalidError(
                f"{prefix} is a connection string with a key, which only a local emulator may have; "
                f"set {prefix}__{suffix} instead, and give the app's identity a role there"
            )
    first = prefixes[0]
    raise InvalidError(f"set {first}__{suffix}, or {first} to the connection string of a local emulator")


def _is_local(connection_string: str) -> bool:
    parts = [part.partition("=") for part in connection_string.split(";")]
    said = {name.lower(): value for name, _, value in parts}
    places = [value for name, _, value in parts if "://" in value or name.lower() in _ENDPOINTS]
    try:
        hosts = [urlsplit(place).hostname or "" for place in places]
    except ValueError:
        return False
    # With the name of an account and no such endpoint, the SDK goes to that account in Azure.
    named = "blobendpoint" in said if "accountname" in said else not _ENDPOINTS.isdisjoint(said)
    is_emulator = named or said.get("usedevelopmentstorage") == "true"
    return is_emulator and all(_HOME.fullmatch(host) for host in hosts)


def _bad_values(chosen: Mapping[str, str], names: Mapping[str, str]) -> Iterator[Problem]:
    for name, value in chosen.items():
        allowed = get_args(_CHOICES[name][1].__value__)
        if value not in allowed:
            yield Problem(name, f"{value!r} is not one of {', '.join(allowed)}")
    for name, value in names.items():
        if not re.match(_NAMES[name][1], value):
            yield Problem(name, f"{value!r} is not a name that the service takes")


def _is_known(name: str) -> bool:
    return name in _OURS or name in _OF_TOOLS or name.startswith(_OF_TESTS)


def _unknown(name: str) -> str:
    close = difflib.get_close_matches(name, _OURS, 1, 0.7)
    return (
        f"no such setting; did you mean {close[0]}?"
        if close
        else f"no such setting; there are {', '.join(_OURS)}"
    )
