"""What the container is: the one definition, for emulators here and for the deployment to agree with."""

from typing import Any, Final

PARTITION_KEY: Final[dict[str, Any]] = {
    "paths": ["/tenant", "/partition"],
    "kind": "MultiHash",
    "version": 2,
}
# Documents live for ever but those that say how long (`ttl`).
DEFAULT_TTL: Final = -1
# Queries go by `id` within a partition. Cosmos DB indexes `id` of itself but not the partition key, without
# which it looks at every item of the physical partition. Every other path would only make writes dearer.
INDEXING_POLICY: Final[dict[str, Any]] = {
    "indexingMode": "consistent",
    "automatic": True,
    "includedPaths": [{"path": "/tenant/?"}, {"path": "/partition/?"}],
    "excludedPaths": [{"path": "/*"}],
}
# Of the account. Session holds only for who wrote, and two hosts have two sessions: see CosmosStateStore.
CONSISTENCY_LEVELS: Final = ("Strong", "BoundedStaleness")


async def create(client: Any, database: str, container: str) -> None:
    """Create database and container if there are none: for emulators."""
    from azure.cosmos import PartitionKey  # noqa: PLC0415 - at first use

    held = await client.create_database_if_not_exists(database)
    await held.create_container_if_not_exists(
        container,
        partition_key=PartitionKey(**_as_arguments(PARTITION_KEY)),
        default_ttl=DEFAULT_TTL,
        indexing_policy=INDEXING_POLICY,
    )


def _as_arguments(key: dict[str, Any]) -> dict[str, Any]:
    return {"path": key["paths"], "kind": key["kind"], "version": key["version"]}
