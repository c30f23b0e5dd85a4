PRAGMA application_id = 0x4C4F4F4D;

CREATE TABLE host (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE instances (
    id TEXT PRIMARY KEY,
    execution_id TEXT NOT NULL,
    name TEXT NOT NULL,
    version TEXT,
    status INTEGER NOT NULL,
    created_at REAL NOT NULL,
    updated_at REAL NOT NULL,
    completed_at REAL,
    scheduled_at REAL,
    parent_id TEXT,
    parent_execution_id TEXT,
    parent_task_id INTEGER,
    tags TEXT,
    custom_status TEXT,
    output TEXT,
    failure BLOB
) WITHOUT ROWID;
CREATE INDEX instances_by_creation ON instances (created_at, id);
CREATE INDEX instances_by_parent ON instances (parent_id) WHERE parent_id IS NOT NULL;

-- Apart from instances, because a row is rewritten at every step and an input may be large.
CREATE TABLE inputs (id TEXT PRIMARY KEY, input TEXT) WITHOUT ROWID;

-- One row a step: `events` is the wire form of `repeated HistoryEvent pastEvents = 3`, ready to be joined.
CREATE TABLE history (
    id TEXT NOT NULL, step INTEGER NOT NULL, count INTEGER NOT NULL, events BLOB NOT NULL,
    PRIMARY KEY (id, step)
) WITHOUT ROWID;

-- Messages to instances and entities, in order of commit; `visible_at` is set for timers and delayed ones.
CREATE TABLE inbox (
    seq INTEGER PRIMARY KEY,
    target TEXT NOT NULL,
    execution_id TEXT,
    visible_at REAL,
    request_id BLOB,
    crashes INTEGER NOT NULL DEFAULT 0,
    event BLOB NOT NULL
);
CREATE INDEX inbox_timers ON inbox (target) WHERE visible_at IS NOT NULL;

CREATE TABLE tasks (
    seq INTEGER PRIMARY KEY,
    instance_id TEXT NOT NULL,
    execution_id TEXT NOT NULL,
    task_id INTEGER NOT NULL,
    name TEXT NOT NULL,
    version TEXT,
    crashes INTEGER NOT NULL DEFAULT 0,
    input TEXT
);

CREATE TABLE entities (
    id TEXT PRIMARY KEY, state TEXT, modified_at REAL NOT NULL, locked_by TEXT, lock_parent TEXT
) WITHOUT ROWID;
CREATE INDEX entities_locked ON entities (lock_parent) WHERE locked_by IS NOT NULL;

-- Request ids of signals that have left the inbox: 16 bytes each, so that a client's retry is not a second signal.
CREATE TABLE requests (seq INTEGER PRIMARY KEY, at REAL NOT NULL, ids BLOB NOT NULL);

-- Work that was pending in several crashes runs alone, marked here first; what ran at a crash gets a strike.
CREATE TABLE suspects (item TEXT PRIMARY KEY, strikes INTEGER NOT NULL, running INTEGER NOT NULL) WITHOUT ROWID;
