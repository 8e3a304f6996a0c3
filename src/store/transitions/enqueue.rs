//! Intake through the socket: what may be stored, and the result for each row. `insert.rs` writes the messages;
//! `admission.rs` admits what other programs INSERT.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;
use serde_json::json;
use sqlx::{Row, SqliteConnection};

use super::batch::{BatchRow, EnqueueBatch, EnqueueMode, Enqueued};
use super::clear::Check;
use super::insert::{self, InsertedRow};
use super::repeats::{self, Repeat, Repeated, Sought};
use super::steps::{self, Known, StepsSoFar};
use super::suppressed::{self, Recipients};
use super::together::Together;
use crate::domain::attachment::Blob;
use crate::domain::message::{AccountId, MessageId, NewMessage, RepeatScope};
use crate::domain::time_text;
use crate::store::Store;
use crate::store::sqlite::rows::{self, Result};

impl Store {
    /// Stores messages durably. Returns one result per message, in their order.
    ///
    /// # Errors
    /// Returns an error if SQLite fails; no message is stored then.
    pub async fn enqueue(
        &self,
        messages: Vec<NewMessage>,
        mode: EnqueueMode,
        now: Timestamp,
    ) -> Result<Vec<Enqueued>> {
        self.enqueue_with(messages, Vec::new(), mode, now).await
    }

    /// Stores messages durably with the bytes of their attachments; the bytes of messages that are not accepted are
    /// discarded.
    ///
    /// # Errors
    /// Returns an error if SQLite fails; no message is stored then.
    pub async fn enqueue_with(
        &self,
        mut messages: Vec<NewMessage>,
        blobs: Vec<Blob>,
        mode: EnqueueMode,
        now: Timestamp,
    ) -> Result<Vec<Enqueued>> {
        self.address(&mut messages.iter_mut().collect::<Vec<_>>()).await?;
        let batch = EnqueueBatch::new(messages, blobs, mode, now, self.repeat_scope());
        self.inner.writer.enqueue(batch).await
    }
}

/// Creates rows for the accounts in `?1`, a JSON array, that have none.
pub(super) const MAKE_ACCOUNTS: &str = "INSERT INTO accounts (id, created_at) SELECT value, ?2 FROM json_each(?1) WHERE true \
     ON CONFLICT (id) DO NOTHING";

/// The accounts that have a row: nearly always all of them, so that enqueueing rarely needs a look-up.
#[derive(Default)]
pub(in crate::store) struct KnownAccounts {
    kept: HashSet<AccountId>,
    new: HashSet<AccountId>,
}

impl KnownAccounts {
    pub(in crate::store) async fn load(connection: &mut SqliteConnection) -> Result<Self> {
        let ids: Vec<String> = sqlx::query_scalar("SELECT id FROM accounts").fetch_all(connection).await?;
        Ok(Self { kept: ids.into_iter().map(AccountId::new).collect(), new: HashSet::new() })
    }

    pub(super) fn contains(&self, id: &AccountId) -> bool {
        self.kept.contains(id)
    }

    pub(in crate::store) fn keep_new(&mut self) {
        self.kept.extend(self.new.drain());
    }

    pub(in crate::store) fn forget_new(&mut self) {
        self.new.clear();
    }

    /// Returns those of `ids` that have no row yet.
    pub(super) fn missing<'a>(&self, ids: impl Iterator<Item = &'a AccountId>) -> Vec<AccountId> {
        let missing: HashSet<&AccountId> = ids.filter(|id| !self.kept.contains(*id)).collect();
        missing.into_iter().cloned().collect()
    }

    /// Creates rows for accounts that have none.
    pub(super) async fn make(
        &mut self,
        connection: &mut SqliteConnection,
        missing: Vec<AccountId>,
        now: Timestamp,
    ) -> Result<()> {
        if missing.is_empty() {
            return Ok(());
        }
        let list: Vec<&str> = missing.iter().map(AccountId::as_str).collect();
        sqlx::query(MAKE_ACCOUNTS)
            .bind(json!(list).to_string())
            .bind(time_text(now))
            .execute(connection)
            .await?;
        self.new.extend(missing);
        Ok(())
    }
}

/// Returns whether storing `batch` is one statement.
pub(in crate::store) fn is_one_statement(batch: &EnqueueBatch, known: &KnownAccounts) -> bool {
    !batch.is_alone() && batch.rows.iter().all(|(_, message)| known.contains(&message.account_id))
}

/// Stores all batches with one statement. Returns one result list per batch.
pub(in crate::store) async fn enqueue(
    connection: &mut SqliteConnection,
    run: i64,
    known: &mut KnownAccounts,
    batches: &[&EnqueueBatch],
) -> Result<Vec<Vec<Enqueued>>> {
    let [first, rest @ ..] = batches else { return Ok(Vec::new()) };
    if rest.is_empty()
        && let Some(stored) = store_clear(connection, run, known, first).await?
    {
        return Ok(vec![vec![stored]]);
    }
    if first.is_atomic() {
        let refused = conflicts_of(connection, &first.all_rows()).await?;
        if refused.iter().any(|verdict| matches!(verdict, Some(Enqueued::Conflict(_)))) {
            let verdicts = refused.into_iter().map(|verdict| verdict.unwrap_or(Enqueued::Refused));
            return Ok(vec![verdicts.collect()]);
        }
    }
    let NotStored { refused, keys } = match first.is_by_person() {
        true => not_stored_together(connection, first).await?,
        false => {
            let parts: Vec<_> = batches.iter().map(|batch| batch.all_rows()).collect();
            not_stored(connection, &parts, first.repeats(), &mut StepsSoFar::default()).await?
        }
    };
    let fails = |verdict: &Enqueued| !matches!(verdict, Enqueued::Duplicate(_));
    if first.is_atomic() && first.rows.iter().any(|(id, _)| refused.get(id).is_some_and(fails)) {
        let verdict =
            |(id, _): &(MessageId, NewMessage)| refused.get(id).cloned().unwrap_or(Enqueued::Refused);
        return Ok(vec![first.rows.iter().map(verdict).collect()]);
    }
    let rows = batches.iter().flat_map(|batch| &batch.rows).filter(|(id, _)| !refused.contains_key(id));
    let missing = known.missing(rows.map(|(_, message)| &message.account_id));
    known.make(connection, missing, first.now()).await?;
    let rows = fresh(batches, &refused, &keys);
    let wanted = rows.len();
    let stored = insert::insert(connection, run, rows).await?;
    if usize::try_from(stored).is_ok_and(|stored| stored == wanted) {
        let verdicts: Vec<Vec<Enqueued>> = batches.iter().map(|batch| accepted(batch, &refused)).collect();
        for (batch, verdicts) in batches.iter().zip(&verdicts) {
            batch.store_blobs(connection, verdicts).await?;
        }
        return Ok(verdicts);
    }
    let mut verdicts = Vec::with_capacity(batches.len());
    for batch in batches {
        let existing = conflicts_of(connection, &batch.all_rows()).await?;
        let verdict = |(row, found): (&BatchRow, Option<Enqueued>)| match found {
            _ if refused.contains_key(&row.0) => refused[&row.0].clone(),
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

/// Stores a batch of one message if nothing keeps it out: with one statement.
async fn store_clear(
    connection: &mut SqliteConnection,
    run: i64,
    known: &KnownAccounts,
    batch: &EnqueueBatch,
) -> Result<Option<Enqueued>> {
    let [(id, message)] = batch.rows.as_slice() else { return Ok(None) };
    if !is_one_statement(batch, known) {
        return Ok(None);
    }
    let Some(check) = Check::of(message, batch.repeats()) else { return Ok(None) };
    let row = InsertedRow::of(*id, message, None, batch.now());
    Ok(insert::insert_clear(connection, run, row, check).await?.then_some(Enqueued::Accepted(*id)))
}

/// Returns the result that each row would have, as far as stored messages decide it.
pub(super) async fn rehearse(
    connection: &mut SqliteConnection,
    batch: &EnqueueBatch,
    so_far: &mut StepsSoFar,
) -> Result<Vec<Enqueued>> {
    let rows = batch.all_rows();
    let existing = conflicts_of(connection, &rows).await?;
    let NotStored { refused, .. } = not_stored(connection, &[rows], batch.repeats(), so_far).await?;
    let verdict = |((id, _), found): (&BatchRow, Option<Enqueued>)| match refused.get(id) {
        Some(refused) => refused.clone(),
        None => found.unwrap_or(Enqueued::Accepted(*id)),
    };
    Ok(batch.rows.iter().zip(existing).map(verdict).collect())
}

fn accepted(batch: &EnqueueBatch, refused: &HashMap<MessageId, Enqueued>) -> Vec<Enqueued> {
    let verdict = |id: &MessageId| refused.get(id).cloned().unwrap_or(Enqueued::Accepted(*id));
    batch.rows.iter().map(|(id, _)| verdict(id)).collect()
}

/// The rows to store, a step after the one before it.
fn fresh(
    batches: &[&EnqueueBatch],
    refused: &HashMap<MessageId, Enqueued>,
    keys: &HashMap<MessageId, String>,
) -> Vec<InsertedRow> {
    let rows =
        batches.iter().flat_map(|batch| batch.rows.iter().map(|(id, message)| (*id, message, batch.now())));
    let mut rows: Vec<_> = rows.filter(|(id, ..)| !refused.contains_key(id)).collect();
    if !keys.is_empty() {
        rows.sort_by_key(|(_, message, _)| message.step.map_or(0, |step| step.number));
    }
    let row = |(id, message, now)| InsertedRow::of(id, message, keys.get(&id).map(String::as_str), now);
    rows.into_iter().map(row).collect()
}

/// The rows that are not stored, and whom the steps are for.
struct NotStored {
    refused: HashMap<MessageId, Enqueued>,
    keys: HashMap<MessageId, String>,
}

/// Returns the rows that are not stored, if the rows of a person are stored together or not at all; nothing else keeps
/// rows out.
async fn not_stored_together(connection: &mut SqliteConnection, batch: &EnqueueBatch) -> Result<NotStored> {
    let mut together = Together::of(batch.rows.iter().map(|(_, message)| message));
    loop {
        let open = together.open();
        let rows: Vec<&BatchRow> = open.iter().map(|place| &batch.rows[*place]).collect();
        let mut so_far = StepsSoFar::together();
        let conflicts = conflicts_of(connection, &rows).await?;
        let parts = [rows];
        let NotStored { refused, keys } =
            not_stored(connection, &parts, batch.repeats(), &mut so_far).await?;
        let verdict = |((id, _), found): (&&BatchRow, Option<Enqueued>)| {
            (*id, refused.get(id).cloned().or(found).unwrap_or(Enqueued::Accepted(*id)))
        };
        let verdicts = parts[0].iter().zip(conflicts).map(verdict).collect();
        if together.judge(&open, verdicts) {
            continue;
        }
        let verdicts = batch.rows.iter().map(|(id, _)| *id).zip(together.verdicts());
        let refused = verdicts.filter(|(_, verdict)| !matches!(verdict, Enqueued::Accepted(_))).collect();
        return Ok(NotStored { refused, keys });
    }
}

/// Returns the rows that nothing but a `dedupe_key` may still keep out; of steps, that as well. `parts` are the rows of
/// each request.
async fn not_stored(
    connection: &mut SqliteConnection,
    parts: &[Vec<&BatchRow>],
    scope: RepeatScope,
    so_far: &mut StepsSoFar,
) -> Result<NotStored> {
    let rows: Vec<&BatchRow> = parts.iter().flatten().copied().collect();
    let asked: Vec<_> = rows.iter().map(|(_, message)| steps::Asked::of(message)).collect();
    let known = steps::find(connection, &asked).await?;
    let mut refused = refused_of(connection, &rows, &known, scope).await?;
    if known.is_empty() {
        return Ok(NotStored { refused, keys: HashMap::new() });
    }
    for part in parts {
        let conflicts = conflicts_of(connection, part).await?;
        let conflicts = part.iter().zip(conflicts);
        refused.extend(conflicts.filter_map(|((id, _), verdict)| Some((*id, verdict?))));
    }
    let places = rows.iter().enumerate().map(|(place, (id, message))| (place, *id, message));
    let verdicts = so_far.judge(places, &known, |place| refused.contains_key(&rows[place].0));
    refused.extend(verdicts.into_iter().map(|(place, verdict)| (rows[place].0, verdict)));
    let keys = known.into_iter().map(|(place, known)| (rows[place].0, known.key)).collect();
    Ok(NotStored { refused, keys })
}

/// Returns the messages that are for a suppressed person, or say the same to the same person as another one.
async fn refused_of(
    connection: &mut SqliteConnection,
    rows: &[&BatchRow],
    known: &HashMap<usize, Known>,
    scope: RepeatScope,
) -> Result<HashMap<MessageId, Enqueued>> {
    // A step that is in the queue already is a duplicate, not a repeat.
    let is_new = |place: &usize| known.get(place).is_none_or(|known| known.own.is_none());
    let sought = rows.iter().enumerate();
    let sought: Vec<_> =
        sought.map(|(place, (_, message))| Sought::of(message, scope).filter(|_| is_new(&place))).collect();
    let found = repeats::find(connection, &sought).await?;
    let existing = |place: usize, repeated: Repeated| match repeated {
        Repeated::Stored(repeat) => repeat,
        Repeated::Beside(first) => {
            let (id, message) = rows[first];
            Repeat::new(*id, &message.account_id, &rows[place].1.account_id)
        }
    };
    let repeats = found.into_iter();
    let repeats = repeats.map(|(place, repeated)| (place, Enqueued::Repeat(existing(place, repeated))));
    let recipients = rows.iter().map(|(_, message)| Recipients::of(message));
    let suppressed = suppressed::find(connection, recipients).await?;
    let suppressed = suppressed.into_iter().map(|place| (place, Enqueued::Suppressed));
    Ok(repeats.chain(suppressed).map(|(place, refused)| (rows[place].0, refused)).collect())
}

/// For each row with a `dedupe_key`: whether the stored message with that key, or an earlier row of the batch, has
/// the same content.
async fn conflicts_of(
    connection: &mut SqliteConnection,
    rows: &[&BatchRow],
) -> Result<Vec<Option<Enqueued>>> {
    const SQL: &str = "SELECT m.dedupe_key, m.id, m.account_id, m.chat_id, m.users_ids, m.inbox_id, m.name, m.specifics, \
         m.options, m.quote_id, m.forward, m.attachments, m.text, m.typing, m.not_before, m.expires_at, m.campaign, \
         m.priority, m.urgent, m.ignore_hours, m.allow_repeat, m.stop_on_reply, m.step, m.wait, m.meta, m.needs, m.text_hash \
         FROM messages m WHERE m.dedupe_key IN (SELECT value FROM json_each(?1)) \
           AND m.state <> 'failed' AND m.state <> 'cancelled' AND m.state <> 'rejected'";
    let keys: Vec<&str> = rows.iter().filter_map(|(_, message)| message.dedupe_key.as_deref()).collect();
    if keys.is_empty() {
        return Ok(vec![None; rows.len()]);
    }
    let mut known: HashMap<String, (MessageId, Option<NewMessage>, Option<String>)> = HashMap::new();
    for row in sqlx::query(SQL).bind(json!(keys).to_string()).fetch_all(connection).await? {
        let key: String = row.try_get("dedupe_key")?;
        // A rejected row may be unreadable; then nothing equals it.
        let message = stored_message(&row, &key).ok();
        known.insert(key, (rows::message_id(&row, "id")?, message, row.try_get("text_hash")?));
    }
    let mut verdicts = Vec::with_capacity(rows.len());
    for (id, message) in rows {
        let verdict = match &message.dedupe_key {
            None => None,
            Some(key) => match known.get(key) {
                Some((existing, Some(content), hash)) if is_same(content, hash.as_deref(), message) => {
                    Some(Enqueued::Duplicate(*existing))
                }
                Some((existing, ..)) => Some(Enqueued::Conflict(*existing)),
                None => {
                    known.insert(key.clone(), (*id, Some(message.clone()), None));
                    None
                }
            },
        };
        verdicts.push(verdict);
    }
    Ok(verdicts)
}

/// Returns whether a stored message is what `message` says. Of one whose text was removed, a hash of the text is left;
/// its name, specifics and meta are not compared.
fn is_same(stored: &NewMessage, hash: Option<&str>, message: &NewMessage) -> bool {
    let Some(hash) = hash else { return stored == message };
    let mut stored = stored.clone();
    stored.text.clone_from(&message.text);
    stored.meta.clone_from(&message.meta);
    stored.extras.name.clone_from(&message.extras.name);
    stored.extras.specifics.clone_from(&message.extras.specifics);
    stored == *message && hash == repeats::text_hash(&message.text)
}

fn stored_message(row: &sqlx::sqlite::SqliteRow, key: &str) -> Result<NewMessage> {
    Ok(NewMessage {
        account_id: rows::account_id(row)?,
        target: rows::target(row)?,
        extras: rows::extras(row)?,
        text: row.try_get("text")?,
        typing: row.try_get("typing")?,
        not_before: rows::time(row, "not_before")?,
        expires_at: rows::time(row, "expires_at")?,
        campaign: row.try_get("campaign")?,
        precedence: rows::precedence(row)?,
        stop_on_reply: row.try_get("stop_on_reply")?,
        step: rows::step(row)?,
        meta: rows::json(row, "meta")?,
        needs: rows::needs(row)?,
        dedupe_key: Some(key.to_owned()),
    })
}
