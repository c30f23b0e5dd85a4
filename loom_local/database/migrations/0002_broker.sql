CREATE TABLE queues (name TEXT PRIMARY KEY, properties TEXT NOT NULL) WITHOUT ROWID;

-- A sequence number is never used twice (the window held in memory goes by it), hence AUTOINCREMENT.
-- `lane` is what is delivered in order: the session in a queue with sessions, '' elsewhere.
-- Dead letters are the messages of the queue NAME/$deadletterqueue. `due_at` is set while a message is scheduled.
CREATE TABLE messages (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    queue TEXT NOT NULL,
    lane TEXT NOT NULL,
    session TEXT,
    message_id TEXT NOT NULL,
    enqueued_at REAL NOT NULL,
    due_at REAL,
    expires_at REAL NOT NULL,
    deliveries INTEGER NOT NULL DEFAULT 0,
    dead_at REAL,
    dead_reason TEXT,
    dead_description TEXT,
    properties TEXT NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX messages_ready ON messages (queue, lane, sequence) WHERE due_at IS NULL;
CREATE INDEX messages_due ON messages (due_at) WHERE due_at IS NOT NULL;

-- Message ids seen within their queue's window, each with the message that brought it first.
CREATE TABLE message_ids (
    queue TEXT NOT NULL,
    message_id TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    expires_at REAL NOT NULL,
    PRIMARY KEY (queue, message_id)
) WITHOUT ROWID;
CREATE INDEX message_ids_by_expiry ON message_ids (expires_at);

-- When each timer function ran last and is due next, so that a host that was down knows what it missed.
CREATE TABLE timers (
    name TEXT PRIMARY KEY, schedule TEXT NOT NULL, last_at REAL, next_at REAL NOT NULL
) WITHOUT ROWID;
