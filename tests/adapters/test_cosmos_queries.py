"""What docs/storage.md says for people who look at the container with other tools."""

import re
from pathlib import Path

from azure.cosmos.aio import CosmosClient

from loom_core.ports.state import Put
from tests.ports.cosmos import cosmos_db

PAGE = (Path(__file__).parents[2] / "docs" / "storage.md").read_text(encoding="utf-8")


async def test_the_queries_of_the_page_find_a_journal_in_order_and_what_waits_in_outboxes():
    journal, waiting = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)
    async with cosmos_db() as database:
        store = database.store(tenant="main")
        entries = [Put(f"j:{number:020}", {"first": number}) for number in (10, 2)]
        await store.write("actors/Account/alice", [*entries, Put("head", {}), Put(f"o:{2:020}", {})])
        await store.write("actors/Account/bob", [Put(f"j:{1:020}", {})])
        await store.aclose()

        async with CosmosClient.from_connection_string(database.connection.connection_string) as client:
            container = client.get_database_client("loom").get_container_client("state")
            found = [item async for item in container.query_items(journal)]
            late = [item async for item in container.query_items(waiting)]

    assert [item["body"]["first"] for item in found] == [2, 10]
    assert [(item["partition"], item["id"]) for item in late] == [("actors/Account/alice", f"o:{2:020}")]
