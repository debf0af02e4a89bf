-- Why an object failed, in one word: what a person can do about it. And what is known of failures
-- that the operator has accepted: the cause stays, the outcome is `accepted`.

ALTER TABLE windlass_objects ADD COLUMN cause text;
