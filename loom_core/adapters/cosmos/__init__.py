"""StateStore and ChangeFeed on Azure Cosmos DB for NoSQL."""

from loom_core.adapters.cosmos.state import CosmosStateStore

__all__ = ["CosmosStateStore"]
