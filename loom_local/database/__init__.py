"""One SQLite file: opened by one host at a time, migrated, and written with group commit."""

from loom_local.database.database import (
    Database,
    DatabaseLockedError,
    DatabaseTooNewError,
    DatabaseUnusableError,
    Statement,
)

__all__ = ["Database", "DatabaseLockedError", "DatabaseTooNewError", "DatabaseUnusableError", "Statement"]
