-- An index on both columns of a thread was preferred to the partial ones, so that an arriving message cost more the longer
-- its thread was.
DROP INDEX messages_by_thread;
CREATE INDEX messages_by_thread ON messages (thread) WHERE thread IS NOT NULL;

-- The queued messages of a thread, first those that no other message blocks.
DROP INDEX messages_thread;
CREATE INDEX messages_thread ON messages (account_id, thread, blocked_by) WHERE state = 'queued';

-- Those of them that are retried. The state is a column so that this index is preferred to the one above.
DROP INDEX messages_retry_thread;
CREATE INDEX messages_retry_thread ON messages (account_id, thread, state) WHERE state = 'queued' AND retry_at IS NOT NULL;
