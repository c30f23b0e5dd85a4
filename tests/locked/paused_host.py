"""A host that takes the lock "x", says its token, and writes when it is told to, come what may."""

import asyncio
import sys
from pathlib import Path

from loom_core.adapters.azure_blob import BlobLeaseLockManager
from loom_core.adapters.sqlite import SqliteStateStore
from loom_core.errors import ConflictError
from loom_core.locked import locked
from loom_core.ports.state import Fence, Put
from loom_core.settings import Connection


async def main(connection_string: str, container: str, file: str) -> None:
    locks = BlobLeaseLockManager(Connection(connection_string=connection_string), container=container)
    store = SqliteStateStore(Path(file))
    async with locked(locks, "x", 60) as lock:
        print(lock.token if lock else None, flush=True)
        name = await asyncio.to_thread(sys.stdin.readline)
        try:
            await store.write("p", [Fence("x", lock.token), Put("last", {"by": name.strip()})])
        except ConflictError:
            print("refused", flush=True)
        else:
            print("written", flush=True)
    await locks.aclose()
    await store.aclose()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
