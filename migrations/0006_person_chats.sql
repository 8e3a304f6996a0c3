-- The chats of a person on every account: what was said in one of them may concern a message into another.
CREATE INDEX conversations_person ON conversations (user_id);
