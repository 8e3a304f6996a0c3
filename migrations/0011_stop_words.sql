-- If a program deletes the row of a word that was stopped as a user id and as a public name, the second row goes with it.
CREATE TRIGGER stops_word_lifted AFTER DELETE ON stops
WHEN OLD.lifted_at IS NULL AND OLD.scope = 'person' AND OLD.key NOT GLOB '*[^A-Za-z0-9-]*'
BEGIN
  DELETE FROM stops
   WHERE scope = 'person' AND key = 'in/' || lower(OLD.key) AND account_id = OLD.account_id AND reason = OLD.reason
     AND at = OLD.at AND actor = OLD.actor;
END;

-- Several ids in one key, or an id in the form of JSON, as the column users_ids of messages has it, would stop no person.
CREATE TRIGGER stops_single_key BEFORE INSERT ON stops WHEN NEW.actor = 'sql'
BEGIN
  SELECT RAISE(ABORT, 'outboxd: key is not one id; write the id alone, one row for each: users_ids ->> 0 of a message that has an array')
   WHERE NEW.scope IN ('person', 'chat', 'account')
     AND (instr(NEW.key, '"') > 0 OR instr(NEW.key, '''') > 0 OR instr(NEW.key, ',') > 0 OR instr(NEW.key, ';') > 0
       OR instr(NEW.key, char(0)) > 0);
  SELECT RAISE(ABORT, 'outboxd: key is a formula, a number in the form of a table or the name of a column; write the user id, such as ACoA...')
   WHERE NEW.scope = 'person'
     AND (NEW.key GLOB '=*' OR NEW.key GLOB '[0-9]*.[0-9]*E+[0-9]*' OR (NEW.key GLOB '[0-9]*.0' AND NEW.key NOT GLOB '*[^0-9.]*')
       OR lower(NEW.key) IN ('user_id', 'users_ids', 'provider_id', 'acoa'));
  SELECT RAISE(ABORT, 'outboxd: account_id is not one account; write one row for each, or '''' for all')
   WHERE instr(NEW.account_id, ',') > 0 OR instr(NEW.account_id, ';') > 0 OR instr(NEW.account_id, '"') > 0 OR NEW.account_id GLOB '[[]*';
END;

-- Words that were stopped before migration 10, and addresses of profiles before migration 4, hold their people as well.
INSERT INTO stops (scope, key, account_id, reason, until, has_length, actor, note, at)
SELECT 'person', w.key, w.account_id, w.reason, w.until, w.has_length, w.actor, w.note, w.at
  FROM (SELECT min(s.id) AS id, 'in/' || lower(s.key) AS key, s.account_id, s.reason, s.until, s.has_length, s.actor, s.note, s.at
          FROM stops s
         WHERE s.scope = 'person' AND s.key NOT GLOB '*[^A-Za-z0-9-]*' AND s.key GLOB '*[A-Za-z]*[A-Za-z]*[A-Za-z]*'
           AND substr(lower(s.key), 1, 4) NOT IN ('acoa', 'acwa', 'aema')
           AND (s.until IS NULL OR s.until > strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
           AND strftime('%Y-%m-%dT%H:%M:%fZ', s.at) = s.at AND s.account_id = trim(s.account_id)
           AND NOT EXISTS (SELECT 1 FROM people p WHERE p.user_id = s.key)
         GROUP BY lower(s.key), s.account_id, s.reason) AS w
 WHERE NOT EXISTS (SELECT 1 FROM stops o WHERE o.scope = 'person' AND o.key = w.key AND o.account_id = w.account_id AND o.reason = w.reason);

INSERT INTO stops (scope, key, account_id, reason, until, has_length, actor, note, at)
SELECT 'person', f.key, f.account_id, f.reason, f.until, f.has_length, f.actor, f.note, f.at
  FROM (SELECT min(a.id) AS id, a.key, a.account_id, a.reason, a.until, a.has_length, a.actor, a.note, a.at
          FROM (SELECT s.id, 'in/' || rtrim(CASE WHEN instr(n.rest, '?') > 0 THEN substr(n.rest, 1, instr(n.rest, '?') - 1) ELSE n.rest END, '/') AS key,
                       s.account_id, s.reason, s.until, s.has_length, s.actor, s.note, s.at
                  FROM stops s, (SELECT id, lower(substr(key, instr(lower(key), 'linkedin.com/in/') + 16)) AS rest FROM stops) AS n
                 WHERE n.id = s.id AND s.scope = 'person' AND instr(lower(s.key), 'linkedin.com/in/') > 0
                   AND (s.until IS NULL OR s.until > strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
                   AND strftime('%Y-%m-%dT%H:%M:%fZ', s.at) = s.at AND s.account_id = trim(s.account_id)) AS a
         GROUP BY a.key, a.account_id, a.reason) AS f
 WHERE f.key <> 'in/' AND substr(f.key, 4) NOT GLOB '*[^a-z0-9-]*'
   AND NOT EXISTS (SELECT 1 FROM stops o WHERE o.scope = 'person' AND o.key = f.key AND o.account_id = f.account_id AND o.reason = f.reason);
