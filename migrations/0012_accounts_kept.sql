-- Without its row an account sends nothing, and its caps, its rest and its pause would be lost.
CREATE TRIGGER accounts_delete BEFORE DELETE ON accounts
BEGIN
  SELECT RAISE(ABORT, 'outboxd: accounts are not deleted, because their caps and rests are kept in them; to stop one, type: outboxd pause <account>');
END;

-- The accounts that rest, for the notices.
CREATE INDEX accounts_resting ON accounts (hold_until) WHERE hold_until IS NOT NULL;
