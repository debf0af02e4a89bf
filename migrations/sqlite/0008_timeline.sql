-- The timeline of the server on which workers share the active task. A server that has taken another
-- one's place may have lost what they had claimed, and nobody could tell.
ALTER TABLE windlass_active ADD COLUMN timeline text;
