-- Triggers that change something for few messages ask for it in their WHEN: a statement in a body opens the table and its
-- indexes for writing even if it then changes no row, and SQLite builds a table for a list after IN.

DROP TRIGGER messages_unblocks;
CREATE TRIGGER messages_unblocks AFTER UPDATE OF state, retry_at ON messages
WHEN NEW.state <> 'sending' AND NEW.state <> 'uncertain' AND NEW.state <> 'review'
  AND (NEW.state <> 'queued' OR NEW.retry_at IS NULL)
  AND EXISTS (SELECT 1 FROM messages b WHERE b.blocked_by = NEW.seq)
BEGIN
  UPDATE messages SET blocked_by = (SELECT b.blocked_by FROM blockers b WHERE b.seq = messages.seq)
   WHERE blocked_by = NEW.seq AND state = 'queued';
END;

DROP TRIGGER messages_joins;
CREATE TRIGGER messages_joins AFTER UPDATE OF state ON messages
WHEN NEW.state = 'queued' AND OLD.state <> 'queued'
  AND (NEW.step > 1
    OR EXISTS (SELECT 1 FROM messages u WHERE u.account_id = NEW.account_id AND u.thread = NEW.thread
                  AND u.state IN ('sending', 'uncertain', 'review') AND u.state <> 'sending')
    OR EXISTS (SELECT 1 FROM messages r WHERE r.account_id = NEW.account_id AND r.thread = NEW.thread
                  AND r.state = 'queued' AND r.retry_at IS NOT NULL))
BEGIN
  UPDATE messages SET blocked_by = (SELECT b.blocked_by FROM blockers b WHERE b.seq = NEW.seq) WHERE seq = NEW.seq;
END;

-- The same for a message that is inserted as queued.
DROP TRIGGER messages_queued;
CREATE TRIGGER messages_queued AFTER INSERT ON messages
WHEN NEW.state = 'queued'
  AND (NEW.step > 1
    OR EXISTS (SELECT 1 FROM messages u WHERE u.account_id = NEW.account_id AND u.thread = NEW.thread
                  AND u.state IN ('sending', 'uncertain', 'review') AND u.state <> 'sending')
    OR EXISTS (SELECT 1 FROM messages r WHERE r.account_id = NEW.account_id AND r.thread = NEW.thread
                  AND r.state = 'queued' AND r.retry_at IS NOT NULL))
BEGIN
  UPDATE messages SET blocked_by = (SELECT b.blocked_by FROM blockers b WHERE b.seq = NEW.seq) WHERE seq = NEW.seq;
END;

-- Most messages come into a lane in which an earlier one is ready.
DROP TRIGGER messages_ready;
CREATE TRIGGER messages_ready AFTER UPDATE OF state, retry_at, blocked_by ON messages
WHEN NEW.state = 'queued' AND NEW.retry_at IS NULL AND NEW.blocked_by IS NULL
  AND (OLD.state <> 'queued' OR OLD.retry_at IS NOT NULL OR OLD.blocked_by IS NOT NULL)
  AND NOT EXISTS (SELECT 1 FROM lanes l WHERE l.account_id = NEW.account_id AND l.campaign = substr(NEW.lane, 11)
                     AND l.class = substr(NEW.lane, 1, 9) AND (l.due_at, l.seq) <= (NEW.due_at, NEW.seq))
BEGIN
  INSERT INTO lanes (account_id, campaign, class, finish, due_at, seq)
  SELECT m.account_id, substr(m.lane, 11), substr(m.lane, 1, 9),
         coalesce((SELECT t.finish FROM fair_shares t WHERE t.account_id = m.account_id AND t.campaign = substr(m.lane, 11)), 0),
         m.due_at, m.seq
    FROM messages m WHERE m.seq = NEW.seq AND m.state = 'queued' AND m.retry_at IS NULL AND m.blocked_by IS NULL
  ON CONFLICT (account_id, campaign, class) DO UPDATE SET due_at = excluded.due_at, seq = excluded.seq
   WHERE (excluded.due_at, excluded.seq) < (lanes.due_at, lanes.seq);
END;
CREATE TRIGGER messages_ready_inserted AFTER INSERT ON messages
WHEN NEW.state = 'queued' AND NEW.retry_at IS NULL
  AND NOT EXISTS (SELECT 1 FROM lanes l WHERE l.account_id = NEW.account_id AND l.campaign = substr(NEW.lane, 11)
                     AND l.class = substr(NEW.lane, 1, 9) AND (l.due_at, l.seq) <= (NEW.due_at, NEW.seq))
BEGIN
  INSERT INTO lanes (account_id, campaign, class, finish, due_at, seq)
  SELECT m.account_id, substr(m.lane, 11), substr(m.lane, 1, 9),
         coalesce((SELECT t.finish FROM fair_shares t WHERE t.account_id = m.account_id AND t.campaign = substr(m.lane, 11)), 0),
         m.due_at, m.seq
    FROM messages m WHERE m.seq = NEW.seq AND m.state = 'queued' AND m.retry_at IS NULL AND m.blocked_by IS NULL
  ON CONFLICT (account_id, campaign, class) DO UPDATE SET due_at = excluded.due_at, seq = excluded.seq
   WHERE (excluded.due_at, excluded.seq) < (lanes.due_at, lanes.seq);
END;

-- A row value that is set takes no table, as UPDATE FROM does.
DROP TRIGGER messages_unready;
CREATE TRIGGER messages_unready AFTER UPDATE OF state, retry_at, blocked_by ON messages
WHEN OLD.state = 'queued' AND OLD.retry_at IS NULL AND OLD.blocked_by IS NULL
  AND (NEW.state <> 'queued' OR NEW.retry_at IS NOT NULL OR NEW.blocked_by IS NOT NULL)
  AND EXISTS (SELECT 1 FROM lanes l WHERE l.account_id = OLD.account_id AND l.campaign = substr(OLD.lane, 11)
                 AND l.class = substr(OLD.lane, 1, 9) AND l.seq = OLD.seq)
BEGIN
  UPDATE lanes SET (due_at, seq) =
         (SELECT m.due_at, m.seq FROM messages m WHERE m.account_id = OLD.account_id AND m.lane = OLD.lane
             AND m.state = 'queued' AND m.retry_at IS NULL AND m.blocked_by IS NULL
           ORDER BY m.due_at, m.seq LIMIT 1)
   WHERE account_id = OLD.account_id AND campaign = substr(OLD.lane, 11) AND class = substr(OLD.lane, 1, 9)
     AND seq = OLD.seq
     AND EXISTS (SELECT 1 FROM messages m WHERE m.account_id = OLD.account_id AND m.lane = OLD.lane
                    AND m.state = 'queued' AND m.retry_at IS NULL AND m.blocked_by IS NULL);
  DELETE FROM lanes
   WHERE account_id = OLD.account_id AND campaign = substr(OLD.lane, 11) AND class = substr(OLD.lane, 1, 9)
     AND seq = OLD.seq
     AND NOT EXISTS (SELECT 1 FROM messages m WHERE m.seq = OLD.seq AND m.state = 'queued' AND m.retry_at IS NULL
                       AND m.blocked_by IS NULL);
END;

-- Few messages are for a chat that is known and not polled.
DROP TRIGGER messages_queued_for_chat;
CREATE TRIGGER messages_queued_for_chat AFTER INSERT ON messages
WHEN NEW.state = 'queued'
  AND (EXISTS (SELECT 1 FROM chat_reads r WHERE r.account_id = NEW.account_id AND r.chat_id = substr(NEW.thread, 6) AND r.waits = 0)
    OR EXISTS (SELECT 1 FROM conversations c CROSS JOIN chat_reads r ON r.account_id = c.account_id AND r.chat_id = c.chat_id
                WHERE c.account_id = NEW.account_id AND c.user_id = substr(NEW.thread, 6) AND r.waits = 0))
BEGIN
  UPDATE chat_reads SET waits = 1
   WHERE account_id = NEW.account_id AND waits = 0 AND chat_id IN (SELECT substr(NEW.thread, 6) UNION ALL
     SELECT c.chat_id FROM conversations c WHERE c.account_id = NEW.account_id AND c.user_id = substr(NEW.thread, 6));
END;
DROP TRIGGER messages_admitted_for_chat;
CREATE TRIGGER messages_admitted_for_chat AFTER UPDATE OF state ON messages
WHEN NEW.state = 'queued' AND OLD.state <> 'queued'
  AND (EXISTS (SELECT 1 FROM chat_reads r WHERE r.account_id = NEW.account_id AND r.chat_id = substr(NEW.thread, 6) AND r.waits = 0)
    OR EXISTS (SELECT 1 FROM conversations c CROSS JOIN chat_reads r ON r.account_id = c.account_id AND r.chat_id = c.chat_id
                WHERE c.account_id = NEW.account_id AND c.user_id = substr(NEW.thread, 6) AND r.waits = 0))
BEGIN
  UPDATE chat_reads SET waits = 1
   WHERE account_id = NEW.account_id AND waits = 0 AND chat_id IN (SELECT substr(NEW.thread, 6) UNION ALL
     SELECT c.chat_id FROM conversations c WHERE c.account_id = NEW.account_id AND c.user_id = substr(NEW.thread, 6));
END;

-- Counting takes one statement a state: an INSERT that selects from its own table builds a table as well.
CREATE TRIGGER counts_begun AFTER INSERT ON counts WHEN NEW.n <> 0
BEGIN
  UPDATE totals SET n = n + NEW.n WHERE what = NEW.state;
  UPDATE accounts SET attention = (SELECT v.attention FROM attentions v WHERE v.id = NEW.account_id)
   WHERE id = NEW.account_id
     AND attention <> (SELECT v.attention FROM attentions v WHERE v.id = NEW.account_id);
END;
DROP TRIGGER messages_moved;
CREATE TRIGGER messages_moved AFTER UPDATE OF state ON messages WHEN NEW.state <> OLD.state
BEGIN
  INSERT INTO events (at, kind, account_id, message_id, reason, detail)
  VALUES (NEW.updated_at, 'message.' || NEW.state, NEW.account_id, NEW.id, NEW.reason, NEW.error);
  INSERT INTO counts (account_id, state, n) VALUES (NEW.account_id, NEW.state, 1)
  ON CONFLICT (account_id, state) DO UPDATE SET n = n + 1;
  UPDATE counts SET n = n - 1 WHERE account_id = NEW.account_id AND state = OLD.state;
END;
-- What the daemon inserts. The conflict clause of another program's INSERT would apply to the statements of the trigger,
-- so that one (below) has none that can conflict.
CREATE TRIGGER messages_stored AFTER INSERT ON messages WHEN NEW.state <> 'new'
BEGIN
  INSERT INTO events (at, kind, account_id, message_id, reason)
  VALUES (NEW.created_at, 'message.' || NEW.state, NEW.account_id, NEW.id, NEW.reason);
  INSERT INTO counts (account_id, state, n) VALUES (NEW.account_id, NEW.state, 1)
  ON CONFLICT (account_id, state) DO UPDATE SET n = n + 1;
END;
DROP TRIGGER messages_inserted;
CREATE TRIGGER messages_inserted AFTER INSERT ON messages WHEN NEW.state = 'new'
BEGIN
  INSERT INTO events (at, kind, account_id, message_id, reason)
  VALUES (NEW.created_at, 'message.' || NEW.state, NEW.account_id, NEW.id, NEW.reason);
  INSERT INTO counts (account_id, state, n)
  SELECT NEW.account_id, NEW.state, 0
   WHERE NOT EXISTS (SELECT 1 FROM counts c WHERE c.account_id = NEW.account_id AND c.state = NEW.state);
  UPDATE counts SET n = n + 1 WHERE account_id = NEW.account_id AND state = NEW.state;
END;
