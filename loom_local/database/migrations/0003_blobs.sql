-- The last version of each file that a blob function was given. `outcome` is NULL until it has succeeded ('done') or
-- has failed too often ('poison'); `attempts` counts the calls, each before it is made.
CREATE TABLE blob_receipts (
    function TEXT NOT NULL,
    container TEXT NOT NULL,
    name TEXT NOT NULL,
    etag TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    outcome TEXT,
    PRIMARY KEY (function, container, name)
) WITHOUT ROWID;
