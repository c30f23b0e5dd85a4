"""The ports in memory, for tests and throwaway hosts: nothing survives the process."""

from loom_core.adapters.memory.blobs import MemoryBlobStore
from loom_core.adapters.memory.locks import MemoryLockManager
from loom_core.adapters.memory.queue import MemoryMessageQueue
from loom_core.adapters.memory.state import MemoryStateStore

__all__ = ["MemoryBlobStore", "MemoryLockManager", "MemoryMessageQueue", "MemoryStateStore"]
