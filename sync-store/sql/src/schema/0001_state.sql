-- Who may work on what. A row without owner was given back; its token stays, so that the next one is higher.
CREATE TABLE _sync_lease (
    name       TEXT PRIMARY KEY NOT NULL,
    token      INTEGER NOT NULL,
    owner      TEXT,
    expires_ms INTEGER NOT NULL
) STRICT;

-- How far scopes have got whose sink does not keep it.
CREATE TABLE _sync_position (
    scope      TEXT PRIMARY KEY NOT NULL,
    token      INTEGER NOT NULL,
    seq        INTEGER NOT NULL,
    checkpoint TEXT NOT NULL
) STRICT;

-- Until when a scope must not be read, microseconds since 1970.
CREATE TABLE _sync_hold (
    scope    TEXT PRIMARY KEY NOT NULL,
    until_us INTEGER NOT NULL
) STRICT;

-- What every run did in every scope.
CREATE TABLE _sync_run (
    run      TEXT NOT NULL,
    scope    TEXT NOT NULL,
    pipeline TEXT NOT NULL,
    status   TEXT NOT NULL,
    record   TEXT NOT NULL,
    PRIMARY KEY (run, scope)
) STRICT;
CREATE INDEX _sync_run_pipeline ON _sync_run (pipeline, run);

-- Rows that could not be applied. One that was dealt with keeps its place and has a date in `resolved`.
CREATE TABLE _sync_dead_letter (
    place    INTEGER PRIMARY KEY AUTOINCREMENT,
    id       TEXT UNIQUE NOT NULL,
    pipeline TEXT NOT NULL,
    stream   TEXT NOT NULL,
    kind     TEXT NOT NULL,
    letter   TEXT NOT NULL,
    resolved TEXT
) STRICT;
