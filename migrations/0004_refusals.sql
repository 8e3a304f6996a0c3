-- A time that cannot be read is NULL to `strftime`, and a CHECK accepts NULL: such a row of `stops` was accepted and could
-- not be read again. It was meant to stop something, so it holds until a person lifts it.
UPDATE stops SET until = NULL
 WHERE until IS NOT NULL AND strftime('%Y-%m-%dT%H:%M:%fZ', until) IS NOT until;
UPDATE stops SET at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
 WHERE strftime('%Y-%m-%dT%H:%M:%fZ', at) IS NOT at;

-- The interface for other programs: refuses rows of `stops` that could not be read or would stop nothing.
CREATE TRIGGER stops_insert BEFORE INSERT ON stops
BEGIN
  SELECT RAISE(ABORT, 'outboxd: until is not a time; write UTC with milliseconds, such as strftime(''%Y-%m-%dT%H:%M:%fZ'', ''now'', ''+1 day''), or type: outboxd pause --until ''tomorrow 09:00''')
   WHERE NEW.until IS NOT NULL AND strftime('%Y-%m-%dT%H:%M:%fZ', NEW.until) IS NOT NEW.until AND NEW.scope IN ('all', 'account');
  SELECT RAISE(ABORT, 'outboxd: until is not a time; write UTC with milliseconds, such as strftime(''%Y-%m-%dT%H:%M:%fZ'', ''now'', ''+1 day''), or type: outboxd stop --until ''tomorrow 09:00''')
   WHERE NEW.until IS NOT NULL AND strftime('%Y-%m-%dT%H:%M:%fZ', NEW.until) IS NOT NEW.until;
  SELECT RAISE(ABORT, 'outboxd: at is not a time; leave it out, it is now')
   WHERE strftime('%Y-%m-%dT%H:%M:%fZ', NEW.at) IS NOT NEW.at;
  SELECT RAISE(ABORT, 'outboxd: key or account_id has white space around it; remove it')
   WHERE NEW.actor = 'sql' AND (NEW.key <> trim(NEW.key, char(9, 10, 11, 12, 13, 32, 133, 160, 5760, 8192, 8193, 8194, 8195, 8196, 8197, 8198, 8199, 8200, 8201, 8202, 8232, 8233, 8239, 8287, 12288)) OR NEW.account_id <> trim(NEW.account_id, char(9, 10, 11, 12, 13, 32, 133, 160, 5760, 8192, 8193, 8194, 8195, 8196, 8197, 8198, 8199, 8200, 8201, 8202, 8232, 8233, 8239, 8287, 12288)));
  SELECT RAISE(ABORT, 'outboxd: key is an address or a URN; write the user id, such as ACoA..., or in/ and the public name in lower case, such as in/jane-doe')
   WHERE NEW.actor = 'sql' AND NEW.scope = 'person'
     AND (instr(NEW.key, '://') > 0 OR instr(lower(NEW.key), 'linkedin.com/') > 0 OR lower(NEW.key) GLOB 'urn:*');
  SELECT RAISE(ABORT, 'outboxd: key is not the public name of a profile; write in/ and the name alone in lower case, such as in/jane-doe')
   WHERE NEW.actor = 'sql' AND NEW.scope = 'person' AND lower(NEW.key) GLOB 'in/*'
     AND (NEW.key <> lower(NEW.key) OR NEW.key = 'in/' OR instr(substr(NEW.key, 4), '/') > 0
          OR NEW.key GLOB '*[%][0-9A-Fa-f][0-9A-Fa-f]*');
  -- Lower-case letters, digits and hyphens, with at least two words: LinkedIn's public names.
  SELECT RAISE(ABORT, 'outboxd: key looks like the public name of a profile; write in/ before it, such as in/jane-doe')
   WHERE NEW.actor = 'sql' AND NEW.scope = 'person' AND NEW.key NOT GLOB '*[^a-z0-9-]*'
     AND NEW.key NOT GLOB '-*' AND NEW.key NOT GLOB '*-' AND NEW.key NOT GLOB '*--*'
     AND 1 < (SELECT count(*) FROM json_each(CASE WHEN NEW.key NOT GLOB '*[^a-z0-9-]*'
                THEN '["' || replace(NEW.key, '-', '","') || '"]' ELSE '[]' END) word
               WHERE length(word.value) > 1 AND word.value NOT GLOB '*[^a-z]*');
END;

CREATE TRIGGER stops_times BEFORE UPDATE OF until, at ON stops
BEGIN
  SELECT RAISE(ABORT, 'outboxd: until is not a time; write UTC with milliseconds, such as strftime(''%Y-%m-%dT%H:%M:%fZ'', ''now'', ''+1 day''), or type: outboxd pause --until ''tomorrow 09:00''')
   WHERE NEW.until IS NOT NULL AND strftime('%Y-%m-%dT%H:%M:%fZ', NEW.until) IS NOT NEW.until AND NEW.scope IN ('all', 'account');
  SELECT RAISE(ABORT, 'outboxd: until is not a time; write UTC with milliseconds, such as strftime(''%Y-%m-%dT%H:%M:%fZ'', ''now'', ''+1 day''), or type: outboxd stop --until ''tomorrow 09:00''')
   WHERE NEW.until IS NOT NULL AND strftime('%Y-%m-%dT%H:%M:%fZ', NEW.until) IS NOT NEW.until;
  SELECT RAISE(ABORT, 'outboxd: at is not a time; leave it as it is')
   WHERE strftime('%Y-%m-%dT%H:%M:%fZ', NEW.at) IS NOT NEW.at;
END;

-- Labels with white space around them would be campaigns of their own.
CREATE TRIGGER messages_campaign BEFORE INSERT ON messages WHEN NEW.campaign IS NOT NULL
BEGIN
  SELECT RAISE(ABORT, 'outboxd: campaign has white space around it; remove it')
   WHERE NEW.campaign <> trim(NEW.campaign, char(9, 10, 11, 12, 13, 32, 133, 160, 5760, 8192, 8193, 8194, 8195, 8196, 8197, 8198, 8199, 8200, 8201, 8202, 8232, 8233, 8239, 8287, 12288))
     AND trim(NEW.campaign, char(9, 10, 11, 12, 13, 32, 133, 160, 5760, 8192, 8193, 8194, 8195, 8196, 8197, 8198, 8199, 8200, 8201, 8202, 8232, 8233, 8239, 8287, 12288)) <> '';
END;

CREATE TRIGGER message_commands_campaign BEFORE INSERT ON message_commands WHEN NEW.campaign IS NOT NULL
BEGIN
  SELECT RAISE(ABORT, 'outboxd: campaign has white space around it; remove it')
   WHERE NEW.campaign <> trim(NEW.campaign, char(9, 10, 11, 12, 13, 32, 133, 160, 5760, 8192, 8193, 8194, 8195, 8196, 8197, 8198, 8199, 8200, 8201, 8202, 8232, 8233, 8239, 8287, 12288))
     AND trim(NEW.campaign, char(9, 10, 11, 12, 13, 32, 133, 160, 5760, 8192, 8193, 8194, 8195, 8196, 8197, 8198, 8199, 8200, 8201, 8202, 8232, 8233, 8239, 8287, 12288)) <> '';
END;
