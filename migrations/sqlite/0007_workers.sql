-- Tasks that several executors share, each with its own shards.

ALTER TABLE windlass_tasks ADD COLUMN workers boolean NOT NULL DEFAULT false;

-- The lease of the shard in which an object's last entry was journaled: with seq, what orders the
-- entries of several executors. 0: none was told since there are leases.
ALTER TABLE windlass_objects ADD COLUMN lease integer NOT NULL DEFAULT 0;

-- Which task those may work on who share the migration lock: one row, changed only by whoever has the
-- lock alone. Who comes back may find another task's documents in its places, and asks.
CREATE TABLE windlass_active (
    one     integer PRIMARY KEY CHECK (one = 1),
    task_id integer
);
INSERT INTO windlass_active (one) VALUES (1);

-- Every takeover of a shard, with the lease that it began: whom it was taken from, and how far the mirror
-- had that executor's journal. What came behind that belongs to no history.
CREATE TABLE windlass_takeovers (
    task_id       integer NOT NULL REFERENCES windlass_tasks,
    shard         bigint NOT NULL,
    lease_epoch   integer NOT NULL,
    executor      text NOT NULL,                        -- who has taken it
    from_executor text NOT NULL,
    from_seq      bigint NOT NULL,
    from_head     text NOT NULL,
    taken_at      text NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    PRIMARY KEY (task_id, shard, lease_epoch)
);
