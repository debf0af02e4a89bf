-- windlass's own tables, beside Anchore's. Everything in Anchore's words stays in Anchore's
-- tables; what stands here is the plan, how far each object has come, and who was at work.

CREATE TABLE windlass_tasks (
    task_id                 integer PRIMARY KEY,        -- tasks.id, what people type
    uuid                    text NOT NULL UNIQUE,       -- what the checkpoint carries
    kind                    text NOT NULL,              -- forward, reverse, delete-source
    parent_uuid             text,
    state                   text NOT NULL,              -- running, interrupted, complete, failed
    source_driver           text NOT NULL,
    source_place            text NOT NULL,              -- redacted
    source_fingerprint      text NOT NULL,
    source_config           text NOT NULL,              -- path of the configuration file
    source_section          text NOT NULL,
    destination_driver      text NOT NULL,
    destination_place       text NOT NULL,
    destination_fingerprint text NOT NULL,
    destination_config      text NOT NULL,
    destination_section     text NOT NULL,
    destination_was_empty   boolean NOT NULL,
    policy                  text NOT NULL,              -- JSON
    planned                 bigint NOT NULL,
    planned_bytes           bigint NOT NULL,
    moved                   bigint NOT NULL DEFAULT 0,  -- rows swapped, counted where they are
    created_at              timestamptz NOT NULL DEFAULT now(),
    updated_at              timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE windlass_executors (
    task_id    integer NOT NULL REFERENCES windlass_tasks,
    executor   text NOT NULL,                           -- the checkpoint's UUID
    epoch      integer NOT NULL,                        -- 1 for the task's first checkpoint
    host       text NOT NULL,
    pid        bigint NOT NULL,
    version    text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    heartbeat  timestamptz NOT NULL DEFAULT now(),
    ended_at   timestamptz,                             -- NULL: at work, or it died
    seq        bigint NOT NULL DEFAULT 0,               -- the journal's last mirrored entry
    head       text NOT NULL,                           -- its hash
    PRIMARY KEY (task_id, executor)
);

-- One row per object. The fill factor leaves room for the updates that each row gets, so that
-- they stay on the page and touch no index.
CREATE TABLE windlass_objects (
    task_id           integer NOT NULL,
    idx               bigint NOT NULL,
    user_id           text NOT NULL,
    bucket            text NOT NULL,
    archive_id        text NOT NULL,
    document_name     text NOT NULL,
    source_url        text NOT NULL,
    source_digest     text,
    source_size       bigint,
    source_compressed boolean,
    created_at        bigint,
    last_updated      bigint,
    dest_url          text NOT NULL,
    shared            boolean NOT NULL DEFAULT false,   -- another row points at source_url
    refused           text,                             -- why it can't be moved, known at plan time
    phase             text NOT NULL DEFAULT 'pending',
    outcome           text,                             -- skipped, source-kept, failed
    dest_digest       text,
    dest_size         bigint,
    dest_compressed   boolean,
    dest_last_updated bigint,                           -- what the commit wrote
    content_sha256    text,
    content_size      bigint,
    copied_at         timestamptz,
    verified_at       timestamptz,
    committed_at      timestamptz,
    source_deleted_at timestamptz,
    journaled         boolean NOT NULL DEFAULT true,    -- false: committed, the entry not seen yet
    attempts          integer NOT NULL DEFAULT 0,
    failure_class     text,
    last_error        text,
    epoch             integer NOT NULL DEFAULT 0,       -- with seq: the last entry applied here
    seq               bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (task_id, idx)
) WITH (fillfactor = 60);

CREATE TABLE windlass_shards (
    task_id     integer NOT NULL REFERENCES windlass_tasks,
    shard       bigint NOT NULL,
    first_idx   bigint NOT NULL,
    last_idx    bigint NOT NULL,
    owner       text,                                   -- an executor
    lease_until timestamptz,
    done        boolean NOT NULL DEFAULT false,
    PRIMARY KEY (task_id, shard)
);
