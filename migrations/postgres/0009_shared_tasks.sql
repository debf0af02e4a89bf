-- The timeline belongs to each task that workers share: another one that becomes active behind a failover
-- says nothing of what this one has lost.
ALTER TABLE windlass_tasks ADD COLUMN timeline text;
UPDATE windlass_tasks SET timeline = (SELECT a.timeline FROM windlass_active a)
 WHERE task_id = (SELECT a.task_id FROM windlass_active a);
ALTER TABLE windlass_active DROP COLUMN timeline;

-- How often a store has asked this executor for fewer requests: the others then send fewer, too.
ALTER TABLE windlass_executors ADD COLUMN throttled bigint NOT NULL DEFAULT 0;
