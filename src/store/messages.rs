//! Intake through the socket, and the ways out that need no attempt: cancelling and expiry. What other programs
//! INSERT is admitted by `admission.rs`. Each batch is one statement, fed with one JSON document, however many rows
//! it has.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;
use serde_json::{Value, json};
use sqlx::{Row, SqliteConnection};
use uuid::Uuid;

use super::repeats::{self, Repeated, Sought};
use super::rows::{self, Result};
use super::{Store, blobs};
use crate::domain::attachment::Blob;
use crate::domain::message::{AccountId, Inbox, MessageId, NewMessage, Target, UserId};
use crate::domain::reason::Reason;
use crate::domain::time_text;

/// What to do with the good rows of a batch that has bad ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnqueueMode {
    /// Each row stands alone.
    Each,
    /// All or none.
    All,
}

/// What became of one row of an enqueue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enqueued {
    /// Stored, under this id.
    Accepted(MessageId),
    /// The same message is stored already: its `dedupe_key` and all it says are equal.
    Duplicate(MessageId),
    /// Its `dedupe_key` belongs to a message that says something else.
    Conflict(MessageId),
    /// This message says the same to the same person: not stored.
    Repeat(MessageId),
    /// Not stored, because another row of an all-or-none batch conflicts.
    Refused,
}

impl Store {
    /// Stores messages durably; one verdict for each, in their order.
    ///
    /// # Errors
    /// What SQLite says; then none of them is stored.
    pub async fn enqueue(
        &self,
        messages: Vec<NewMessage>,
        mode: EnqueueMode,
        now: Timestamp,
    ) -> Result<Vec<Enqueued>> {
        self.enqueue_with(messages, Vec::new(), mode, now).await
    }

    /// The same with the bytes of their attachments; those of messages that are not accepted are not kept.
    ///
    /// # Errors
    /// What SQLite says; then none of them is stored.
    pub async fn enqueue_with(
        &self,
        messages: Vec<NewMessage>,
        blobs: Vec<Blob>,
        mode: EnqueueMode,
        now: Timestamp,
    ) -> Result<Vec<Enqueued>> {
        self.inner.writer.enqueue(EnqueueBatch::new(messages, blobs, mode, now)).await
    }
}

pub(super) fn due_at(message: &NewMessage, arrived_at: Timestamp) -> Timestamp {
    message.not_before.map_or(arrived_at, |not_before| not_before.max(arrived_at))
}

/// The accounts that have a row: nearly always all, so that enqueueing need not look.
#[derive(Default)]
pub(super) struct KnownAccounts {
    kept: HashSet<AccountId>,
    new: HashSet<AccountId>,
}

impl KnownAccounts {
    pub(super) async fn load(connection: &mut SqliteConnection) -> Result<Self> {
        let ids: Vec<String> = sqlx::query_scalar("SELECT id FROM accounts").fetch_all(connection).await?;
        Ok(Self { kept: ids.into_iter().map(AccountId::new).collect(), new: HashSet::new() })
    }

    pub(super) fn contains(&self, id: &AccountId) -> bool {
        self.kept.contains(id)
    }

    pub(super) fn keep_new(&mut self) {
        self.kept.extend(self.new.drain());
    }

    pub(super) fn forget_new(&mut self) {
        self.new.clear();
    }

    /// Those of `ids` that have no row yet.
    pub(super) fn missing<'a>(&self, ids: impl Iterator<Item = &'a AccountId>) -> Vec<AccountId> {
        let missing: HashSet<&AccountId> = ids.filter(|id| !self.kept.contains(*id)).collect();
        missing.into_iter().cloned().collect()
    }

    /// Makes rows for those that have none.
    pub(super) async fn make(
        &mut self,
        connection: &mut SqliteConnection,
        missing: Vec<AccountId>,
        now: Timestamp,
    ) -> Result<()> {
        const SQL: &str = "INSERT INTO accounts (id, created_at) SELECT value, ?2 FROM json_each(?1) WHERE true \
             ON CONFLICT (id) DO NOTHING";
        if missing.is_empty() {
            return Ok(());
        }
        let list: Vec<&str> = missing.iter().map(AccountId::as_str).collect();
        sqlx::query(SQL).bind(json!(list).to_string()).bind(time_text(now)).execute(connection).await?;
        self.new.extend(missing);
        Ok(())
    }
}

/// Messages that are stored together, with the ids they will have.
pub(super) struct EnqueueBatch {
    rows: Vec<(MessageId, NewMessage)>,
    blobs: Vec<Blob>,
    mode: EnqueueMode,
    now: Timestamp,
}

impl EnqueueBatch {
    fn new(messages: Vec<NewMessage>, blobs: Vec<Blob>, mode: EnqueueMode, now: Timestamp) -> Self {
        let seconds = u64::try_from(now.as_second()).unwrap_or(0);
        let nanos = u32::try_from(now.subsec_nanosecond()).unwrap_or(0);
        let id = || MessageId(Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, seconds, nanos)));
        Self { rows: messages.into_iter().map(|message| (id(), message)).collect(), blobs, mode, now }
    }

    pub(super) fn rows(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn now(&self) -> Timestamp {
        self.now
    }

    fn is_atomic(&self) -> bool {
        self.mode == EnqueueMode::All
    }

    /// Whether it needs a transaction of its own: refusing all of it must not take others down, and many files at
    /// once would make a long one.
    pub(super) fn is_alone(&self) -> bool {
        self.is_atomic() || !self.blobs.is_empty()
    }

    /// Stores the bytes that the accepted messages carry.
    async fn store_blobs(&self, connection: &mut SqliteConnection, verdicts: &[Enqueued]) -> Result<()> {
        let accepted = |verdict: &Enqueued| matches!(verdict, Enqueued::Accepted(_));
        let rows = self.rows.iter().zip(verdicts).filter(|(_, verdict)| accepted(verdict));
        let files = rows.flat_map(|((_, message), _)| &message.extras.attachments);
        let carried: HashSet<&str> = files.map(|file| file.sha256.as_str()).collect();
        for blob in self.blobs.iter().filter(|blob| carried.contains(blob.sha256.as_str())) {
            blobs::put(connection, blob).await?;
        }
        Ok(())
    }

    fn as_json(&self, repeats: &HashMap<MessageId, MessageId>) -> Vec<Value> {
        let rows = self.rows.iter().filter(|(id, _)| !repeats.contains_key(id));
        rows.map(|(id, message)| as_json(*id, message, self.now)).collect()
    }

    pub(super) fn is_one_statement(&self, known: &KnownAccounts) -> bool {
        !self.is_alone() && self.rows.iter().all(|(_, message)| known.contains(&message.account_id))
    }
}

pub(super) const ENQUEUE: &str = "INSERT INTO messages (id, account_id, chat_id, users_ids, inbox_id, text, typing, not_before, expires_at, \
       campaign, dedupe_key, state, reason, due_at, thread, created_at, updated_at, \"group\", name, specifics, \
       quote_id, forward, attachments, lane, priority, urgent, ignore_hours, allow_repeat, run) \
     SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7, \
       value ->> 8, value ->> 9, value ->> 10, 'queued', value ->> 11, value ->> 12, value ->> 13, value ->> 14, \
       value ->> 14, value ->> 15, value ->> 16, value ->> 17, value ->> 18, value ->> 19, value ->> 20, \
       value ->> 21, value ->> 22, value ->> 23, value ->> 24, value ->> 25, ?2 \
     FROM jsonb_each(?1) WHERE true \
     ON CONFLICT (dedupe_key) WHERE dedupe_key IS NOT NULL DO NOTHING";

fn as_json(id: MessageId, message: &NewMessage, now: Timestamp) -> Value {
    let (chat_id, users_ids, inbox, forward) = match &message.target {
        Target::Chat(chat_id) => (Some(chat_id.as_str()), None, None, None),
        Target::User { user_id, inbox } => (None, Some(json!([user_id.as_str()])), Some(inbox), None),
        Target::Group { users_ids, inbox } => {
            let ids: Vec<&str> = users_ids.iter().map(UserId::as_str).collect();
            (None, Some(json!(ids)), Some(inbox), None)
        }
        Target::Forward { source_chat_id, source_message_id, chat_id } => {
            let source = json!({ "chat_id": source_chat_id.as_str(), "message_id": source_message_id });
            (Some(chat_id.as_str()), None, None, Some(source))
        }
    };
    let inbox_id = match inbox {
        None | Some(Inbox::OfPolicy) => None,
        Some(Inbox::Without) => Some(""),
        Some(Inbox::Named(id)) => Some(id.as_str()),
    };
    let due_at = due_at(message, now);
    let reason = if due_at > now { Reason::Scheduled } else { Reason::Turn };
    json!([
        id.0.hyphenated().to_string(),
        message.account_id.as_str(),
        chat_id,
        users_ids.map(|ids| ids.to_string()),
        inbox_id,
        message.text,
        message.typing.map(i32::from),
        message.not_before.map(time_text),
        message.expires_at.map(time_text),
        message.campaign,
        message.dedupe_key,
        reason.as_str(),
        time_text(due_at),
        message.target.thread(),
        time_text(now),
        matches!(message.target, Target::Group { .. }).then_some(1),
        message.extras.name,
        message.extras.specifics.as_ref().map(|specifics| specifics.tree().to_string()),
        message.extras.quote_id,
        forward.map(|source| source.to_string()),
        blobs::to_json(&message.extras.attachments).map(|files| files.to_string()),
        message.lane().text(),
        (message.precedence.priority != 0).then_some(message.precedence.priority),
        message.precedence.urgent.then_some(1),
        message.precedence.ignore_hours.then_some(1),
        message.precedence.allow_repeat.then_some(1),
    ])
}

/// Stores all batches with one statement; answers each.
pub(super) async fn enqueue(
    connection: &mut SqliteConnection,
    run: i64,
    known: &mut KnownAccounts,
    batches: &[&EnqueueBatch],
) -> Result<Vec<Vec<Enqueued>>> {
    let [first, ..] = batches else { return Ok(Vec::new()) };
    if first.is_atomic() {
        let refused = conflicts_of(connection, first).await?;
        if refused.iter().any(|verdict| matches!(verdict, Some(Enqueued::Conflict(_)))) {
            let verdicts = refused.into_iter().map(|verdict| verdict.unwrap_or(Enqueued::Refused));
            return Ok(vec![verdicts.collect()]);
        }
    }
    let repeats = repeats_of(connection, batches).await?;
    if first.is_atomic() && first.rows.iter().any(|(id, _)| repeats.contains_key(id)) {
        let verdict = |(id, _): &(MessageId, NewMessage)| {
            repeats.get(id).map_or(Enqueued::Refused, |existing| Enqueued::Repeat(*existing))
        };
        return Ok(vec![first.rows.iter().map(verdict).collect()]);
    }
    let accounts = batches.iter().flat_map(|batch| &batch.rows).map(|(_, message)| &message.account_id);
    let missing = known.missing(accounts);
    known.make(connection, missing, first.now).await?;
    let document: Vec<Value> = batches.iter().flat_map(|batch| batch.as_json(&repeats)).collect();
    let wanted = document.len();
    let document = Value::Array(document).to_string();
    let query = sqlx::query(ENQUEUE).bind(document).bind(run);
    let stored = query.execute(&mut *connection).await?.rows_affected();
    if usize::try_from(stored).is_ok_and(|stored| stored == wanted) {
        let verdicts: Vec<Vec<Enqueued>> = batches.iter().map(|batch| accepted(batch, &repeats)).collect();
        for (batch, verdicts) in batches.iter().zip(&verdicts) {
            batch.store_blobs(connection, verdicts).await?;
        }
        return Ok(verdicts);
    }
    let mut verdicts = Vec::with_capacity(batches.len());
    for batch in batches {
        let existing = conflicts_of(connection, batch).await?;
        let verdict = |(row, found): (&(MessageId, NewMessage), Option<Enqueued>)| match found {
            _ if repeats.contains_key(&row.0) => Enqueued::Repeat(repeats[&row.0]),
            Some(Enqueued::Duplicate(id) | Enqueued::Conflict(id)) if id == row.0 => Enqueued::Accepted(id),
            Some(found) => found,
            None => Enqueued::Accepted(row.0),
        };
        let of_batch: Vec<Enqueued> = batch.rows.iter().zip(existing).map(verdict).collect();
        batch.store_blobs(connection, &of_batch).await?;
        verdicts.push(of_batch);
    }
    Ok(verdicts)
}

fn accepted(batch: &EnqueueBatch, repeats: &HashMap<MessageId, MessageId>) -> Vec<Enqueued> {
    let verdict = |id: &MessageId| match repeats.get(id) {
        Some(existing) => Enqueued::Repeat(*existing),
        None => Enqueued::Accepted(*id),
    };
    batch.rows.iter().map(|(id, _)| verdict(id)).collect()
}

/// Which messages say to somebody what another one says, and which one that is.
async fn repeats_of(
    connection: &mut SqliteConnection,
    batches: &[&EnqueueBatch],
) -> Result<HashMap<MessageId, MessageId>> {
    let rows: Vec<&(MessageId, NewMessage)> = batches.iter().flat_map(|batch| &batch.rows).collect();
    let sought: Vec<_> = rows.iter().map(|(_, message)| Sought::of(message)).collect();
    let found = repeats::find(connection, &sought).await?;
    let existing = |repeated: Repeated| match repeated {
        Repeated::Stored(id) => id,
        Repeated::Beside(place) => rows[place].0,
    };
    Ok(found.into_iter().map(|(place, repeated)| (rows[place].0, existing(repeated))).collect())
}

/// For each row with a `dedupe_key`: whether the stored message of that key, or an earlier row of the batch, says
/// the same.
async fn conflicts_of(
    connection: &mut SqliteConnection,
    batch: &EnqueueBatch,
) -> Result<Vec<Option<Enqueued>>> {
    const SQL: &str = "SELECT m.dedupe_key, m.id, m.account_id, m.chat_id, m.users_ids, m.inbox_id, m.name, m.specifics, \
         m.options, m.quote_id, m.forward, m.attachments, m.text, m.typing, m.not_before, m.expires_at, m.campaign, \
         m.priority, m.urgent, m.ignore_hours, m.allow_repeat \
         FROM messages m WHERE m.dedupe_key IN (SELECT value FROM json_each(?1))";
    let keys: Vec<&str> =
        batch.rows.iter().filter_map(|(_, message)| message.dedupe_key.as_deref()).collect();
    if keys.is_empty() {
        return Ok(vec![None; batch.rows.len()]);
    }
    let mut known: HashMap<String, (MessageId, Option<NewMessage>)> = HashMap::new();
    for row in sqlx::query(SQL).bind(json!(keys).to_string()).fetch_all(connection).await? {
        let key: String = row.try_get("dedupe_key")?;
        // A row that was rejected may say nothing that can be read; then nothing equals it.
        let message = stored_message(&row, &key).ok();
        known.insert(key, (rows::message_id(&row, "id")?, message));
    }
    let mut verdicts = Vec::with_capacity(batch.rows.len());
    for (id, message) in &batch.rows {
        let verdict = match &message.dedupe_key {
            None => None,
            Some(key) => match known.get(key) {
                Some((existing, content)) if content.as_ref() == Some(message) => {
                    Some(Enqueued::Duplicate(*existing))
                }
                Some((existing, _)) => Some(Enqueued::Conflict(*existing)),
                None => {
                    known.insert(key.clone(), (*id, Some(message.clone())));
                    None
                }
            },
        };
        verdicts.push(verdict);
    }
    Ok(verdicts)
}

fn stored_message(row: &sqlx::sqlite::SqliteRow, key: &str) -> Result<NewMessage> {
    Ok(NewMessage {
        account_id: AccountId::new(row.try_get::<String, _>("account_id")?),
        target: rows::target(row)?,
        extras: rows::extras(row)?,
        text: row.try_get("text")?,
        typing: row.try_get("typing")?,
        not_before: rows::time(row, "not_before")?,
        expires_at: rows::time(row, "expires_at")?,
        campaign: row.try_get("campaign")?,
        precedence: rows::precedence(row)?,
        dedupe_key: Some(key.to_owned()),
    })
}
