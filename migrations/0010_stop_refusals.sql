-- What other programs INSERT into `stops` and would stop nothing is refused with the way out, before a CHECK does it without.
CREATE TRIGGER stops_of_programs BEFORE INSERT ON stops WHEN NEW.actor = 'sql'
BEGIN
  SELECT RAISE(ABORT, 'outboxd: scope is not known; write all, account, campaign, person or chat')
   WHERE NEW.scope IS NULL OR NEW.scope NOT IN ('all', 'account', 'campaign', 'person', 'chat');
  SELECT RAISE(ABORT, 'outboxd: reason does not fit the scope all; write daemon_paused')
   WHERE NEW.scope = 'all' AND NEW.reason IS NOT 'daemon_paused';
  SELECT RAISE(ABORT, 'outboxd: reason does not fit the scope account; write account_paused')
   WHERE NEW.scope = 'account' AND NEW.reason IS NOT 'account_paused';
  SELECT RAISE(ABORT, 'outboxd: reason does not fit the scope; write stopped, or suppressed, of a person, a chat or a campaign')
   WHERE NEW.scope NOT IN ('all', 'account')
     AND (NEW.reason IS NULL OR NEW.reason NOT IN ('stopped', 'suppressed', 'owner_wrote', 'out_of_office'));
  SELECT RAISE(ABORT, 'outboxd: key is not empty; leave it empty to pause all sending')
   WHERE NEW.scope = 'all' AND NEW.key <> '';
  SELECT RAISE(ABORT, 'outboxd: key is empty; give the user id, the chat id, the campaign or the account')
   WHERE NEW.scope <> 'all' AND (NEW.key IS NULL OR NEW.key = '');
  SELECT RAISE(ABORT, 'outboxd: account_id is for a person, a chat or a campaign; a pause names its account in key')
   WHERE NEW.scope IN ('all', 'account') AND NEW.account_id <> '';
  SELECT RAISE(ABORT, 'outboxd: key means a missing value; give the user id or the chat id')
   WHERE NEW.scope IN ('person', 'chat') AND lower(NEW.key) IN ('tbd', 'tba', 'unknown', 'private');
  SELECT RAISE(ABORT, 'outboxd: key is an e-mail address, a phone number or a handle; write the user id, such as ACoA..., or in/ and the public name')
   WHERE NEW.scope = 'person'
     AND (NEW.key GLOB '+[0-9]*' OR NEW.key GLOB '@*'
       OR (instr(NEW.key, '@') > 0 AND substr(NEW.key, 1, instr(NEW.key, '@') - 1) GLOB '*[^0-9:-]*'));
  SELECT RAISE(ABORT, 'outboxd: key is an address; write the chat id as Unipile returns it')
   WHERE NEW.scope = 'chat' AND (instr(NEW.key, '://') > 0 OR instr(lower(NEW.key), 'linkedin.com/') > 0);
  SELECT RAISE(ABORT, 'outboxd: until is set, and a suppression has no end; leave it out, or write the reason stopped')
   WHERE NEW.reason = 'suppressed' AND NEW.until IS NOT NULL;
  SELECT RAISE(ABORT, 'outboxd: until has passed; write a time in the future, or leave it out')
   WHERE NEW.until <= strftime('%Y-%m-%dT%H:%M:%fZ', 'now');
END;

-- A word that may be a user id or the public name of a profile, such as kim-7c2, is stopped as both, as by the other doors.
CREATE TRIGGER stops_word AFTER INSERT ON stops
WHEN NEW.actor = 'sql' AND NEW.scope = 'person' AND NEW.key NOT GLOB '*[^A-Za-z0-9-]*'
  AND NEW.key GLOB '*[A-Za-z]*[A-Za-z]*[A-Za-z]*' AND substr(lower(NEW.key), 1, 4) NOT IN ('acoa', 'acwa', 'aema')
  AND NOT EXISTS (SELECT 1 FROM people p WHERE p.user_id = NEW.key)
  AND NOT EXISTS (SELECT 1 FROM stops s WHERE s.scope = 'person' AND s.key = 'in/' || lower(NEW.key)
                     AND s.account_id = NEW.account_id AND s.reason = NEW.reason)
BEGIN
  INSERT INTO stops (scope, key, account_id, reason, until, has_length, actor, note, at)
  VALUES (NEW.scope, 'in/' || lower(NEW.key), NEW.account_id, NEW.reason, NEW.until, NEW.has_length, NEW.actor, NEW.note, NEW.at);
END;
