-- The text of what was heard, only while `inbound.keep_bodies` is set.
ALTER TABLE inbound_messages ADD COLUMN text TEXT;

CREATE INDEX inbound_messages_text ON inbound_messages (heard_at) WHERE text IS NOT NULL;
