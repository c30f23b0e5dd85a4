"""The ports on SQLite files: what was acknowledged survives kill -9 and a power cut."""

from loom_core.adapters.sqlite.locks import SqliteLockManager
from loom_core.adapters.sqlite.state import SqliteStateStore

__all__ = ["SqliteLockManager", "SqliteStateStore"]
