-- The queue. `messages` is a public contract: any program may INSERT into it and read it (docs/sql.md).
--
-- What holds for every table:
--   * Times are UTC text with whole milliseconds, '2026-11-22T09:21:00.000Z': they sort as they read.
--   * Triggers and CHECKs run inside the producer's own SQLite, so they use nothing newer than SQLite 3.37 with JSON.
--   * Error texts begin with 'outboxd: ' and name the column and the way out.

-- One row per start of the daemon. A row that the daemon itself inserts into `messages` carries the newest number;
-- the insert trigger uses it to distinguish the daemon's rows from a producer's.
CREATE TABLE runs (
  id         INTEGER PRIMARY KEY,
  started_at TEXT NOT NULL,
  stopped_at TEXT,                    -- NULL: still runs, or was killed
  version    TEXT NOT NULL,
  pid        INTEGER NOT NULL,
  boot_id    TEXT,                    -- boot id of the machine, if the operating system provides it
  boot_ms    INTEGER,                 -- when its monotonic clock began, after that boot
  clock_at   TEXT,                    -- wall-clock time when the run began, or when the clock was last set
  clock_ms   INTEGER                  -- time since boot, read together with clock_at
) STRICT;

-- State that concerns every account: exactly one row.
CREATE TABLE daemon (
  id             INTEGER PRIMARY KEY CHECK (id = 1),
  resumed_at     TEXT,                -- last time that all sending was resumed
  key_refused_at TEXT,                -- Unipile refuses the key or the subscription: nothing is sent
  key_problem    TEXT,
  written_at     TEXT,                -- last attempt to test whether the queue can be written
  queue_id       TEXT,                -- shared by the copies of this queue
  restored_at    TEXT,                -- it is a copy or a restored backup: nothing is sent until it is released
  restored_why   TEXT,
  erase_salt     TEXT,                -- salt of the hashes in `erased` and of hashed suppressions, once there is one
  suppressions_hashed INTEGER NOT NULL DEFAULT 0  -- 1: suppressions are kept as hashes (`suppression.hashed`)
) STRICT;
INSERT INTO daemon (id) VALUES (1);

-- One row per Unipile account, created by its first message or because the configuration names it. Everything that
-- pace and limits need survives a restart here.
CREATE TABLE accounts (
  id           TEXT PRIMARY KEY CHECK (id GLOB 'acc_*'),
  created_at   TEXT NOT NULL,
  resumed_at   TEXT,                  -- last resume: earlier calls no longer say anything about the account
  down_cause   TEXT CHECK (down_cause IN ('disconnected', 'restricted', 'throttled')),
  down_at      TEXT,
  down_problem TEXT,
  hold_reason  TEXT,                  -- a forced rest: 'api_rate_limited', 'cooldown' or 'failures'
  hold_until   TEXT,
  last_call_at TEXT,                  -- when its last call began
  last_gap_ms  INTEGER,               -- the gap drawn for that call
  next_call_at TEXT,                  -- no call before this: the end of the last call plus its gap
  -- What the limits remember; the sends themselves are counted in `attempts`.
  first_call_at    TEXT,              -- its very first call: the warm-up's first day
  warm_up_again_at TEXT,              -- restart of the warm-up: after a restriction, or a long idle time
  throttled_at     TEXT,              -- last time that the provider throttled it
  throttles        INTEGER NOT NULL DEFAULT 0,  -- how often in a row, each within 30 days of the one before
  half_caps_until  TEXT,              -- its caps are halved until this time
  failures         INTEGER NOT NULL DEFAULT 0,  -- failed attempts in a row
  break_left       INTEGER,           -- sends until the next break; NULL: none has been drawn
  on_break         INTEGER NOT NULL DEFAULT 0,  -- 1: the gap before its next call is a break
  virtual_time       INTEGER NOT NULL DEFAULT 0,  -- virtual time at which the last campaign served began its turn
  user_id          TEXT,                        -- the owner's user id at the provider, once an own message showed it
  rules            TEXT,                        -- JSON object: policy overrides set while a daemon ran
  attention        INTEGER NOT NULL DEFAULT 2   -- 0: needs a person, 1: messages wait, 2: neither; kept by triggers
) STRICT, WITHOUT ROWID;
-- Pages of accounts, those that need an operator first.
CREATE INDEX accounts_by_attention ON accounts (attention, id);
CREATE INDEX accounts_down ON accounts (id) WHERE down_cause IS NOT NULL;

-- The finish of each campaign of an account that is ahead of `virtual_time`; '' means messages without a campaign.
CREATE TABLE fair_shares (
  account_id TEXT NOT NULL,
  campaign   TEXT NOT NULL,
  finish     INTEGER NOT NULL,
  PRIMARY KEY (account_id, campaign)
) STRICT, WITHOUT ROWID;
CREATE INDEX fair_shares_behind ON fair_shares (account_id, finish);

-- The account snapshot: what Unipile reported when the account was last read; each part with its time. No promise
-- depends on it.
CREATE TABLE account_snapshots (
  account_id      TEXT PRIMARY KEY,
  tried_at        TEXT,               -- last attempt to read all of it
  problem         TEXT,               -- why a part could not be read then
  name            TEXT,
  provider        TEXT,               -- 'linkedin', 'whatsapp', ...
  status          TEXT,               -- 'running', 'disconnected', ... (Unipile's word)
  is_locked       INTEGER,
  products        TEXT,               -- JSON object: status by product
  read_at         TEXT,               -- when the five above were read
  inboxes         TEXT,               -- JSON array of {"id", "disabled"}
  inboxes_read_at TEXT,
  credits         TEXT,               -- JSON object: InMails left by product
  credits_read_at TEXT
) STRICT, WITHOUT ROWID;
-- The lowest balance of InMail credits, for the metrics.
CREATE INDEX account_snapshots_classic ON account_snapshots (json_extract(credits, '$.classic'))
  WHERE json_extract(credits, '$.classic') IS NOT NULL;
CREATE INDEX account_snapshots_recruiter ON account_snapshots (json_extract(credits, '$.recruiter'))
  WHERE json_extract(credits, '$.recruiter') IS NOT NULL;

-- The first ready message of each lane of an account; the triggers messages_ready and messages_unready maintain it. A
-- message is ready if it is queued, is not retried at a later time, and no earlier message of its thread blocks it.
-- `finish` is that of its campaign in `fair_shares`, or 0.
CREATE TABLE lanes (
  account_id TEXT NOT NULL,
  campaign   TEXT NOT NULL,           -- '': messages without one
  class      TEXT NOT NULL,           -- urgency, priority, kind and hours: the other parts of messages.lane
  finish     INTEGER NOT NULL,
  due_at     TEXT NOT NULL,
  seq    INTEGER NOT NULL,
  PRIMARY KEY (account_id, campaign, class)
) STRICT, WITHOUT ROWID;
-- The first lane of each class.
CREATE INDEX lanes_first ON lanes (account_id, class, finish, due_at, seq);
-- The next lane to become due.
CREATE INDEX lanes_due ON lanes (account_id, due_at, seq);
-- The oldest ready message of all accounts, for the metrics.
CREATE INDEX lanes_oldest ON lanes (due_at);

-- While a row exists here, the InMails of that account and balance wait.
CREATE TABLE inmail_holds (
  account_id TEXT NOT NULL,
  credit     TEXT NOT NULL,           -- 'classic' or 'recruiter'
  until      TEXT NOT NULL,           -- when the credits are read again
  why        TEXT NOT NULL,
  PRIMARY KEY (account_id, credit)
) STRICT, WITHOUT ROWID;

CREATE TABLE messages (
  -- Order of arrival.
  seq      INTEGER PRIMARY KEY,
  -- A UUID, version 7 unless the producer chose it.
  id           TEXT NOT NULL UNIQUE DEFAULT (lower(
                 substr(printf('%012x', CAST(strftime('%s', 'now') AS INTEGER) * 1000
                                        + CAST(substr(strftime('%f', 'now'), 4) AS INTEGER)), 1, 8)
                 || '-' || substr(printf('%012x', CAST(strftime('%s', 'now') AS INTEGER) * 1000
                                        + CAST(substr(strftime('%f', 'now'), 4) AS INTEGER)), 9, 4)
                 || '-7' || substr(hex(randomblob(2)), 2)
                 || '-' || substr('89ab', 1 + (random() & 3), 1) || substr(hex(randomblob(2)), 2)
                 || '-' || hex(randomblob(6))))
               CHECK (length(id) = 36 AND length(replace(id, '-', '')) = 32 AND replace(id, '-', '') NOT GLOB '*[^0-9a-f]*'
                      AND id GLOB '????????-????-????-????-????????????'),

  -- Columns that a producer writes.
  account_id   TEXT NOT NULL CHECK (account_id GLOB 'acc_*'),
  chat_id      TEXT,                  -- an existing chat; the daemon fills it in when it starts a chat
  users_ids    TEXT,                  -- the users to start a chat with: a user id, or a JSON array
  inbox_id     TEXT,                  -- NULL: the account's default inbox; '': none
  "group"      INTEGER CHECK ("group" IN (0, 1)),  -- 1: several users_ids form ONE group chat
  name         TEXT,                  -- name of the group; implies "group" = 1
  specifics    TEXT,                  -- JSON: InMail, organization, applicant, Sales Navigator, Recruiter
  options      TEXT,                  -- the same, in the form of Unipile's guide; never both
  quote_id     TEXT,                  -- the message in the chat that it replies to
  attachments  TEXT,                  -- JSON array of files; without their bytes once accepted
  forward      TEXT,                  -- JSON {"chat_id", "message_id"}: forward that message into chat_id
  text         TEXT NOT NULL DEFAULT '',
  typing       INTEGER CHECK (typing IN (0, 1)),   -- NULL: the account's policy
  not_before   TEXT CHECK (strftime('%Y-%m-%dT%H:%M:%fZ', not_before) = not_before),
  expires_at   TEXT CHECK (strftime('%Y-%m-%dT%H:%M:%fZ', expires_at) = expires_at),
  campaign     TEXT,
  priority     INTEGER,               -- -100 to 100, higher goes first; NULL is 0
  urgent       INTEGER,               -- 1: goes before all messages that are not urgent, within caps and pace
  ignore_hours INTEGER,               -- 1: may be sent outside the account's hours; only if it is urgent
  allow_repeat INTEGER,               -- 1: may start a chat with the same person and the same text again
  allow_placeholders INTEGER,         -- 1: the text may contain what looks like a placeholder, such as {{name}}
  stop_on_reply INTEGER,              -- 1: cancelled if the person answers; NULL: only if it has a campaign
  needs        TEXT CHECK (needs = 'connection'),  -- a first message waits until the person is a connection
  step         INTEGER,               -- 1 to 20: its place in the campaign for its person
  wait         TEXT,                  -- from step 2 on: how long after the step before was sent, '3 days' or '36 hours'
  meta         TEXT,                  -- JSON object of the producer's own, up to 4 KB; carried along, never sent
  dedupe_key   TEXT,                  -- unique among the messages that did not fail: see messages_dedupe

  -- Columns that the daemon writes. An INSERT that sets one of these is refused.
  state        TEXT NOT NULL DEFAULT 'new' CHECK (state IN
                 ('new', 'queued', 'sending', 'uncertain', 'review', 'sent', 'failed', 'cancelled', 'expired', 'rejected')),
  reason       TEXT NOT NULL DEFAULT 'admission',  -- why it waits or stopped (docs/reasons.md)
  error        TEXT,                  -- the error; Unipile's answer verbatim
  due_at       TEXT,                  -- the later of arrival and not_before; an account's messages go in this order
  retry_at     TEXT,                  -- not retried before this time
  reconcile_at    TEXT,                  -- uncertain: when its chat is next read to reconcile it
  reads        INTEGER NOT NULL DEFAULT 0,  -- how often its chat was read
  resends      INTEGER NOT NULL DEFAULT 0,  -- how often it was queued again because it was absent
  settled_by   TEXT CHECK (settled_by IN ('answer', 'evidence', 'person')),  -- how it is known to be sent
  next_at      TEXT GENERATED ALWAYS AS (CASE WHEN state = 'queued' THEN coalesce(retry_at, due_at) END) VIRTUAL,
  credit       TEXT GENERATED ALWAYS AS (CASE WHEN json_valid(coalesce(specifics, options)) THEN CASE
                 WHEN json_extract(coalesce(specifics, options), '$.linkedin.classic.inmail')
                      AND json_type(coalesce(specifics, options), '$.linkedin.classic.applicant') IS NULL THEN 'classic'
                 WHEN json_type(coalesce(specifics, options), '$.linkedin.recruiter') = 'object'
                      AND json_extract(coalesce(specifics, options), '$.linkedin.recruiter.send_as') IS NOT 'EMAIL'
                 THEN 'recruiter' END END) VIRTUAL,  -- the balance that pays for an InMail
  route        TEXT,                  -- the chat that a first message goes to, and why, if that was looked up
  thread       TEXT,                  -- the chat or recipient whose order is kept
  blocked_by   INTEGER,               -- queued: the earlier message of its thread that is unsettled or retried
  lane         TEXT,                  -- urgency, priority, kind and campaign: within a lane, the oldest goes first
  step_key     TEXT,                  -- whom its step is for: 'user:' and the user id, or the account and the chat
  step_sent_at TEXT,                  -- when the step before it was sent
  wait_until   TEXT,                  -- when its wait ends; NULL until the step before was sent
  wait_held_at TEXT,                  -- since when a stop interrupts its wait
  attempts     INTEGER NOT NULL DEFAULT 0,
  retries      INTEGER NOT NULL DEFAULT 0,
  sent_at      TEXT,
  delivered_at TEXT,                  -- when it was delivered to the person, if that was heard
  read_at      TEXT,                  -- when the person read it, if that was heard
  replied_at   TEXT,                  -- when the person first answered it, if that was heard
  provider_message_ids TEXT,          -- JSON array
  created_at   TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
  updated_at   TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
  run          INTEGER,               -- the daemon's run that admitted it; NULL until then
  held_at      TEXT,                  -- queued: held since then, until a person or a program releases it
  edits        INTEGER NOT NULL DEFAULT 0,  -- how often it was edited or moved; a send is of the last edit or of none
  text_hash    TEXT,                  -- once its text is removed: SHA-256 of the trimmed text, which finds a repeat
  pruned_at    TEXT,                  -- when its text, name, specifics, options and meta were removed
  revision     INTEGER NOT NULL DEFAULT 0,  -- the daemon increments it with each change; other programs do not

  CHECK (chat_id IS NOT NULL OR users_ids IS NOT NULL),
  CHECK (state <> 'queued' OR (due_at IS NOT NULL AND thread IS NOT NULL AND lane IS NOT NULL)),
  CHECK (state <> 'sent' OR (sent_at IS NOT NULL AND settled_by IS NOT NULL)),
  CHECK (state <> 'uncertain' OR reconcile_at IS NOT NULL)
) STRICT;

-- A producer's idempotency key. A message that failed, was cancelled or was rejected releases its key.
CREATE UNIQUE INDEX messages_dedupe ON messages (dedupe_key)
  WHERE dedupe_key IS NOT NULL AND state <> 'failed' AND state <> 'cancelled' AND state <> 'rejected';
CREATE INDEX messages_released ON messages (dedupe_key)
  WHERE dedupe_key IS NOT NULL AND (state = 'failed' OR state = 'cancelled' OR state = 'rejected');
-- Rows of other programs that are not yet admitted.
CREATE INDEX messages_new ON messages (seq) WHERE state = 'new';
-- The ready messages of each lane of an account, in order.
CREATE INDEX messages_due ON messages (account_id, lane, due_at, seq)
  WHERE state = 'queued' AND retry_at IS NULL AND blocked_by IS NULL;
-- The queued messages of a thread that are not blocked, and those that another message blocks.
CREATE INDEX messages_thread ON messages (account_id, thread) WHERE state = 'queued' AND blocked_by IS NULL;
CREATE INDEX messages_blocked ON messages (blocked_by) WHERE blocked_by IS NOT NULL;
-- Messages that start a chat with a person, sent or still to be sent; and the time of the last one.
CREATE INDEX messages_person ON messages (account_id, thread, sent_at) WHERE users_ids IS NOT NULL;
-- Retried messages: the next one, and those that block their threads.
CREATE INDEX messages_retry ON messages (account_id, retry_at) WHERE state = 'queued' AND retry_at IS NOT NULL;
CREATE INDEX messages_retry_thread ON messages (account_id, thread) WHERE state = 'queued' AND retry_at IS NOT NULL;
-- Threads that wait for an outcome.
CREATE INDEX messages_unsettled ON messages (account_id, thread) WHERE state IN ('sending', 'uncertain', 'review');
-- Messages to reconcile.
CREATE INDEX messages_reconcile ON messages (reconcile_at) WHERE state = 'uncertain';
-- At most one call in flight per account, enforced here as well as in the code.
CREATE UNIQUE INDEX messages_in_flight ON messages (account_id) WHERE state = 'sending';
CREATE INDEX messages_expiring ON messages (expires_at) WHERE state = 'queued' AND expires_at IS NOT NULL;
-- InMails, which wait together when their credits are spent.
CREATE INDEX messages_inmail ON messages (account_id, credit) WHERE state = 'queued' AND credit IS NOT NULL;
-- Messages that wait for a connection.
CREATE INDEX messages_needs ON messages (account_id, due_at) WHERE state = 'queued' AND needs IS NOT NULL;
-- Lists: each index ends in `seq` (the rowid), so that the rows of one state are in order. The state is an
-- expression, because without statistics SQLite would prefer an index on `state` to every better one.
CREATE INDEX messages_by_account ON messages (account_id, state || '');
CREATE INDEX messages_by_state ON messages (state || '') WHERE state <> 'new';
CREATE INDEX messages_by_campaign ON messages (campaign, state || '') WHERE campaign IS NOT NULL;
CREATE INDEX messages_by_chat ON messages (chat_id) WHERE chat_id IS NOT NULL;
CREATE INDEX messages_by_time ON messages (created_at);
-- The reasons that a list may look for, without those that every message has on its way.
CREATE INDEX messages_by_reason ON messages (reason)
  WHERE reason NOT IN ('admission', 'turn', 'scheduled', 'in_flight', 'delivered');

-- Finished messages that still have their text, in the order of arrival.
CREATE INDEX messages_unpruned ON messages (pruned_at)
  WHERE pruned_at IS NULL AND state IN ('sent', 'failed', 'cancelled', 'expired', 'rejected');

-- The steps of a campaign for one person: each exists once, on whichever account.
CREATE UNIQUE INDEX messages_steps ON messages (campaign, step_key, step) WHERE step_key IS NOT NULL AND state <> 'rejected';
-- Steps whose wait has begun and is not yet computed.
CREATE INDEX messages_to_schedule ON messages (account_id)
  WHERE state = 'queued' AND step_sent_at IS NOT NULL AND wait_until IS NULL;

-- What became of the messages of each step of each campaign.
CREATE VIEW campaigns (campaign, step, messages, queued, sent, delivered, read, replied, stopped, failed) AS
SELECT campaign, step, count(*), count(*) FILTER (WHERE state IN ('new', 'queued', 'sending', 'uncertain', 'review')),
       count(*) FILTER (WHERE state = 'sent'), count(delivered_at), count(read_at), count(replied_at),
       count(*) FILTER (WHERE state IN ('cancelled', 'expired')), count(*) FILTER (WHERE state IN ('failed', 'rejected'))
  FROM messages WHERE campaign IS NOT NULL GROUP BY campaign, step;

-- The provider's ids of sent messages, by which receipts and echoes find them.
CREATE TABLE sent_ids (
  account_id TEXT NOT NULL,
  message_id TEXT NOT NULL,           -- the provider's id
  seq        INTEGER NOT NULL REFERENCES messages (seq),
  PRIMARY KEY (account_id, message_id)
) STRICT, WITHOUT ROWID;

-- Messages that others wrote, or the owner by hand, each once: ids and times, never a text.
CREATE TABLE inbound_messages (
  account_id TEXT NOT NULL,
  chat_id    TEXT NOT NULL,
  message_id TEXT NOT NULL,
  sender_id  TEXT,
  at         TEXT NOT NULL,           -- when it was written, by this machine's clock
  heard_at   TEXT NOT NULL,
  source     TEXT NOT NULL CHECK (source IN ('webhook', 'read')),
  kind       TEXT NOT NULL CHECK (kind IN ('reply', 'out_of_office', 'opt_out', 'owner')),
  PRIMARY KEY (account_id, chat_id, message_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX inbound_messages_heard ON inbound_messages (heard_at);

-- The newest answer of each thread; a queued message that it stops is not sent.
CREATE TABLE replies (
  account_id TEXT NOT NULL,
  thread     TEXT NOT NULL,
  at         TEXT NOT NULL,
  PRIMARY KEY (account_id, thread)
) STRICT, WITHOUT ROWID;

-- The chats that the account has written to, and when each was last read for answers and receipts (`inbound.poll`).
CREATE TABLE chat_reads (
  account_id TEXT NOT NULL,
  chat_id    TEXT NOT NULL,
  sent_at    TEXT NOT NULL,           -- when a message of ours was last sent into it
  read_at    TEXT NOT NULL,           -- when it was last read; at first, when it was written to
  tried_at   TEXT NOT NULL,           -- when that was last tried
  waits      INTEGER NOT NULL CHECK (waits IN (0, 1)),  -- 1: a message for it may be queued, so it is polled
  PRIMARY KEY (account_id, chat_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX chat_reads_due ON chat_reads (account_id, tried_at) WHERE waits = 1;

-- The queued messages that an answer stops: those that came into the queue before it, and those of a campaign that had
-- begun for the person before it.
CREATE VIEW answered (seq, at) AS
SELECT m.seq, r.at FROM messages m CROSS JOIN replies r ON r.account_id = m.account_id AND r.thread = m.thread
 WHERE coalesce(m.stop_on_reply, m.campaign IS NOT NULL)
   AND r.at > min(m.created_at, coalesce((SELECT min(s.sent_at) FROM messages s INDEXED BY messages_by_thread
         WHERE s.thread = m.thread AND s.account_id = m.account_id AND s.campaign IS m.campaign AND s.state = 'sent'),
       m.created_at));

-- Webhooks as they came, each once: kept before they are answered, interpreted afterwards. The body is removed when it
-- has been interpreted, because it holds the words of others.
CREATE TABLE webhooks (
  seq         INTEGER PRIMARY KEY,
  event_id    TEXT NOT NULL UNIQUE,   -- Unipile's id, or the hash of the body if it has none
  kind        TEXT NOT NULL,          -- 'message.new', 'message.receipt.read', …
  account_id  TEXT,
  received_at TEXT NOT NULL,
  body        TEXT,                   -- NULL once it is interpreted
  look_at     TEXT,                   -- not interpreted before this time: what it says cannot be told yet
  result      TEXT                    -- what it changed, once it is interpreted
) STRICT;
CREATE INDEX webhooks_waiting ON webhooks (seq) WHERE result IS NULL;
CREATE INDEX webhooks_kinds ON webhooks (kind, received_at);
CREATE INDEX webhooks_received ON webhooks (received_at) WHERE result IS NOT NULL;

-- The endpoint at Unipile that `outboxd webhook register` made. Its secret signs the webhooks; nothing shows or logs it.
CREATE TABLE webhook_endpoints (
  id            TEXT PRIMARY KEY,
  url           TEXT NOT NULL,
  events        TEXT NOT NULL CHECK (json_type(events) = 'array'),
  account_ids   TEXT NOT NULL CHECK (json_type(account_ids) = 'array'),  -- empty: every account
  secret        TEXT NOT NULL,
  registered_at TEXT NOT NULL,
  read_at       TEXT NOT NULL         -- when Unipile last told the secret
) STRICT, WITHOUT ROWID;

-- The messages of a person or a chat, over all accounts. A row that is not yet admitted has no thread.
CREATE INDEX messages_by_thread ON messages (thread, account_id) WHERE thread IS NOT NULL;

-- Chats whose other side is known: a message to a user and one into the chat with that user belong to one thread.
CREATE TABLE conversations (
  account_id TEXT NOT NULL,
  chat_id    TEXT NOT NULL,
  user_id    TEXT NOT NULL,
  source     TEXT NOT NULL CHECK (source IN ('send', 'read', 'webhook')),  -- how this was learned
  at         TEXT NOT NULL,
  PRIMARY KEY (account_id, chat_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX conversations_user ON conversations (account_id, user_id, at);

-- People as an account sees them: from their profiles, and as webhooks name them. What is not known is NULL.
CREATE TABLE people (
  account_id        TEXT NOT NULL,
  user_id           TEXT NOT NULL,    -- the provider's id
  public_identifier TEXT,             -- the name in the address of the profile, in lower case
  profile_url       TEXT,
  name              TEXT,
  distance          TEXT CHECK (distance IN ('SELF', 'FIRST_DEGREE', 'SECOND_DEGREE', 'THIRD_DEGREE', 'OUT_OF_NETWORK')),
  can_send_inmail   INTEGER,
  is_open_profile   INTEGER,
  read_at           TEXT,             -- when the profile was last read
  at                TEXT NOT NULL,    -- when anything of this was last learned
  PRIMARY KEY (account_id, user_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX people_user ON people (user_id);
CREATE INDEX people_name ON people (public_identifier, at) WHERE public_identifier IS NOT NULL;

-- Reads of profiles, each written before its request: `caps.profile` counts them.
CREATE TABLE profile_reads (
  id         INTEGER PRIMARY KEY,
  account_id TEXT NOT NULL,
  person     TEXT NOT NULL,           -- the user id, or in/NAME
  at         TEXT NOT NULL,
  next_at    TEXT NOT NULL,           -- the account reads no further profile before this time
  result     TEXT CHECK (result IN ('found', 'absent'))  -- NULL: failed, or not known
) STRICT;
CREATE INDEX profile_reads_account ON profile_reads (account_id, at);
CREATE INDEX profile_reads_person ON profile_reads (person, at);

-- What must not be sent (P5): to a person, into a chat, of a campaign, by an account, or at all. Other programs may
-- INSERT here and DELETE (docs/sql.md). A stop of an account or of everything is a pause: it keeps no message from its
-- place in its lane.
CREATE TABLE stops (
  id         INTEGER PRIMARY KEY,
  scope      TEXT NOT NULL CHECK (scope IN ('all', 'account', 'campaign', 'person', 'chat')),
  key        TEXT NOT NULL,                    -- the user id (or in/NAME until it is known), the chat id, the campaign, the account; or a hash
  account_id TEXT NOT NULL DEFAULT '',         -- '': on every account
  reason     TEXT NOT NULL CHECK (reason IN ('daemon_paused', 'account_paused', 'stopped', 'suppressed', 'owner_wrote', 'out_of_office')),
  until      TEXT CHECK (strftime('%Y-%m-%dT%H:%M:%fZ', until) = until),  -- NULL: until a person lifts it
  has_length INTEGER NOT NULL DEFAULT 0,       -- 1: its end was given as a duration; it moves when the clock is set
  actor      TEXT NOT NULL DEFAULT 'sql',      -- 'operator', or what made the daemon write it
  note       TEXT,
  at         TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
  lifted_at  TEXT,                             -- the daemon sets it before its DELETE; 'erased', 'ended': without an event
  UNIQUE (scope, key, account_id, reason),
  CHECK ((key = '') = (scope = 'all')),
  CHECK ((scope = 'all') = (reason = 'daemon_paused')),
  CHECK ((scope = 'account') = (reason = 'account_paused')),
  CHECK (account_id = '' OR scope NOT IN ('all', 'account')),
  CHECK (reason <> 'suppressed' OR until IS NULL)
) STRICT;

-- People who were erased and must never be written to again: salted SHA-256 of user ids, public names and chats.
CREATE TABLE erased (
  hash TEXT PRIMARY KEY,
  at   TEXT NOT NULL                  -- when the person was erased
) STRICT, WITHOUT ROWID;

CREATE INDEX stops_suppressed ON stops (reason) WHERE reason = 'suppressed';
CREATE INDEX stops_ending ON stops (until) WHERE until IS NOT NULL;
-- Whether any suppression is hashed, and which are not.
CREATE INDEX stops_hashed ON stops (id) WHERE substr(key, 1, 7) = 'sha256:';
CREATE INDEX stops_plain ON stops (id) WHERE reason = 'suppressed' AND scope <> 'campaign' AND substr(key, 1, 7) <> 'sha256:';

-- A stop by the public name of a person becomes one by the user id as soon as that is known.
CREATE TRIGGER people_new AFTER INSERT ON people WHEN NEW.public_identifier IS NOT NULL
BEGIN
  UPDATE stops SET key = NEW.user_id
   WHERE scope = 'person' AND key = 'in/' || NEW.public_identifier
     AND NOT EXISTS (SELECT 1 FROM stops o WHERE o.scope = 'person' AND o.key = NEW.user_id
                        AND o.account_id = stops.account_id AND o.reason = stops.reason);
END;
CREATE TRIGGER people_named AFTER UPDATE OF public_identifier ON people
WHEN NEW.public_identifier IS NOT OLD.public_identifier AND NEW.public_identifier IS NOT NULL
BEGIN
  UPDATE stops SET key = NEW.user_id
   WHERE scope = 'person' AND key = 'in/' || NEW.public_identifier
     AND NOT EXISTS (SELECT 1 FROM stops o WHERE o.scope = 'person' AND o.key = NEW.user_id
                        AND o.account_id = stops.account_id AND o.reason = stops.reason);
END;
CREATE TRIGGER stops_named AFTER INSERT ON stops WHEN NEW.scope = 'person' AND substr(NEW.key, 1, 3) = 'in/'
BEGIN
  UPDATE stops SET key = (SELECT p.user_id FROM people p WHERE p.public_identifier = substr(NEW.key, 4)
                           ORDER BY p.at DESC LIMIT 1)
   WHERE id = NEW.id AND EXISTS (SELECT 1 FROM people p WHERE p.public_identifier = substr(NEW.key, 4))
     AND NOT EXISTS (SELECT 1 FROM stops o WHERE o.scope = 'person' AND o.account_id = NEW.account_id AND o.reason = NEW.reason
                        AND o.key = (SELECT p.user_id FROM people p WHERE p.public_identifier = substr(NEW.key, 4)
                                      ORDER BY p.at DESC LIMIT 1));
END;

-- The stops that concern each message, those whose time has passed included; without pauses.
CREATE VIEW stopping (seq, id, reason, until) AS
SELECT m.seq, s.id, s.reason, s.until FROM messages m CROSS JOIN stops s ON s.account_id IN ('', m.account_id)
   AND ((s.scope = 'campaign' AND s.key = m.campaign)
     OR (s.scope = 'chat' AND s.key = m.chat_id)
     OR (s.scope = 'person' AND s.key = CASE WHEN substr(m.thread, 1, 5) = 'user:' THEN substr(m.thread, 6) END)
     OR (s.scope = 'person' AND s.key IN (
           SELECT member.value FROM json_each(CASE WHEN substr(m.thread, 1, 6) = 'group:' THEN m.users_ids END) member)));

-- One row per call: written before its first byte leaves, closed when its outcome is known.
CREATE TABLE attempts (
  seq    INTEGER NOT NULL REFERENCES messages (seq),
  number     INTEGER NOT NULL,        -- from 1
  account_id TEXT NOT NULL,
  kind       TEXT NOT NULL CHECK (kind IN ('message', 'new_chat', 'inmail', 'forward')),
  run        INTEGER NOT NULL,
  gap_ms     INTEGER NOT NULL,        -- the gap drawn for it
  started_at TEXT NOT NULL,
  monotonic_ms INTEGER NOT NULL,      -- start by the run's monotonic clock, which cannot be set
  provider_at TEXT,                   -- earliest start by the provider's clock, if that was known
  fingerprint TEXT NOT NULL,          -- SHA-256 of the request: endpoint, recipients, text, files
  chat_id    TEXT,                    -- the chat that the call writes to, if known
  ended_at   TEXT,                    -- NULL: in progress
  phase      TEXT NOT NULL DEFAULT 'claimed' CHECK (phase IN ('claimed', 'connecting', 'written', 'answered')),
  outcome    TEXT CHECK (outcome IN ('accepted', 'refused', 'not_sent', 'throttled', 'account_down', 'uncertain')),
  status     INTEGER,                 -- HTTP status
  type       TEXT,                    -- Unipile's error type, or ours with 'outboxd/'
  title      TEXT,
  detail     TEXT,
  req_id     TEXT,
  PRIMARY KEY (seq, number)
) STRICT, WITHOUT ROWID;
-- What the caps count, as a covering index.
CREATE INDEX attempts_by_account ON attempts (account_id, started_at, kind, outcome);

-- Evidence about attempts with an unknown outcome: every read of a chat, and every decision of a person.
CREATE TABLE evidence (
  seq INTEGER NOT NULL REFERENCES messages (seq),
  number  INTEGER NOT NULL,           -- number of the attempt
  at      TEXT NOT NULL,
  source  TEXT NOT NULL CHECK (source IN ('reconcile', 'webhook', 'person')),
  finding TEXT NOT NULL,              -- found, partly, cannot_tell, busy, absent, unread; person: sent, resend, drop
  detail  TEXT                        -- details, without the text of any message
) STRICT;
CREATE INDEX evidence_by_message ON evidence (seq);

-- Messages of the account that chats showed when they were read, each with the first read that showed it: a message
-- that existed before a call is not what the call sent. A chat has those that its last read showed.
CREATE TABLE observed_messages (
  account_id   TEXT NOT NULL,
  chat_id      TEXT NOT NULL,
  message_id   TEXT NOT NULL,
  run          INTEGER NOT NULL,
  monotonic_ms INTEGER NOT NULL,      -- by the run's monotonic clock
  PRIMARY KEY (account_id, chat_id, message_id)
) STRICT, WITHOUT ROWID;

-- The bytes of attachments, each once however many messages carry them, in pieces of 192 KiB.
CREATE TABLE blobs (
  sha256 TEXT PRIMARY KEY,
  size   INTEGER NOT NULL CHECK (size > 0)
) STRICT, WITHOUT ROWID;
CREATE TABLE blob_pieces (
  sha256 TEXT NOT NULL REFERENCES blobs (sha256),
  piece  INTEGER NOT NULL,            -- from 0
  bytes  BLOB NOT NULL,
  UNIQUE (sha256, piece)
) STRICT;

-- Which messages still carry which files. A file that no message carries is removed.
CREATE TABLE carried_files (
  seq    INTEGER NOT NULL REFERENCES messages (seq),
  sha256 TEXT NOT NULL,
  PRIMARY KEY (seq, sha256)
) STRICT, WITHOUT ROWID;
CREATE INDEX carried_files_by_file ON carried_files (sha256);
CREATE TRIGGER messages_files_stored AFTER INSERT ON messages WHEN NEW.attachments IS NOT NULL AND NEW.state <> 'new'
BEGIN
  INSERT INTO carried_files (seq, sha256)
  SELECT DISTINCT NEW.seq, json_extract(value, '$.sha256') FROM json_each(NEW.attachments) WHERE json_extract(value, '$.sha256') IS NOT NULL;
END;
CREATE TRIGGER messages_files_admitted AFTER UPDATE OF attachments ON messages
WHEN NEW.attachments IS NOT NULL AND OLD.state = 'new' AND NEW.state <> 'rejected'
BEGIN
  INSERT INTO carried_files (seq, sha256)
  SELECT DISTINCT NEW.seq, json_extract(value, '$.sha256') FROM json_each(NEW.attachments) WHERE json_extract(value, '$.sha256') IS NOT NULL;
END;

-- Every event, in order (docs/events.md). The newest row is never deleted, so `seq` only grows; AUTOINCREMENT would
-- guarantee the same, at the cost of one more page in every commit. Only one transaction writes at a time, so a number
-- becomes visible after all lower ones.
CREATE TABLE events (
  seq        INTEGER PRIMARY KEY,
  at         TEXT NOT NULL,
  kind       TEXT NOT NULL,           -- 'message.sent', 'account.paused', …
  account_id TEXT,
  message_id TEXT,
  reason     TEXT,
  detail     TEXT
) STRICT;

CREATE TRIGGER stops_pause AFTER INSERT ON stops WHEN NEW.scope IN ('all', 'account')
BEGIN
  INSERT INTO events (at, kind, account_id, detail)
  VALUES (NEW.at, iif(NEW.scope = 'all', 'daemon.paused', 'account.paused'), nullif(NEW.key, ''), NEW.note);
END;
-- The daemon writes the event itself: resuming does more than to end a pause.
CREATE TRIGGER stops_resume AFTER DELETE ON stops WHEN OLD.scope IN ('all', 'account') AND OLD.lifted_at IS NULL
BEGIN
  INSERT INTO events (at, kind, account_id)
  VALUES (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), iif(OLD.scope = 'all', 'daemon.resumed', 'account.resumed'), nullif(OLD.key, ''));
END;

CREATE TRIGGER stops_set AFTER INSERT ON stops WHEN NEW.scope NOT IN ('all', 'account')
BEGIN
  INSERT INTO events (at, kind, account_id, reason, detail)
  VALUES (NEW.at, 'stop.set', nullif(NEW.account_id, ''), NEW.reason,
          json_object('scope', NEW.scope, 'key',
            -- Its key becomes a hash next; the event does not name it.
            CASE WHEN NEW.reason = 'suppressed' AND NEW.scope <> 'campaign' AND substr(NEW.key, 1, 7) <> 'sha256:'
                      AND (SELECT d.suppressions_hashed = 1 FROM daemon d WHERE d.id = 1)
                 THEN NULL ELSE NEW.key END,
            'until', NEW.until, 'by', NEW.actor, 'note', NEW.note));
END;
CREATE TRIGGER stops_lifted AFTER DELETE ON stops
WHEN OLD.scope NOT IN ('all', 'account') AND OLD.lifted_at IS NOT 'erased' AND OLD.lifted_at IS NOT 'ended'
BEGIN
  INSERT INTO events (at, kind, account_id, reason, detail)
  VALUES (coalesce(OLD.lifted_at, strftime('%Y-%m-%dT%H:%M:%fZ', 'now')), 'stop.lifted', nullif(OLD.account_id, ''),
          OLD.reason, json_object('scope', OLD.scope, 'key', OLD.key));
END;

-- What receives events (`[outbound]` of the configuration), and how far it is.
CREATE TABLE hooks (
  name         TEXT PRIMARY KEY,
  cursor       INTEGER NOT NULL,      -- each event up to this one was delivered, given up, or does not concern it
  generation   INTEGER NOT NULL DEFAULT 0,  -- incremented by a replay and by `enable`: a delivery from before moves nothing
  failures     INTEGER NOT NULL DEFAULT 0,  -- failed deliveries in a row of the event after the cursor
  retry_at     TEXT,                  -- no delivery before this time
  problem      TEXT,                  -- the last failure
  is_probe     INTEGER NOT NULL DEFAULT 0,  -- 1: an event was given up; if the next one fails as well, the hook is disabled
  disabled_at  TEXT,                  -- nothing is delivered until `outboxd hook enable`
  delivered_at TEXT,                  -- the last delivery
  created_at   TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Events that a hook did not accept, in spite of all retries.
CREATE TABLE dead_letters (
  hook    TEXT NOT NULL,
  seq     INTEGER NOT NULL,           -- events.seq
  at      TEXT NOT NULL,
  problem TEXT NOT NULL,
  PRIMARY KEY (hook, seq)
) STRICT, WITHOUT ROWID;

-- Number of messages of each account in each state; triggers maintain it, so that no status query counts rows.
CREATE TABLE counts (
  account_id TEXT NOT NULL,
  state      TEXT NOT NULL,
  n          INTEGER NOT NULL,
  PRIMARY KEY (account_id, state)
) STRICT, WITHOUT ROWID;

-- Sums of `counts` by state, and the number of accounts: no status query has to add up the rows of 100,000 accounts.
CREATE TABLE totals (
  what TEXT PRIMARY KEY,              -- a state, or 'accounts'
  n    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO totals (what, n) VALUES ('accounts', 0), ('new', 0), ('queued', 0), ('sending', 0), ('uncertain', 0), ('review', 0),
  ('sent', 0), ('failed', 0), ('cancelled', 0), ('expired', 0), ('rejected', 0);

-- Number of unfinished messages with each reason, for the metrics; triggers maintain it. The reasons that every message
-- has on its way are left out, so that those messages cost nothing here.
CREATE TABLE waiting_reasons (
  reason TEXT PRIMARY KEY,
  n      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TRIGGER counts_changed AFTER UPDATE OF n ON counts
BEGIN
  UPDATE totals SET n = n + NEW.n - OLD.n WHERE what = NEW.state;
END;

-- Computes `accounts.attention`; the three triggers below maintain it.
CREATE VIEW attentions (id, attention) AS
SELECT a.id, CASE
         WHEN a.down_cause IS NOT NULL
              OR EXISTS (SELECT 1 FROM counts c WHERE c.account_id = a.id AND c.state = 'review' AND c.n > 0) THEN 0
         WHEN EXISTS (SELECT 1 FROM counts c WHERE c.account_id = a.id AND c.n > 0
                       AND c.state IN ('new', 'queued', 'sending', 'uncertain')) THEN 1
         ELSE 2 END
  FROM accounts a;

CREATE TRIGGER counts_attention AFTER UPDATE OF n ON counts
WHEN (OLD.n = 0) <> (NEW.n = 0) AND NEW.state IN ('new', 'queued', 'sending', 'uncertain', 'review')
BEGIN
  UPDATE accounts SET attention = (SELECT v.attention FROM attentions v WHERE v.id = NEW.account_id)
   WHERE id = NEW.account_id
     AND attention <> (SELECT v.attention FROM attentions v WHERE v.id = NEW.account_id);
END;

CREATE TRIGGER accounts_inserted AFTER INSERT ON accounts
BEGIN
  UPDATE totals SET n = n + 1 WHERE what = 'accounts';
  UPDATE accounts SET attention = (SELECT v.attention FROM attentions v WHERE v.id = NEW.id) WHERE id = NEW.id;
END;

CREATE TRIGGER accounts_went_down AFTER UPDATE OF down_cause ON accounts
WHEN (OLD.down_cause IS NULL) <> (NEW.down_cause IS NULL)
BEGIN
  UPDATE accounts SET attention = (SELECT v.attention FROM attentions v WHERE v.id = NEW.id) WHERE id = NEW.id;
END;

-- SQLite libraries that wrote here: those before 3.51.3 (except 3.44.6 and 3.50.7) can damage a WAL file.
CREATE TABLE producers (
  sqlite_version TEXT PRIMARY KEY,
  first_seen_at  TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Detects INSERT OR REPLACE: one row, always (1, 0). See messages_insert.
CREATE TABLE replaced (
  id  INTEGER PRIMARY KEY CHECK (id = 1),
  yes INTEGER NOT NULL
) STRICT;
INSERT INTO replaced (id, yes) VALUES (1, 0);

-- The interface for other programs: refuses obviously invalid rows at once.
CREATE TRIGGER messages_insert BEFORE INSERT ON messages
WHEN NEW.run IS NULL OR NEW.run IS NOT (SELECT max(id) FROM runs)
BEGIN
  SELECT RAISE(ABORT, 'outboxd: run belongs to the daemon; leave it out')
   WHERE NEW.run IS NOT NULL;
  SELECT RAISE(ABORT, 'outboxd: state belongs to the daemon; leave it out')
   WHERE NEW.state IS NOT 'new';
  SELECT RAISE(ABORT, 'outboxd: reason belongs to the daemon; leave it out')
   WHERE NEW.reason IS NOT 'admission';
  SELECT RAISE(ABORT, 'outboxd: error belongs to the daemon; leave it out')
   WHERE NEW.error IS NOT NULL;
  SELECT RAISE(ABORT, 'outboxd: due_at belongs to the daemon; leave it out; use not_before to send it later')
   WHERE NEW.due_at IS NOT NULL;
  SELECT RAISE(ABORT, 'outboxd: retry_at belongs to the daemon; leave it out')
   WHERE NEW.retry_at IS NOT NULL;
  SELECT RAISE(ABORT, 'outboxd: reconcile_at belongs to the daemon; leave it out')
   WHERE NEW.reconcile_at IS NOT NULL;
  SELECT RAISE(ABORT, 'outboxd: reads belongs to the daemon; leave it out')
   WHERE NEW.reads IS NOT 0;
  SELECT RAISE(ABORT, 'outboxd: resends belongs to the daemon; leave it out')
   WHERE NEW.resends IS NOT 0;
  SELECT RAISE(ABORT, 'outboxd: settled_by belongs to the daemon; leave it out')
   WHERE NEW.settled_by IS NOT NULL;
  SELECT RAISE(ABORT, 'outboxd: route belongs to the daemon; leave it out')
   WHERE NEW.route IS NOT NULL;
  SELECT RAISE(ABORT, 'outboxd: thread belongs to the daemon; leave it out')
   WHERE NEW.thread IS NOT NULL;
  SELECT RAISE(ABORT, 'outboxd: blocked_by belongs to the daemon; leave it out')
   WHERE NEW.blocked_by IS NOT NULL;
  SELECT RAISE(ABORT, 'outboxd: lane belongs to the daemon; leave it out; use priority and campaign')
   WHERE NEW.lane IS NOT NULL;
  SELECT RAISE(ABORT, 'outboxd: step_key belongs to the daemon; leave it out; use campaign, step and wait')
   WHERE NEW.step_key IS NOT NULL;
  SELECT RAISE(ABORT, 'outboxd: step_sent_at belongs to the daemon; leave it out')
   WHERE NEW.step_sent_at IS NOT NULL;
  SELECT RAISE(ABORT, 'outboxd: wait_until belongs to the daemon; leave it out; use wait')
   WHERE NEW.wait_until IS NOT NULL;
  SELECT RAISE(ABORT, 'outboxd: wait_held_at belongs to the daemon; leave it out')
   WHERE NEW.wait_held_at IS NOT NULL;
  SELECT RAISE(ABORT, 'outboxd: revision belongs to the daemon; leave it out')
   WHERE NEW.revision IS NOT 0;
  SELECT RAISE(ABORT, 'outboxd: held_at belongs to the daemon; leave it out')
   WHERE NEW.held_at IS NOT NULL;
  SELECT RAISE(ABORT, 'outboxd: edits belongs to the daemon; leave it out')
   WHERE NEW.edits IS NOT 0;
  SELECT RAISE(ABORT, 'outboxd: text_hash belongs to the daemon; leave it out')
   WHERE NEW.text_hash IS NOT NULL;
  SELECT RAISE(ABORT, 'outboxd: pruned_at belongs to the daemon; leave it out')
   WHERE NEW.pruned_at IS NOT NULL;
  SELECT RAISE(ABORT, 'outboxd: attempts belongs to the daemon; leave it out')
   WHERE NEW.attempts IS NOT 0;
  SELECT RAISE(ABORT, 'outboxd: retries belongs to the daemon; leave it out')
   WHERE NEW.retries IS NOT 0;
  SELECT RAISE(ABORT, 'outboxd: sent_at belongs to the daemon; leave it out')
   WHERE NEW.sent_at IS NOT NULL;
  SELECT RAISE(ABORT, 'outboxd: delivered_at belongs to the daemon; leave it out')
   WHERE NEW.delivered_at IS NOT NULL;
  SELECT RAISE(ABORT, 'outboxd: read_at belongs to the daemon; leave it out')
   WHERE NEW.read_at IS NOT NULL;
  SELECT RAISE(ABORT, 'outboxd: replied_at belongs to the daemon; leave it out')
   WHERE NEW.replied_at IS NOT NULL;
  SELECT RAISE(ABORT, 'outboxd: provider_message_ids belongs to the daemon; leave it out')
   WHERE NEW.provider_message_ids IS NOT NULL;
  SELECT RAISE(ABORT, 'outboxd: created_at belongs to the daemon; leave it out')
   WHERE abs(julianday('now') - julianday(NEW.created_at)) > 1.0 / 1440
      OR strftime('%Y-%m-%dT%H:%M:%fZ', NEW.created_at) IS NOT NEW.created_at;
  SELECT RAISE(ABORT, 'outboxd: updated_at belongs to the daemon; leave it out')
   WHERE NEW.updated_at IS NOT NEW.created_at;
  SELECT RAISE(ABORT, 'outboxd: account_id is missing; name the Unipile account that sends, acc_...')
   WHERE NEW.account_id IS NULL OR NEW.account_id = '';
  SELECT RAISE(ABORT, 'outboxd: account_id, chat_id or users_ids has white space around it; remove it')
   WHERE (NEW.account_id <> trim(NEW.account_id, ' ' || char(9) || char(10) || char(13) || char(160)) AND trim(NEW.account_id, ' ' || char(9) || char(10) || char(13) || char(160)) <> '')
      OR (NEW.chat_id <> trim(NEW.chat_id, ' ' || char(9) || char(10) || char(13) || char(160)) AND trim(NEW.chat_id, ' ' || char(9) || char(10) || char(13) || char(160)) <> '')
      OR (NEW.users_ids NOT GLOB '[[]*' AND NEW.users_ids <> trim(NEW.users_ids, ' ' || char(9) || char(10) || char(13) || char(160))
          AND trim(NEW.users_ids, ' ' || char(9) || char(10) || char(13) || char(160)) <> '');
  SELECT RAISE(ABORT, 'outboxd: account_id does not begin with acc_; name the Unipile account that sends')
   WHERE NEW.account_id NOT GLOB 'acc_*';
  SELECT RAISE(ABORT, 'outboxd: there is no recipient; set chat_id for a chat that exists, or users_ids to start one')
   WHERE NEW.chat_id IS NULL AND NEW.users_ids IS NULL;
  SELECT RAISE(ABORT, 'outboxd: chat_id and users_ids are both set; set chat_id for a chat that exists, or users_ids to start one')
   WHERE NEW.chat_id IS NOT NULL AND NEW.users_ids IS NOT NULL;
  SELECT RAISE(ABORT, 'outboxd: chat_id is empty; leave it out or name the chat')
   WHERE NEW.chat_id = '';
  SELECT RAISE(ABORT, 'outboxd: users_ids is empty; name the user id of the recipient')
   WHERE trim(NEW.users_ids) = '';
  SELECT RAISE(ABORT, 'outboxd: users_ids begins like a JSON array but is none; write a user id, or a JSON array of strings such as ["ACoA..."]')
   WHERE NEW.users_ids GLOB '[[]*' AND NOT json_valid(NEW.users_ids);
  SELECT RAISE(ABORT, 'outboxd: users_ids is not an array of strings; write a user id, or a JSON array such as ["ACoA..."]')
   WHERE CASE WHEN NEW.users_ids GLOB '[[]*' AND json_valid(NEW.users_ids)
              THEN json_array_length(NEW.users_ids) = 0
                   OR EXISTS (SELECT 1 FROM json_each(NEW.users_ids) WHERE type <> 'text') END;
  SELECT RAISE(ABORT, 'outboxd: users_ids holds several ids, which would start ONE group chat with all of them; queue one message per person, or set "group" = 1')
   WHERE CASE WHEN NEW.users_ids GLOB '[[]*' AND json_valid(NEW.users_ids)
              THEN json_array_length(NEW.users_ids) > 1 END AND NEW."group" IS NOT 1 AND NEW.name IS NULL;
  SELECT RAISE(ABORT, 'outboxd: specifics and options are both set; they are two names of one object, set one')
   WHERE NEW.specifics IS NOT NULL AND NEW.options IS NOT NULL;
  SELECT RAISE(ABORT, 'outboxd: specifics is not a JSON object; see docs/messages.md')
   WHERE CASE WHEN json_valid(NEW.specifics) THEN json_type(NEW.specifics) <> 'object' ELSE NEW.specifics IS NOT NULL END;
  SELECT RAISE(ABORT, 'outboxd: options is not a JSON object; see docs/messages.md')
   WHERE CASE WHEN json_valid(NEW.options) THEN json_type(NEW.options) <> 'object' ELSE NEW.options IS NOT NULL END;
  SELECT RAISE(ABORT, 'outboxd: specifics and options are for starting a chat; leave them out beside chat_id')
   WHERE (NEW.specifics IS NOT NULL OR NEW.options IS NOT NULL) AND NEW.chat_id IS NOT NULL;
  SELECT RAISE(ABORT, 'outboxd: forward is not a JSON object; write {"chat_id": ..., "message_id": ...} of the message to forward')
   WHERE CASE WHEN json_valid(NEW.forward)
              THEN json_type(NEW.forward, '$.chat_id') IS NOT 'text' OR json_type(NEW.forward, '$.message_id') IS NOT 'text'
              ELSE NEW.forward IS NOT NULL END;
  SELECT RAISE(ABORT, 'outboxd: forward needs the chat that it goes into; set chat_id')
   WHERE NEW.forward IS NOT NULL AND NEW.chat_id IS NULL;
  SELECT RAISE(ABORT, 'outboxd: quote_id is for replying in a chat that exists; leave it out')
   WHERE NEW.quote_id IS NOT NULL AND (NEW.users_ids IS NOT NULL OR NEW.forward IS NOT NULL);
  SELECT RAISE(ABORT, 'outboxd: name and "group" are for starting a chat; leave them out beside chat_id')
   WHERE (NEW.name IS NOT NULL OR NEW."group" IS 1) AND NEW.chat_id IS NOT NULL;
  SELECT RAISE(ABORT, 'outboxd: inbox_id cannot be combined with chat_id; an inbox is for starting a chat, leave it out')
   WHERE NEW.inbox_id IS NOT NULL AND NEW.chat_id IS NOT NULL;
  SELECT RAISE(ABORT, 'outboxd: text is empty; give the text to send')
   WHERE NEW.text IS NULL OR (trim(NEW.text, ' ' || char(9) || char(10) || char(13)) = ''
                              AND NOT (NEW.text = '' AND (NEW.forward IS NOT NULL OR NEW.attachments IS NOT NULL)));
  SELECT RAISE(ABORT, 'outboxd: attachments is not a JSON array with a file in it; see docs/messages.md')
   WHERE CASE WHEN json_valid(NEW.attachments)
              THEN json_type(NEW.attachments) <> 'array' OR json_array_length(NEW.attachments) = 0
              ELSE NEW.attachments IS NOT NULL END;
  SELECT RAISE(ABORT, 'outboxd: attachments cannot go with a forward; leave them out')
   WHERE NEW.attachments IS NOT NULL AND NEW.forward IS NOT NULL;
  SELECT RAISE(ABORT, 'outboxd: text holds a NUL character; remove it')
   WHERE instr(NEW.text, char(0)) > 0;
  SELECT RAISE(ABORT, 'outboxd: typing is neither 0 nor 1')
   WHERE NEW.typing IS NOT NULL AND NEW.typing NOT IN (0, 1);
  SELECT RAISE(ABORT, 'outboxd: priority is not a whole number from -100 to 100')
   WHERE NEW.priority NOT BETWEEN -100 AND 100;
  SELECT RAISE(ABORT, 'outboxd: urgent, ignore_hours, allow_repeat, allow_placeholders or stop_on_reply is neither 0 nor 1')
   WHERE NEW.urgent NOT IN (0, 1) OR NEW.ignore_hours NOT IN (0, 1) OR NEW.allow_repeat NOT IN (0, 1)
      OR NEW.allow_placeholders NOT IN (0, 1) OR NEW.stop_on_reply NOT IN (0, 1);
  SELECT RAISE(ABORT, 'outboxd: step is not a whole number from 1 to 20')
   WHERE NEW.step NOT BETWEEN 1 AND 20;
  SELECT RAISE(ABORT, 'outboxd: step needs a campaign; set campaign, or leave step out')
   WHERE NEW.step IS NOT NULL AND NEW.campaign IS NULL;
  SELECT RAISE(ABORT, 'outboxd: wait is for step 2 and later; leave it out, or use not_before')
   WHERE NEW.wait IS NOT NULL AND coalesce(NEW.step, 1) = 1;
  SELECT RAISE(ABORT, 'outboxd: wait is missing; say how long the step waits after the one before was sent, such as ''3 days''')
   WHERE NEW.wait IS NULL AND NEW.step > 1;
  SELECT RAISE(ABORT, 'outboxd: meta is not a JSON object of at most 4096 bytes')
   WHERE NEW.meta IS NOT NULL AND (length(CAST(NEW.meta AS BLOB)) > 4096
      OR CASE WHEN json_valid(NEW.meta) THEN json_type(NEW.meta) <> 'object' ELSE 1 END);
  SELECT RAISE(ABORT, 'outboxd: needs is not ''connection''; write that, or leave it out')
   WHERE NEW.needs <> 'connection';
  SELECT RAISE(ABORT, 'outboxd: needs is for a first message to one person; leave it out beside chat_id')
   WHERE NEW.needs IS NOT NULL AND NEW.chat_id IS NOT NULL;
  SELECT RAISE(ABORT, 'outboxd: ignore_hours is for urgent messages; set urgent = 1 as well, or leave it out')
   WHERE NEW.ignore_hours IS 1 AND NEW.urgent IS NOT 1;
  SELECT RAISE(ABORT, 'outboxd: not_before is not a time; write UTC with milliseconds, such as strftime(''%Y-%m-%dT%H:%M:%fZ'', ''now'', ''+1 hour'')')
   WHERE NEW.not_before IS NOT NULL AND strftime('%Y-%m-%dT%H:%M:%fZ', NEW.not_before) IS NOT NEW.not_before;
  SELECT RAISE(ABORT, 'outboxd: expires_at is not a time; write UTC with milliseconds, such as strftime(''%Y-%m-%dT%H:%M:%fZ'', ''now'', ''+1 day'')')
   WHERE NEW.expires_at IS NOT NULL AND strftime('%Y-%m-%dT%H:%M:%fZ', NEW.expires_at) IS NOT NEW.expires_at;
  SELECT RAISE(ABORT, 'outboxd: dedupe_key is empty; leave it out or give a key')
   WHERE NEW.dedupe_key = '';
  SELECT RAISE(ABORT, 'outboxd: id is not a UUID in small letters; leave it out')
   WHERE NOT (length(NEW.id) = 36 AND length(replace(NEW.id, '-', '')) = 32
              AND replace(NEW.id, '-', '') NOT GLOB '*[^0-9a-f]*' AND NEW.id GLOB '????????-????-????-????-????????????');
  -- REPLACE would delete the conflicting message and its history. The conflict clause of the producer's INSERT
  -- applies to this statement too, so the row becomes (1, 1) under OR REPLACE only.
  INSERT OR IGNORE INTO replaced (id, yes)
  SELECT 1, 1
   WHERE EXISTS (SELECT 1 FROM messages m WHERE m.dedupe_key = NEW.dedupe_key
                    AND m.state <> 'failed' AND m.state <> 'cancelled' AND m.state <> 'rejected')
      OR EXISTS (SELECT 1 FROM messages m WHERE m.id = NEW.id)
      OR EXISTS (SELECT 1 FROM messages m WHERE m.seq = NEW.seq);
  SELECT RAISE(ABORT, 'outboxd: INSERT OR REPLACE would delete a message; use ON CONFLICT DO NOTHING')
    FROM replaced WHERE yes = 1;
END;

-- Records every arrival as an event and counts it. No statement here can conflict, because the conflict clause of the
-- producer's own INSERT (OR IGNORE, OR REPLACE) would apply to it.
CREATE TRIGGER messages_inserted AFTER INSERT ON messages
BEGIN
  INSERT INTO events (at, kind, account_id, message_id, reason)
  VALUES (NEW.created_at, 'message.' || NEW.state, NEW.account_id, NEW.id, NEW.reason);
  INSERT INTO counts (account_id, state, n)
  SELECT NEW.account_id, NEW.state, 0
   WHERE NOT EXISTS (SELECT 1 FROM counts c WHERE c.account_id = NEW.account_id AND c.state = NEW.state);
  UPDATE counts SET n = n + 1 WHERE account_id = NEW.account_id AND state = NEW.state;
END;

CREATE TRIGGER messages_inserted_elsewhere AFTER INSERT ON messages WHEN NEW.state = 'new'
BEGIN
  -- Arrivals have no gaps. (Before the INSERT, the number that SQLite assigns is unknown.)
  SELECT RAISE(ABORT, 'outboxd: seq belongs to the daemon; leave it out')
   WHERE NEW.seq <> 1 + (SELECT coalesce(max(seq), 0) FROM messages WHERE seq < NEW.seq);
  INSERT INTO producers (sqlite_version, first_seen_at)
  SELECT sqlite_version(), NEW.created_at
   WHERE NOT EXISTS (SELECT 1 FROM producers p WHERE p.sqlite_version = sqlite_version());
END;

-- The state transitions of a message (domain/state.rs, docs/lifecycle.md); any other is an error and is refused. They
-- are spelled out, because SQLite builds a table for a list after IN, and in a trigger it does so for every row.
CREATE TRIGGER messages_move BEFORE UPDATE OF state ON messages
WHEN NEW.state <> OLD.state AND NOT (OLD.state = 'cancelled' AND OLD.reason = 'step_stopped' AND NEW.state IN ('failed', 'expired'))
  AND NOT CASE OLD.state
  WHEN 'new' THEN NEW.state = 'queued' OR NEW.state = 'rejected' OR NEW.state = 'cancelled' OR NEW.state = 'review'
  WHEN 'queued' THEN NEW.state = 'sending' OR NEW.state = 'cancelled' OR NEW.state = 'expired' OR NEW.state = 'failed'
                     OR NEW.state = 'review'
  WHEN 'sending' THEN NEW.state = 'sent' OR NEW.state = 'queued' OR NEW.state = 'failed' OR NEW.state = 'uncertain'
                      OR NEW.state = 'review'
  WHEN 'uncertain' THEN NEW.state = 'sent' OR NEW.state = 'queued' OR NEW.state = 'review'
  WHEN 'review' THEN NEW.state = 'sent' OR NEW.state = 'queued' OR NEW.state = 'cancelled'
  WHEN 'failed' THEN NEW.state = 'queued'
  WHEN 'cancelled' THEN NEW.state = 'queued'
  WHEN 'expired' THEN NEW.state = 'queued'
  WHEN 'rejected' THEN NEW.state = 'queued'
  ELSE 0 END
BEGIN
  SELECT RAISE(ABORT, 'outboxd: a message cannot make this change of state; docs/lifecycle.md shows those it can');
END;

-- A message whose text is gone is never sent again.
CREATE TRIGGER messages_pruned BEFORE UPDATE OF state ON messages
WHEN OLD.pruned_at IS NOT NULL AND NEW.state <> OLD.state
BEGIN
  SELECT RAISE(ABORT, 'outboxd: the text of the message was removed, so its state no longer changes; INSERT a new message instead');
END;
-- One statement can end several steps of a person: the first of them cancels the others before it comes to those, and they
-- stay cancelled.
CREATE TRIGGER messages_step_ended_before BEFORE UPDATE OF state ON messages
WHEN OLD.state = 'cancelled' AND OLD.reason = 'step_stopped' AND NEW.state IN ('failed', 'expired')
BEGIN
  SELECT RAISE(IGNORE);
END;

CREATE TRIGGER messages_moved AFTER UPDATE OF state ON messages WHEN NEW.state <> OLD.state
BEGIN
  INSERT INTO events (at, kind, account_id, message_id, reason, detail)
  VALUES (NEW.updated_at, 'message.' || NEW.state, NEW.account_id, NEW.id, NEW.reason, NEW.error);
  INSERT INTO counts (account_id, state, n)
  SELECT NEW.account_id, NEW.state, 0
   WHERE NOT EXISTS (SELECT 1 FROM counts c WHERE c.account_id = NEW.account_id AND c.state = NEW.state);
  UPDATE counts SET n = n + 1 WHERE account_id = NEW.account_id AND state = NEW.state;
  UPDATE counts SET n = n - 1 WHERE account_id = NEW.account_id AND state = OLD.state;
END;

-- A message with a reason of its own is counted by it.
CREATE TRIGGER messages_reason_inserted AFTER INSERT ON messages
WHEN (NEW.state = 'queued' OR NEW.state = 'uncertain' OR NEW.state = 'review') AND NEW.reason <> 'turn'
     AND NEW.reason <> 'scheduled' AND NEW.reason <> 'admission'
BEGIN
  INSERT INTO waiting_reasons (reason, n)
  SELECT NEW.reason, 0 WHERE NOT EXISTS (SELECT 1 FROM waiting_reasons r WHERE r.reason = NEW.reason);
  UPDATE waiting_reasons SET n = n + 1 WHERE reason = NEW.reason;
END;
CREATE TRIGGER messages_reason_begins AFTER UPDATE OF state, reason ON messages
WHEN (NEW.state = 'queued' OR NEW.state = 'uncertain' OR NEW.state = 'review') AND NEW.reason <> 'turn'
     AND NEW.reason <> 'scheduled' AND NEW.reason <> 'admission'
BEGIN
  INSERT INTO waiting_reasons (reason, n)
  SELECT NEW.reason, 0 WHERE NOT EXISTS (SELECT 1 FROM waiting_reasons r WHERE r.reason = NEW.reason);
  UPDATE waiting_reasons SET n = n + 1 WHERE reason = NEW.reason;
END;
CREATE TRIGGER messages_reason_ends AFTER UPDATE OF state, reason ON messages
WHEN (OLD.state = 'queued' OR OLD.state = 'uncertain' OR OLD.state = 'review') AND OLD.reason <> 'turn'
     AND OLD.reason <> 'scheduled' AND OLD.reason <> 'admission'
BEGIN
  UPDATE waiting_reasons SET n = n - 1 WHERE reason = OLD.reason;
END;

-- Changes of a message that keep its state.
CREATE TRIGGER messages_deferred AFTER UPDATE OF retry_at ON messages
WHEN NEW.state = 'queued' AND OLD.state = 'queued' AND NEW.retry_at IS NOT NULL AND NEW.reason <> OLD.reason
BEGIN
  INSERT INTO events (at, kind, account_id, message_id, reason, detail)
  VALUES (NEW.updated_at, 'message.deferred', NEW.account_id, NEW.id, NEW.reason, NEW.retry_at);
END;
CREATE TRIGGER messages_delivered AFTER UPDATE OF delivered_at ON messages
WHEN OLD.delivered_at IS NULL AND NEW.delivered_at IS NOT NULL
BEGIN
  INSERT INTO events (at, kind, account_id, message_id, reason, detail)
  VALUES (NEW.updated_at, 'message.delivered', NEW.account_id, NEW.id, NEW.reason, NEW.delivered_at);
END;
CREATE TRIGGER messages_read AFTER UPDATE OF read_at ON messages WHEN OLD.read_at IS NULL AND NEW.read_at IS NOT NULL
BEGIN
  INSERT INTO events (at, kind, account_id, message_id, reason, detail)
  VALUES (NEW.updated_at, 'message.read', NEW.account_id, NEW.id, NEW.reason, NEW.read_at);
END;
CREATE TRIGGER messages_replied AFTER UPDATE OF replied_at ON messages
WHEN OLD.replied_at IS NULL AND NEW.replied_at IS NOT NULL
BEGIN
  INSERT INTO events (at, kind, account_id, message_id, reason, detail)
  VALUES (NEW.updated_at, 'message.replied', NEW.account_id, NEW.id, NEW.reason, NEW.replied_at);
END;

-- A message that is moved to another account is counted there.
CREATE TRIGGER messages_changed_account AFTER UPDATE OF account_id ON messages WHEN NEW.account_id <> OLD.account_id
BEGIN
  INSERT INTO events (at, kind, account_id, message_id, reason, detail)
  VALUES (NEW.updated_at, 'message.moved', NEW.account_id, NEW.id, NEW.reason, OLD.account_id);
  INSERT INTO counts (account_id, state, n)
  SELECT NEW.account_id, NEW.state, 0
   WHERE NOT EXISTS (SELECT 1 FROM counts c WHERE c.account_id = NEW.account_id AND c.state = NEW.state);
  UPDATE counts SET n = n + 1 WHERE account_id = NEW.account_id AND state = NEW.state;
  UPDATE counts SET n = n - 1 WHERE account_id = OLD.account_id AND state = OLD.state;
END;

-- The message that blocks each queued message: the step before it until its own wait is computed, an unsettled message of
-- its thread, or an earlier one that is retried.
CREATE VIEW blockers (seq, blocked_by) AS
SELECT m.seq, coalesce(
         CASE WHEN m.step > 1 AND m.wait_until IS NULL THEN
           (SELECT p.seq FROM messages p INDEXED BY messages_steps WHERE p.campaign = m.campaign AND p.step_key = m.step_key
               AND p.step = m.step - 1 AND p.state <> 'rejected') END,
         (SELECT min(u.seq) FROM messages u WHERE u.account_id = m.account_id AND u.thread = m.thread
             AND u.state IN ('sending', 'uncertain', 'review') AND u.state <> 'sending'),
         (SELECT min(r.seq) FROM messages r WHERE r.account_id = m.account_id AND r.thread = m.thread
             AND r.state = 'queued' AND r.retry_at IS NOT NULL AND (r.due_at, r.seq) < (m.due_at, m.seq)
             AND NOT (coalesce(r.step, 1) > 1 AND r.wait_until IS NULL)))
  FROM messages m;

-- Order in a thread. An unsettled message blocks every queued message of its thread; a retried one blocks those that
-- come after it, but not while it waits for the step before it, which may be one of them. `blocked_by` is the only record of this: the engine and `explain` both read it.
CREATE TRIGGER messages_blocks AFTER UPDATE OF state, retry_at, wait_until ON messages
WHEN (NEW.state IN ('uncertain', 'review') AND OLD.state NOT IN ('uncertain', 'review'))
  OR (NEW.state = 'queued' AND NEW.retry_at IS NOT NULL AND NOT (coalesce(NEW.step, 1) > 1 AND NEW.wait_until IS NULL)
      AND (OLD.retry_at IS NULL OR OLD.state <> 'queued' OR (coalesce(NEW.step, 1) > 1 AND OLD.wait_until IS NULL)))
BEGIN
  UPDATE messages SET blocked_by = NEW.seq
   WHERE account_id = NEW.account_id AND thread = NEW.thread AND state = 'queued' AND blocked_by IS NULL
     AND seq <> NEW.seq AND (NEW.state <> 'queued' OR (due_at, seq) > (NEW.due_at, NEW.seq));
END;

CREATE TRIGGER messages_unblocks AFTER UPDATE OF state, retry_at ON messages
WHEN NEW.state NOT IN ('sending', 'uncertain', 'review') AND (NEW.state <> 'queued' OR NEW.retry_at IS NULL)
BEGIN
  UPDATE messages SET blocked_by = (SELECT b.blocked_by FROM blockers b WHERE b.seq = messages.seq)
   WHERE blocked_by = NEW.seq AND state = 'queued';
END;

CREATE TRIGGER messages_joins AFTER UPDATE OF state ON messages WHEN NEW.state = 'queued' AND OLD.state <> 'queued'
BEGIN
  UPDATE messages SET blocked_by = (SELECT b.blocked_by FROM blockers b WHERE b.seq = NEW.seq)
   WHERE seq = NEW.seq AND (NEW.step > 1
     OR EXISTS (SELECT 1 FROM messages u WHERE u.account_id = NEW.account_id AND u.thread = NEW.thread
               AND u.state IN ('sending', 'uncertain', 'review') AND u.state <> 'sending')
     OR EXISTS (SELECT 1 FROM messages r WHERE r.account_id = NEW.account_id AND r.thread = NEW.thread
                  AND r.state = 'queued' AND r.retry_at IS NOT NULL));
END;

-- A step that was sent starts the wait of the next one; a step that will not be sent ends those after it, also those
-- that wait for a person: they were never called.
CREATE TRIGGER messages_step_sent AFTER UPDATE OF state ON messages
WHEN NEW.step IS NOT NULL AND NEW.state = 'sent' AND OLD.state <> 'sent'
BEGIN
  UPDATE messages SET revision = revision + 1, step_sent_at = NEW.sent_at
   WHERE campaign = NEW.campaign AND step_key = NEW.step_key AND step = NEW.step + 1 AND state <> 'rejected'
     AND state = 'queued' AND step_key IS NOT NULL;
END;

CREATE TRIGGER messages_step_inserted AFTER INSERT ON messages WHEN NEW.state = 'queued' AND NEW.step > 1
BEGIN
  UPDATE messages SET revision = revision + 1, step_sent_at =
         (SELECT p.sent_at FROM messages p INDEXED BY messages_steps WHERE p.campaign = NEW.campaign
             AND p.step_key = NEW.step_key AND p.step = NEW.step - 1 AND p.state <> 'rejected' AND p.state = 'sent')
   WHERE seq = NEW.seq;
END;

CREATE TRIGGER messages_step_queued AFTER UPDATE OF state ON messages
WHEN NEW.state = 'queued' AND OLD.state <> 'queued' AND NEW.step > 1 AND NEW.step_sent_at IS NULL
BEGIN
  UPDATE messages SET revision = revision + 1, step_sent_at =
         (SELECT p.sent_at FROM messages p INDEXED BY messages_steps WHERE p.campaign = NEW.campaign
             AND p.step_key = NEW.step_key AND p.step = NEW.step - 1 AND p.state <> 'rejected' AND p.state = 'sent')
   WHERE seq = NEW.seq;
END;

CREATE TRIGGER messages_step_ended AFTER UPDATE OF state ON messages
WHEN NEW.step IS NOT NULL AND NEW.state IN ('failed', 'cancelled', 'expired') AND OLD.state <> NEW.state
BEGIN
  UPDATE messages SET revision = revision + 1, state = 'cancelled', updated_at = NEW.updated_at,
         reason = CASE WHEN NEW.reason IN ('replied', 'suppressed', 'step_stopped') THEN NEW.reason ELSE 'step_stopped' END
   WHERE campaign = NEW.campaign AND step_key = NEW.step_key AND step > NEW.step AND state <> 'rejected'
     AND state IN ('queued', 'review') AND step_key IS NOT NULL;
END;

CREATE TRIGGER messages_leaves AFTER UPDATE OF state ON messages WHEN NEW.state <> 'queued' AND OLD.blocked_by IS NOT NULL
BEGIN
  UPDATE messages SET blocked_by = NULL WHERE seq = NEW.seq;
END;

-- The answer to a first message names the chat with its user.
CREATE TRIGGER messages_sent AFTER UPDATE OF state ON messages
WHEN NEW.state = 'sent' AND OLD.state <> 'sent' AND NEW.users_ids IS NOT NULL AND NEW.chat_id IS NOT NULL
  AND substr(NEW.thread, 1, 5) = 'user:'
BEGIN
  INSERT INTO conversations (account_id, chat_id, user_id, source, at)
  SELECT NEW.account_id, NEW.chat_id, substr(NEW.thread, 6), 'send', NEW.updated_at
   WHERE NOT EXISTS (SELECT 1 FROM conversations c WHERE c.account_id = NEW.account_id AND c.chat_id = NEW.chat_id);
END;

-- Keeps `chat_reads`: a chat is polled while a message of its thread is queued. The daemon sets `waits` to 0 when it
-- finds none.
CREATE TRIGGER messages_sent_chat AFTER UPDATE OF state ON messages
WHEN NEW.state = 'sent' AND OLD.state <> 'sent' AND NEW.chat_id IS NOT NULL
BEGIN
  INSERT INTO chat_reads (account_id, chat_id, sent_at, read_at, tried_at, waits)
  VALUES (NEW.account_id, NEW.chat_id, NEW.sent_at, NEW.sent_at, NEW.sent_at,
    EXISTS (SELECT 1 FROM messages q WHERE q.thread = NEW.thread AND q.account_id = NEW.account_id AND q.state = 'queued'))
  ON CONFLICT (account_id, chat_id) DO UPDATE SET sent_at = max(sent_at, excluded.sent_at), waits = excluded.waits;
END;
CREATE TRIGGER messages_queued_for_chat AFTER INSERT ON messages WHEN NEW.state = 'queued'
BEGIN
  UPDATE chat_reads SET waits = 1
   WHERE account_id = NEW.account_id AND waits = 0 AND chat_id IN (SELECT substr(NEW.thread, 6) UNION ALL
     SELECT c.chat_id FROM conversations c WHERE c.account_id = NEW.account_id AND c.user_id = substr(NEW.thread, 6));
END;
CREATE TRIGGER messages_admitted_for_chat AFTER UPDATE OF state ON messages
WHEN NEW.state = 'queued' AND OLD.state <> 'queued'
BEGIN
  UPDATE chat_reads SET waits = 1
   WHERE account_id = NEW.account_id AND waits = 0 AND chat_id IN (SELECT substr(NEW.thread, 6) UNION ALL
     SELECT c.chat_id FROM conversations c WHERE c.account_id = NEW.account_id AND c.user_id = substr(NEW.thread, 6));
END;

CREATE TRIGGER messages_sent_ids AFTER UPDATE OF state ON messages
WHEN NEW.state = 'sent' AND OLD.state <> 'sent' AND json_valid(NEW.provider_message_ids)
BEGIN
  INSERT INTO sent_ids (account_id, message_id, seq)
  SELECT NEW.account_id, j.value, NEW.seq FROM json_each(NEW.provider_message_ids) j
   WHERE NOT EXISTS (SELECT 1 FROM sent_ids i WHERE i.account_id = NEW.account_id AND i.message_id = j.value);
END;

-- From now on the messages into the chat belong to the thread of its user, those already queued included.
CREATE TRIGGER conversations_learned AFTER INSERT ON conversations
BEGIN
  UPDATE messages SET revision = revision + 1, thread = 'user:' || NEW.user_id
   WHERE thread = 'chat:' || NEW.chat_id AND account_id = NEW.account_id;
  UPDATE messages SET blocked_by = (SELECT b.blocked_by FROM blockers b WHERE b.seq = messages.seq)
   WHERE account_id = NEW.account_id AND thread = 'user:' || NEW.user_id AND state = 'queued'
     AND blocked_by IS NOT (SELECT b.blocked_by FROM blockers b WHERE b.seq = messages.seq);
END;

-- Keeps `lanes` in step with the ready messages. Triggers run in any order, so each reads the rows as they are, not
-- OLD and NEW.
CREATE TRIGGER messages_ready AFTER UPDATE OF state, retry_at, blocked_by ON messages
WHEN NEW.state = 'queued' AND NEW.retry_at IS NULL AND NEW.blocked_by IS NULL
  AND (OLD.state <> 'queued' OR OLD.retry_at IS NOT NULL OR OLD.blocked_by IS NOT NULL)
BEGIN
  INSERT INTO lanes (account_id, campaign, class, finish, due_at, seq)
  SELECT m.account_id, substr(m.lane, 11), substr(m.lane, 1, 9),
         coalesce((SELECT t.finish FROM fair_shares t WHERE t.account_id = m.account_id AND t.campaign = substr(m.lane, 11)), 0),
         m.due_at, m.seq
    FROM messages m WHERE m.seq = NEW.seq AND m.state = 'queued' AND m.retry_at IS NULL AND m.blocked_by IS NULL
  ON CONFLICT (account_id, campaign, class) DO UPDATE SET due_at = excluded.due_at, seq = excluded.seq
   WHERE (excluded.due_at, excluded.seq) < (lanes.due_at, lanes.seq);
END;

CREATE TRIGGER messages_unready AFTER UPDATE OF state, retry_at, blocked_by ON messages
WHEN OLD.state = 'queued' AND OLD.retry_at IS NULL AND OLD.blocked_by IS NULL
  AND (NEW.state <> 'queued' OR NEW.retry_at IS NOT NULL OR NEW.blocked_by IS NOT NULL)
BEGIN
  UPDATE lanes SET due_at = n.due_at, seq = n.seq
    FROM (SELECT m.due_at, m.seq FROM messages m WHERE m.account_id = OLD.account_id AND m.lane = OLD.lane
             AND m.state = 'queued' AND m.retry_at IS NULL AND m.blocked_by IS NULL
           ORDER BY m.due_at, m.seq LIMIT 1) AS n
   WHERE lanes.account_id = OLD.account_id AND lanes.campaign = substr(OLD.lane, 11)
     AND lanes.class = substr(OLD.lane, 1, 9) AND lanes.seq = OLD.seq;
  DELETE FROM lanes
   WHERE account_id = OLD.account_id AND campaign = substr(OLD.lane, 11) AND class = substr(OLD.lane, 1, 9)
     AND seq = OLD.seq
     AND NOT EXISTS (SELECT 1 FROM messages m WHERE m.seq = OLD.seq AND m.state = 'queued' AND m.retry_at IS NULL
                       AND m.blocked_by IS NULL);
END;

CREATE TRIGGER messages_queued AFTER INSERT ON messages WHEN NEW.state = 'queued'
BEGIN
  UPDATE messages SET blocked_by = (SELECT b.blocked_by FROM blockers b WHERE b.seq = NEW.seq)
   WHERE seq = NEW.seq AND (NEW.step > 1
     OR EXISTS (SELECT 1 FROM messages u WHERE u.account_id = NEW.account_id AND u.thread = NEW.thread
               AND u.state IN ('sending', 'uncertain', 'review') AND u.state <> 'sending')
     OR EXISTS (SELECT 1 FROM messages r WHERE r.account_id = NEW.account_id AND r.thread = NEW.thread
                  AND r.state = 'queued' AND r.retry_at IS NOT NULL));
  INSERT INTO lanes (account_id, campaign, class, finish, due_at, seq)
  SELECT m.account_id, substr(m.lane, 11), substr(m.lane, 1, 9),
         coalesce((SELECT t.finish FROM fair_shares t WHERE t.account_id = m.account_id AND t.campaign = substr(m.lane, 11)), 0),
         m.due_at, m.seq
    FROM messages m WHERE m.seq = NEW.seq AND m.retry_at IS NULL AND m.blocked_by IS NULL
  ON CONFLICT (account_id, campaign, class) DO UPDATE SET due_at = excluded.due_at, seq = excluded.seq
   WHERE (excluded.due_at, excluded.seq) < (lanes.due_at, lanes.seq);
END;

-- Keeps `lanes.finish` in step with `fair_shares`.
CREATE TRIGGER fair_shares_begun AFTER INSERT ON fair_shares
BEGIN
  UPDATE lanes SET finish = NEW.finish WHERE account_id = NEW.account_id AND campaign = NEW.campaign;
END;
CREATE TRIGGER fair_shares_moved AFTER UPDATE OF finish ON fair_shares
BEGIN
  UPDATE lanes SET finish = NEW.finish WHERE account_id = NEW.account_id AND campaign = NEW.campaign;
END;
CREATE TRIGGER fair_shares_forgotten AFTER DELETE ON fair_shares
BEGIN
  UPDATE lanes SET finish = 0 WHERE account_id = OLD.account_id AND campaign = OLD.campaign;
END;

-- Only the daemon changes messages: an UPDATE by another program would race the sender, or skip the checks of the
-- INSERT. (The triggers above maintain `blocked_by`.)
CREATE TRIGGER messages_update BEFORE UPDATE OF seq, id, account_id, chat_id, users_ids, inbox_id, "group", name, specifics,
  options, quote_id, attachments, forward, text, typing, not_before, expires_at, campaign, priority, urgent, ignore_hours,
  allow_repeat, allow_placeholders, stop_on_reply, needs, step, wait, meta, dedupe_key, state, reason, error, due_at, retry_at, reconcile_at, reads, resends, settled_by, route,
  thread, lane, step_key, step_sent_at, wait_until, wait_held_at, attempts, retries, sent_at, delivered_at, read_at, replied_at, provider_message_ids, created_at, updated_at, run, held_at, edits, text_hash, pruned_at, revision ON messages
WHEN NEW.revision IS NOT OLD.revision + 1
BEGIN
  SELECT RAISE(ABORT, 'outboxd: messages are changed by the daemon alone; use outboxd edit <id>, or outboxd cancel, move, priority, hold, release or retry, or INSERT INTO message_commands (docs/sql.md)');
END;

-- Messages are never deleted; `outboxd cancel` cancels one.
CREATE TRIGGER messages_delete BEFORE DELETE ON messages
BEGIN
  SELECT RAISE(ABORT, 'outboxd: messages are not deleted; cancel them with: outboxd cancel <id>, or INSERT INTO message_commands (message_id, command) VALUES (<id>, ''cancel'')');
END;

-- What other programs ask the daemon to do with messages, because an UPDATE of `messages` would race the sender: any
-- program may INSERT here (docs/sql.md). The daemon carries out each row once, in the order of `id`, and writes
-- `done_at` with `answer`, or with `error`.
CREATE TABLE message_commands (
  id          INTEGER PRIMARY KEY,
  message_id  TEXT NOT NULL,          -- messages.id
  command     TEXT NOT NULL,          -- cancel, edit, move, priority, hold, release or retry
  text        TEXT,                   -- edit: the new text
  allow_placeholders INTEGER,         -- edit: 1: the text may contain what looks like a placeholder
  priority    INTEGER,                -- edit, priority: -100 to 100
  not_before  TEXT,                   -- edit: not before this time; '' removes it
  expires_at  TEXT,                   -- edit: not from this time on; '' removes it
  campaign    TEXT,                   -- edit: the new label; '' removes it
  account_id  TEXT,                   -- move, edit: the account that sends it instead
  note        TEXT,                   -- why; the event of the change records it
  at          TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
  -- Columns that the daemon writes.
  done_at     TEXT,                   -- when it was carried out or refused
  answer      TEXT,                   -- what was done
  error       TEXT                    -- why it was refused
) STRICT;
CREATE INDEX message_commands_waiting ON message_commands (id) WHERE done_at IS NULL;

-- Refuses a command that is plainly wrong, in words, at the INSERT.
CREATE TRIGGER message_commands_insert BEFORE INSERT ON message_commands
BEGIN
  SELECT RAISE(ABORT, 'outboxd: done_at, answer and error belong to the daemon; leave them out')
   WHERE NEW.done_at IS NOT NULL OR NEW.answer IS NOT NULL OR NEW.error IS NOT NULL;
  SELECT RAISE(ABORT, 'outboxd: command is not one of cancel, edit, move, priority, hold, release and retry')
   WHERE NEW.command IS NULL OR NEW.command NOT IN ('cancel', 'edit', 'move', 'priority', 'hold', 'release', 'retry');
  SELECT RAISE(ABORT, 'outboxd: message_id names no message; give the id of a row of messages')
   WHERE NOT EXISTS (SELECT 1 FROM messages m WHERE m.id = NEW.message_id);
  SELECT RAISE(ABORT, 'outboxd: the message is sent and cannot be changed; INSERT a new message instead')
   WHERE EXISTS (SELECT 1 FROM messages m WHERE m.id = NEW.message_id AND m.state = 'sent');
  SELECT RAISE(ABORT, 'outboxd: edit changes nothing; set text, priority, not_before, expires_at, campaign or account_id')
   WHERE NEW.command = 'edit' AND coalesce(NEW.text, NEW.priority, NEW.not_before, NEW.expires_at, NEW.campaign, NEW.account_id) IS NULL;
  SELECT RAISE(ABORT, 'outboxd: text, not_before, expires_at, campaign and allow_placeholders go with the command edit; leave them out')
   WHERE NEW.command <> 'edit' AND coalesce(NEW.text, NEW.not_before, NEW.expires_at, NEW.campaign, NEW.allow_placeholders) IS NOT NULL;
  SELECT RAISE(ABORT, 'outboxd: priority is missing; give a whole number from -100 to 100')
   WHERE NEW.command = 'priority' AND NEW.priority IS NULL;
  SELECT RAISE(ABORT, 'outboxd: priority goes with the commands priority and edit; leave it out')
   WHERE NEW.command NOT IN ('priority', 'edit') AND NEW.priority IS NOT NULL;
  SELECT RAISE(ABORT, 'outboxd: priority is not a whole number from -100 to 100')
   WHERE NEW.priority NOT BETWEEN -100 AND 100;
  SELECT RAISE(ABORT, 'outboxd: account_id is missing; name the account that sends the message instead, acc_...')
   WHERE NEW.command = 'move' AND NEW.account_id IS NULL;
  SELECT RAISE(ABORT, 'outboxd: account_id goes with the commands move and edit; leave it out')
   WHERE NEW.command NOT IN ('move', 'edit') AND NEW.account_id IS NOT NULL;
  SELECT RAISE(ABORT, 'outboxd: account_id does not begin with acc_; name the Unipile account that sends')
   WHERE NEW.account_id NOT GLOB 'acc_*';
  SELECT RAISE(ABORT, 'outboxd: text is empty; give the text to send')
   WHERE NEW.text <> '' AND trim(NEW.text, ' ' || char(9) || char(10) || char(13)) = '';
  SELECT RAISE(ABORT, 'outboxd: allow_placeholders is neither 0 nor 1')
   WHERE NEW.allow_placeholders NOT IN (0, 1);
  SELECT RAISE(ABORT, 'outboxd: not_before is not a time; write UTC with milliseconds, or '''' to remove it')
   WHERE NEW.not_before <> '' AND strftime('%Y-%m-%dT%H:%M:%fZ', NEW.not_before) IS NOT NEW.not_before;
  SELECT RAISE(ABORT, 'outboxd: expires_at is not a time; write UTC with milliseconds, or '''' to remove it')
   WHERE NEW.expires_at <> '' AND strftime('%Y-%m-%dT%H:%M:%fZ', NEW.expires_at) IS NOT NEW.expires_at;
END;

-- A command is carried out once and keeps its answer; only one that still waits can be taken back.
CREATE TRIGGER message_commands_update BEFORE UPDATE ON message_commands
WHEN OLD.done_at IS NOT NULL OR NEW.done_at IS NULL
  OR (NEW.id, NEW.message_id, NEW.command, NEW.text, NEW.allow_placeholders, NEW.priority, NEW.not_before, NEW.expires_at,
      NEW.campaign, NEW.account_id, NEW.note, NEW.at)
  IS NOT (OLD.id, OLD.message_id, OLD.command, OLD.text, OLD.allow_placeholders, OLD.priority, OLD.not_before, OLD.expires_at,
      OLD.campaign, OLD.account_id, OLD.note, OLD.at)
BEGIN
  SELECT RAISE(ABORT, 'outboxd: a command is not changed; DELETE it while done_at is NULL, and INSERT another one');
END;
