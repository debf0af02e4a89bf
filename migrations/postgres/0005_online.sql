-- Tasks that copy while the services run, and commit in a cut-over.

ALTER TABLE windlass_tasks
    ADD COLUMN stage  text,                                    -- staging, cutover; NULL: offline
    ADD COLUMN passes integer NOT NULL DEFAULT 0;              -- passes that were planned so far

ALTER TABLE windlass_objects
    ADD COLUMN superseded boolean NOT NULL DEFAULT false,      -- a later pass has planned its key anew
    ADD COLUMN dest_tag   text;                                -- the store's version of what was proven

-- Rises with each claim by another executor: who holds a shard is told by (owner, lease_epoch).
ALTER TABLE windlass_shards ADD COLUMN lease_epoch integer NOT NULL DEFAULT 0;
