-- What the end of a pass has measured, as JSON: how long a cut-over would take is told from it.
ALTER TABLE windlass_tasks ADD COLUMN measured text;
