-- The checks of `stops_insert` on white space and addresses concern every program, whatever actor it gives. The daemon's own
-- `operator` passes them, because its keys are normalised; what was heard (`reply`) has the ids of the provider.
CREATE TRIGGER stops_writer BEFORE INSERT ON stops
WHEN NEW.actor NOT IN ('sql', 'reply') AND substr(NEW.key, 1, 7) <> 'sha256:'
BEGIN
  SELECT RAISE(ABORT, 'outboxd: key or account_id has white space around it; remove it')
   WHERE NEW.key <> trim(NEW.key, char(9, 10, 11, 12, 13, 32, 133, 160, 5760, 8192, 8193, 8194, 8195, 8196, 8197, 8198, 8199, 8200, 8201, 8202, 8232, 8233, 8239, 8287, 12288))
      OR NEW.account_id <> trim(NEW.account_id, char(9, 10, 11, 12, 13, 32, 133, 160, 5760, 8192, 8193, 8194, 8195, 8196, 8197, 8198, 8199, 8200, 8201, 8202, 8232, 8233, 8239, 8287, 12288));
  SELECT RAISE(ABORT, 'outboxd: key is an address or a URN; write the user id, such as ACoA..., or in/ and the public name in lower case, such as in/jane-doe')
   WHERE NEW.scope = 'person'
     AND (instr(NEW.key, '://') > 0 OR instr(lower(NEW.key), 'linkedin.com/') > 0 OR lower(NEW.key) GLOB 'urn:*');
  SELECT RAISE(ABORT, 'outboxd: key is not the public name of a profile; write in/ and the name alone in lower case, such as in/jane-doe')
   WHERE NEW.scope = 'person' AND lower(NEW.key) GLOB 'in/*'
     AND (NEW.key <> lower(NEW.key) OR NEW.key = 'in/' OR instr(substr(NEW.key, 4), '/') > 0);
END;
