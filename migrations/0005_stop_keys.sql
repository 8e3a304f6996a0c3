-- A stop whose key no message can have protects no one. Checked is what other programs write: the actor is `sql` unless they
-- give another; the daemon's own `operator` passes, because its keys were checked before.
CREATE TRIGGER stops_key BEFORE INSERT ON stops
WHEN (NEW.actor = 'sql' OR NEW.actor = 'operator') AND substr(NEW.key, 1, 7) <> 'sha256:'
BEGIN
  SELECT RAISE(ABORT, 'outboxd: key means a missing value; give the user id, the chat id or the account')
   WHERE NEW.scope IN ('person', 'chat', 'account') AND (lower(NEW.key) IN ('null', 'undefined', 'none', 'nan', '-nan', 'nat', 'nil', 'n/a', '#n/a', 'na', '<na>', '\n', '<null>',
                            '(null)', '(none)', '(empty)', '(blank)', 'true', 'false', '-', '--', char(8211), char(8212), '?')
      OR lower(NEW.key) GLOB '[[]object *' OR NEW.key GLOB '#*[!?]');
  SELECT RAISE(ABORT, 'outboxd: key is a placeholder that was not filled in; give the user id, the chat id or the account')
   WHERE NEW.scope IN ('person', 'chat', 'account') AND (instr(NEW.key, '{{') > 0 OR instr(NEW.key, '}}') > 0 OR instr(NEW.key, '${') > 0 OR instr(NEW.key, '#{') > 0
      OR instr(NEW.key, '{%') > 0 OR instr(NEW.key, '<%') > 0 OR instr(NEW.key, '<<') > 0 OR instr(NEW.key, '%%') > 0
      OR (instr(NEW.key, '"') = 0 AND instr(NEW.key, ',') = 0
          AND (NEW.key GLOB '{*}' OR NEW.key GLOB '[[]*]' OR NEW.key GLOB '<*>' OR NEW.key GLOB '%*%')));
  -- Control characters, and those of domain/ids.rs that are not seen.
  SELECT RAISE(ABORT, 'outboxd: key or account_id holds a control or an invisible character; remove it')
   WHERE (NEW.key || NEW.account_id) GLOB '*[' || char(1) || '-' || char(31) || char(127) || '-' || char(159) || char(173, 1564, 4447, 4448, 6158)
           || char(8203) || '-' || char(8207) || char(8234) || '-' || char(8238) || char(8288) || '-' || char(8297) || char(12644, 65279, 65440) || ']*';
  SELECT RAISE(ABORT, 'outboxd: key is an id that was shortened; give the whole id')
   WHERE NEW.scope IN ('person', 'chat', 'account') AND (instr(NEW.key, char(8230)) > 0 OR NEW.key GLOB '*...');
  SELECT RAISE(ABORT, 'outboxd: key holds white space, which no id does; give one id')
   WHERE NEW.scope IN ('person', 'chat', 'account') AND NEW.key GLOB '*[' || char(32, 160, 8239) || ']*';
  SELECT RAISE(ABORT, 'outboxd: key does not begin with acc_; name the Unipile account')
   WHERE NEW.scope = 'account' AND NEW.key NOT GLOB 'acc_?*';
  SELECT RAISE(ABORT, 'outboxd: account_id does not begin with acc_; name the Unipile account, or leave it out for every account')
   WHERE NEW.account_id <> '' AND NEW.account_id NOT GLOB 'acc_?*';
END;

-- What a stop forbids is not changed. Its key becomes a user id when that is known for its public name, and a hash.
CREATE TRIGGER stops_same BEFORE UPDATE OF scope, key, account_id, reason ON stops
WHEN (NEW.scope, NEW.account_id, NEW.reason) IS NOT (OLD.scope, OLD.account_id, OLD.reason)
  OR (NEW.key IS NOT OLD.key AND substr(NEW.key, 1, 7) <> 'sha256:'
      AND NOT (OLD.scope = 'person' AND substr(OLD.key, 1, 3) = 'in/'
               AND EXISTS (SELECT 1 FROM people p WHERE p.user_id = NEW.key AND p.public_identifier = substr(OLD.key, 4))))
BEGIN
  SELECT RAISE(ABORT, 'outboxd: what a stop forbids is not changed; INSERT another stop, then DELETE this one');
END;

-- REPLACE would delete a command with its answer. The conflict clause of the INSERT applies to the first statement too, so
-- the row becomes (1, 1) under OR REPLACE only.
CREATE TRIGGER message_commands_replace BEFORE INSERT ON message_commands
WHEN EXISTS (SELECT 1 FROM message_commands c WHERE c.id = NEW.id)
BEGIN
  INSERT OR IGNORE INTO replaced (id, yes) VALUES (1, 1);
  SELECT RAISE(ABORT, 'outboxd: INSERT OR REPLACE would delete a command; leave id out')
    FROM replaced WHERE yes = 1;
END;

-- What was heard in a chat of an unknown person holds for the person as soon as the chat is known to be theirs.
CREATE TRIGGER conversations_stopped AFTER INSERT ON conversations
WHEN EXISTS (SELECT 1 FROM stops s WHERE s.scope = 'chat' AND s.key = NEW.chat_id AND s.actor = 'reply')
BEGIN
  INSERT INTO stops (scope, key, account_id, reason, until, has_length, actor, note, at)
  SELECT 'person', NEW.user_id, s.account_id, s.reason, s.until, s.has_length, s.actor, s.note, NEW.at FROM stops s
   WHERE s.scope = 'chat' AND s.key = NEW.chat_id AND s.actor = 'reply' AND (s.account_id = '' OR s.account_id = NEW.account_id)
     AND (s.until IS NULL OR s.until > NEW.at)
     AND NOT EXISTS (SELECT 1 FROM stops o WHERE o.scope = 'person' AND o.key = NEW.user_id AND o.account_id = s.account_id
                        AND o.reason = s.reason);
END;
