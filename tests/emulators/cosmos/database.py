"""Where everything is kept: one SQLite database, in memory or in a file that survives kill -9."""

import sqlite3
from contextlib import contextmanager

SCHEMA = """
CREATE TABLE IF NOT EXISTS resources (
    kind TEXT, parent TEXT, id TEXT, rid TEXT, body TEXT, PRIMARY KEY (kind, parent, id)
);
CREATE TABLE IF NOT EXISTS documents (
    container TEXT, partition TEXT, id TEXT, epk TEXT, number INTEGER, lsn INTEGER, rank INTEGER,
    written REAL, expires REAL, etag TEXT, terms INTEGER, body TEXT,
    PRIMARY KEY (container, partition, id)
);
CREATE UNIQUE INDEX IF NOT EXISTS documents_changed ON documents (container, lsn, rank);
CREATE INDEX IF NOT EXISTS documents_range ON documents (container, epk);
CREATE INDEX IF NOT EXISTS documents_expiring ON documents (expires) WHERE expires IS NOT NULL;
CREATE TABLE IF NOT EXISTS numbers (used INTEGER);
INSERT INTO numbers SELECT 100 WHERE NOT EXISTS (SELECT 1 FROM numbers);
"""
RESERVED = 10_000
# More than a batch of a hundred operations takes.
ENOUGH = 500


class Database:
    """A connection, its transactions, and numbers that only grow, even after a crash."""

    def __init__(self, path=None):
        self._connection = sqlite3.connect(path or ":memory:", isolation_level=None)
        self.execute = self._connection.execute
        self.execute("PRAGMA journal_mode = WAL")
        # A killed process loses nothing with NORMAL; only a machine without power may.
        self.execute("PRAGMA synchronous = NORMAL")
        # Checkpoints sync: seldom, then.
        self.execute("PRAGMA wal_autocheckpoint = 8000")
        self._connection.executescript(SCHEMA)
        self._reserved = self.last = self.execute("SELECT used FROM numbers").fetchone()[0]
        self._change = None

    def close(self):
        self._connection.close()

    def next(self):
        """The next number: of a change, of a resource. Only inside a transaction."""
        self.last += 1
        return self.last

    def change(self):
        """The number of the transaction as a whole: all documents changed in it carry it."""
        if self._change is None:
            self._change = self.next()
        return self._change

    @contextmanager
    def transaction(self):
        self._reserve()
        self._change = None
        self.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self.execute("ROLLBACK")
            raise
        self.execute("COMMIT")

    def _reserve(self):
        # In blocks, ahead of their use: a write would otherwise be two.
        if self._reserved - self.last < ENOUGH:
            self._reserved = self.last + RESERVED
            self.execute("UPDATE numbers SET used = ?", (self._reserved,))
