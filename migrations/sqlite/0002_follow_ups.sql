-- Tasks that follow another: `reverse` and `delete-source`.

ALTER TABLE windlass_objects ADD COLUMN restores boolean NOT NULL DEFAULT false;  -- the row gets back what it was
ALTER TABLE windlass_objects ADD COLUMN row_digest text;        -- with dest_last_updated: the row as
ALTER TABLE windlass_objects ADD COLUMN row_size bigint;        -- the commit wrote it; before that,
ALTER TABLE windlass_objects ADD COLUMN row_compressed boolean; -- what it is to get back

UPDATE windlass_objects
   SET row_digest = dest_digest, row_size = dest_size, row_compressed = dest_compressed
 WHERE phase IN ('committed', 'source-deleted');

CREATE INDEX windlass_tasks_parent ON windlass_tasks (parent_uuid) WHERE parent_uuid IS NOT NULL;
