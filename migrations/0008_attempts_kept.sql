-- Has a row only inside the transaction in which the daemon moves its times after the wall clock was set.
CREATE TABLE clock_moves (
  id INTEGER PRIMARY KEY CHECK (id = 1)
) STRICT;

-- The record of calls: the caps and `outboxd audit` count it, and reconciliation reads it. Only the daemon changes it: it closes
-- an open attempt when its message is no longer `sending`, and later removes what Unipile answered and what identifies a person.
CREATE TRIGGER attempts_update BEFORE UPDATE ON attempts
WHEN NOT EXISTS (SELECT 1 FROM clock_moves)
 AND ((NEW.seq, NEW.number, NEW.account_id, NEW.kind, NEW.run, NEW.gap_ms, NEW.started_at, NEW.monotonic_ms, NEW.provider_at)
    IS NOT (OLD.seq, OLD.number, OLD.account_id, OLD.kind, OLD.run, OLD.gap_ms, OLD.started_at, OLD.monotonic_ms, OLD.provider_at)
  OR (NEW.fingerprint <> OLD.fingerprint AND NEW.fingerprint <> 'erased')
  OR (NEW.chat_id IS NOT OLD.chat_id AND NEW.chat_id IS NOT NULL)
  OR (OLD.ended_at IS NOT NULL
      AND ((NEW.ended_at, NEW.phase, NEW.outcome, NEW.status, NEW.type) IS NOT (OLD.ended_at, OLD.phase, OLD.outcome, OLD.status, OLD.type)
        OR (NEW.title IS NOT OLD.title AND NEW.title IS NOT NULL)
        OR (NEW.detail IS NOT OLD.detail AND NEW.detail IS NOT NULL)
        OR (NEW.req_id IS NOT OLD.req_id AND NEW.req_id IS NOT NULL)))
  OR (OLD.ended_at IS NULL AND EXISTS (SELECT 1 FROM messages m WHERE m.seq = OLD.seq AND m.state = 'sending')))
BEGIN
  SELECT RAISE(ABORT, 'outboxd: attempts are the record of calls, which the daemon alone writes; decide about a message with: outboxd review <id>, or outboxd retry <id>');
END;

CREATE TRIGGER attempts_delete BEFORE DELETE ON attempts
BEGIN
  SELECT RAISE(ABORT, 'outboxd: attempts are the record of calls and are not deleted; the caps count them; to remove what is about a person, type: outboxd erase <user>');
END;

-- REPLACE would delete an attempt.
CREATE TRIGGER attempts_replace BEFORE INSERT ON attempts
WHEN EXISTS (SELECT 1 FROM attempts a WHERE a.seq = NEW.seq AND a.number = NEW.number)
BEGIN
  SELECT RAISE(ABORT, 'outboxd: attempts are the record of calls, which the daemon alone writes; this one exists');
END;
