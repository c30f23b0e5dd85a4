"""The StateStore on Cosmos DB beside the bare SDK, on the test server, and what its operations cost."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from azure.cosmos.aio import CosmosClient

from benchmarks.host import ROOT
from benchmarks.measure import Figure, Row, Scale, Table, beside
from loom_core.adapters.cosmos import CosmosStateStore
from loom_core.ports.state import Put
from loom_core.settings import Connection
from tests.emulators.cosmos import EMULATOR_KEY

BODY = {"first": 1, "last": 1, "entries": [{"seq": 1, "type": "event", "at": "2026-01-01T00:00:00Z"}]}
TENANT, PARTITION, LISTED = "bench", "actors/A/1", 100
SLICES = 20
"""Both take turns, so that a busy machine slows both."""

type Work = Callable[[int], Awaitable[Any]]


def measure(scale: Scale, folder: Path) -> Table:
    with _server(folder) as url:
        rounds = [asyncio.run(_round(url, scale.of(400))) for _ in scale.rounds]
    works = {
        "reads": "point reads",
        "writes": "single writes",
        "batches": "batches of three documents",
        "queries": f"queries for {LISTED} documents",
    }
    rows = [
        beside(text, (speeds[work][0] for speeds, _ in rounds), (speeds[work][1] for speeds, _ in rounds))
        for work, text in works.items()
    ]
    costs = [
        Row(f"requests for {text}", "each", Figure.of(charges[work][0] for _, charges in rounds))
        for work, text in works.items()
    ]
    units = [
        Row(f"request units of {text}", "each", Figure.of(charges[work][1] for _, charges in rounds))
        for work, text in works.items()
    ]
    return Table(
        "Cosmos DB",
        "One after the other, over HTTP, on the test server of tests/emulators/cosmos, which estimates the "
        "request units; floor: the same with the SDK as it comes, in turns with the adapter.",
        (*rows, *costs, *units),
    )


@contextmanager
def _server(folder: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "tests.emulators.cosmos", "--port", "0", "--data", folder / "cosmos.db"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process.stdout.readline().split()[-1] if process.stdout else ""
        finally:
            process.terminate()


async def _round(url: str, count: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Give operations a second, the adapter's and the SDK's, and (requests, request units) for each."""
    address = Connection(connection_string=f"AccountEndpoint={url};AccountKey={EMULATOR_KEY}")
    store = CosmosStateStore(address, database="loom", container="state", tenant=TENANT)
    await store.write(PARTITION, [Put(f"j:{n:020}", BODY) for n in range(LISTED)])
    speeds: dict[str, Any] = {}
    charges: dict[str, Any] = {}
    async with CosmosClient(url, EMULATOR_KEY) as client:
        bare = _bare(client.get_database_client("loom").get_container_client("state"))
        for name, ours in _ours(store).items():
            operation = {"reads": "read", "queries": "query"}.get(name, "write")
            before = store.charges.get(operation, (0, 0.0))
            speeds[name] = await _in_turns(ours, bare[name], count if name != "queries" else count // 4 + 1)
            done, (requests, units) = speeds[name][2], store.charges[operation]
            charges[name] = ((requests - before[0]) / done, (units - before[1]) / done)
    await store.aclose()
    return speeds, charges


async def _in_turns(ours: Work, bare: Work, count: int) -> tuple[float, float, int]:
    each = max(1, count // SLICES)
    spent = [0.0, 0.0]
    for n in range(SLICES):
        turns = [(0, ours), (1, bare)]
        for which, work in turns if n % 2 else reversed(turns):
            began = time.perf_counter()
            for m in range(each):
                await work(n * each + m)
            spent[which] += time.perf_counter() - began
    done = each * SLICES
    return done / spent[0], done / spent[1], done


def _ours(store: CosmosStateStore) -> dict[str, Work]:
    return {
        "reads": lambda n: store.read(PARTITION, f"j:{n % LISTED:020}"),
        "writes": lambda n: store.write(PARTITION, [Put(f"x:{n % LISTED:020}", BODY)]),
        "batches": lambda n: store.write(
            PARTITION, [Put(f"{kind}:{n % LISTED:020}", BODY) for kind in "xyz"]
        ),
        "queries": lambda _: store.query(PARTITION, "j:"),
    }


def _bare(container: Any) -> dict[str, Work]:
    key = [TENANT, PARTITION]

    def item(id_: str) -> dict[str, Any]:
        return {"id": id_, "tenant": TENANT, "partition": PARTITION, "body": BODY}

    async def query(_: int) -> list[Any]:
        text = "SELECT c.id, c.body, c._etag FROM c WHERE c.id >= @from AND c.id < @to ORDER BY c.id"
        bounds = [{"name": "@from", "value": "j:"}, {"name": "@to", "value": "j;"}]
        found = container.query_items(text, parameters=bounds, partition_key=key, max_item_count=1_000)
        return [item async for item in found]

    return {
        "reads": lambda n: container.read_item(f"j:{n % LISTED:020}", key),
        "writes": lambda n: container.upsert_item(item(f"x:{n % LISTED:020}")),
        "batches": lambda n: container.execute_item_batch(
            [("upsert", (item(f"{kind}:{n % LISTED:020}"),)) for kind in "xyz"], key
        ),
        "queries": query,
    }
