-- Uploads in parts that a store has begun and that are not known to have come to their end. The
-- checkpoint knows their parts; without it they can at least be aborted.

CREATE TABLE windlass_uploads (
    task_id   integer NOT NULL REFERENCES windlass_tasks,
    idx       bigint NOT NULL,
    upload_id text NOT NULL,                            -- the store's name for it
    begun_at  text NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    PRIMARY KEY (task_id, idx, upload_id)
);
