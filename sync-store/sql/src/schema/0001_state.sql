-- Who may work on what. A row without owner was given back, its token stays, so that the next one is higher.
CREATE TABLE IF NOT EXISTS _sync_lease (
    name       {key} PRIMARY KEY NOT NULL,
    token      {number} NOT NULL,
    owner      {text},
    expires_ms {number} NOT NULL
){table};

-- How far scopes have got whose sink does not keep it.
CREATE TABLE IF NOT EXISTS _sync_position (
    scope      {key} PRIMARY KEY NOT NULL,
    token      {number} NOT NULL,
    seq        {number} NOT NULL,
    checkpoint {text} NOT NULL
){table};

-- Until when a scope must not be read, microseconds since 1970.
CREATE TABLE IF NOT EXISTS _sync_hold (
    scope    {key} PRIMARY KEY NOT NULL,
    until_us {number} NOT NULL
){table};

-- What every run did in every scope.
CREATE TABLE IF NOT EXISTS _sync_run (
    run      {key} NOT NULL,
    scope    {key} NOT NULL,
    pipeline {key} NOT NULL,
    status   {key} NOT NULL,
    record   {text} NOT NULL,
    PRIMARY KEY (run, scope),
    -- For the runs of one pipeline. MySQL has no other index that is made only where there is none.
    UNIQUE (pipeline, run, scope)
){table};

-- Rows that could not be applied. One that was dealt with keeps its place, and `resolved` says since when, in
-- milliseconds since 1970.
CREATE TABLE IF NOT EXISTS _sync_dead_letter (
    place    {place},
    id       {key} UNIQUE NOT NULL,
    pipeline {key} NOT NULL,
    stream   {key} NOT NULL,
    kind     {key} NOT NULL,
    letter   {text} NOT NULL,
    resolved {number}
){table};
