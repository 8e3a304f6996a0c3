-- A word that was stopped as a user id and as a public name is no longer stopped as either when a program deletes its row.
CREATE TRIGGER stops_word_lifted AFTER DELETE ON stops
WHEN OLD.lifted_at IS NULL AND OLD.scope = 'person' AND OLD.key NOT GLOB '*[^A-Za-z0-9-]*'
BEGIN
  DELETE FROM stops
   WHERE scope = 'person' AND key = 'in/' || lower(OLD.key) AND account_id = OLD.account_id AND reason = OLD.reason
     AND at = OLD.at AND actor = OLD.actor;
END;
