//! Admission: checks the rows that other programs INSERT, and queues or rejects each. A batch is one statement that
//! reads one JSON document, however many rows it has.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use jiff::Timestamp;
use serde_json::{Value, json};
use sqlx::SqliteConnection;

use super::batch::Enqueued;
use super::blobs;
use super::clear::{self, Check, StatementsByScope};
use super::enqueue::KnownAccounts;
use super::insert::{due_at, queued_as};
use super::inserted::Inserted;
use super::repeats::{self, Repeated, Sought};
use super::steps::{self, StepsSoFar};
use super::suppressed::{self, Recipients};
use crate::domain::attachment::Blob;
use crate::domain::message::{MessageId, NewMessage, RepeatScope, Seq, Target, UserId};
use crate::domain::reason::Reason;
use crate::domain::time_text;
use crate::store::Store;
use crate::store::sqlite::rows::{self, Result};

/// The decision about an inserted row.
#[derive(Debug, Clone)]
pub struct Admission {
    /// Which row.
    pub seq: Seq,
    /// Its id.
    pub id: MessageId,
    /// When the decision was made.
    pub at: Timestamp,
    /// The admitted message, or the reason for the rejection.
    pub verdict: std::result::Result<Box<AdmittedMessage>, String>,
    /// To which messages its text is compared; [`Store::admit`] sets it.
    repeats: RepeatScope,
}

/// What an admitted row is queued as.
#[derive(Debug, Clone)]
pub struct AdmittedMessage {
    message: NewMessage,
    /// The recipients as the producer wrote them.
    written: Option<Vec<String>>,
    /// Why it waits at first.
    reason: Reason,
    /// When it becomes due.
    pub due_at: Timestamp,
    /// Whether a person must first confirm that it still matters.
    pub is_stale: bool,
    blobs: Vec<Blob>,
}

impl Admission {
    /// Queues the row as `message`. A message that was due before `stale_before` waits for a person.
    pub fn queue(
        row: &Inserted,
        message: NewMessage,
        blobs: Vec<Blob>,
        at: Timestamp,
        stale_before: Option<Timestamp>,
    ) -> Self {
        // If the producer's clock was ahead, the row is due now.
        let due_at = due_at(&message, row.created_at.min(at));
        let admitted = AdmittedMessage {
            written: row.draft.as_ref().ok().and_then(|draft| draft.users_ids.clone()),
            reason: queued_as(&message, due_at, at),
            due_at,
            is_stale: stale_before.is_some_and(|before| due_at < before)
                && message.step.is_none_or(|step| step.number == 1)
                && message.expires_at.is_none_or(|expires_at| expires_at > at),
            blobs,
            message,
        };
        let repeats = RepeatScope::Account;
        Self { seq: row.seq, id: row.id, at, verdict: Ok(Box::new(admitted)), repeats }
    }

    /// Rejects the row for the reason `why`.
    pub fn reject(row: &Inserted, why: String, at: Timestamp) -> Self {
        Self { seq: row.seq, id: row.id, at, verdict: Err(why), repeats: RepeatScope::Account }
    }

    /// Returns the row's sequence number.
    pub(crate) fn seq(&self) -> Seq {
        self.seq
    }

    pub(in crate::store) fn is_one_statement(&self, known: &KnownAccounts) -> bool {
        self.verdict.as_ref().map_or(true, |row| {
            row.blobs.is_empty() && row.message.step.is_none() && known.contains(&row.message.account_id)
        })
    }

    pub(in crate::store) fn at(&self) -> Timestamp {
        self.at
    }
}

impl Store {
    /// Queues or rejects inserted rows. Returns how many of them still existed.
    ///
    /// # Errors
    /// Returns an error if SQLite fails; no row is admitted or rejected then.
    pub async fn admit(&self, mut admissions: Vec<Admission>) -> Result<usize> {
        let scope = self.repeat_scope();
        for admission in &mut admissions {
            admission.repeats = scope;
        }
        let admitted = admissions.iter_mut().filter_map(|one| one.verdict.as_mut().ok());
        self.address(&mut admitted.map(|row| &mut row.message).collect::<Vec<_>>()).await?;
        self.inner.writer.admit(admissions).await
    }
}

/// Returns the recipients of a row as a JSON array, if they are not as its producer wrote them: a URN, the address of a
/// profile, or a public name that is known.
fn rewritten(row: &AdmittedMessage) -> Option<String> {
    let ids: Vec<&str> = match &row.message.target {
        Target::User { user_id, .. } => vec![user_id.as_str()],
        Target::Group { users_ids, .. } => users_ids.iter().map(UserId::as_str).collect(),
        Target::Chat(_) | Target::Forward { .. } => return None,
    };
    (*row.written.as_ref()? != ids).then(|| json!(ids).to_string())
}

pub(in crate::store) const ADMIT: &str = "UPDATE messages SET revision = messages.revision + 1, state = j.state, reason = j.reason, error = j.error, thread = coalesce((SELECT 'user:' || c.user_id FROM conversations c WHERE c.account_id = messages.account_id AND c.chat_id = messages.chat_id), j.thread), due_at = j.due_at, \
       lane = j.lane, step_key = j.step_key, updated_at = j.at, attachments = coalesce(j.attachments, messages.attachments), users_ids = coalesce(j.users_ids, messages.users_ids), run = ?2 \
     FROM (SELECT value ->> 0 AS seq, value ->> 1 AS state, value ->> 2 AS reason, value ->> 3 AS error, \
                  value ->> 4 AS thread, value ->> 5 AS due_at, value ->> 6 AS at, value ->> 7 AS attachments, \
                  value ->> 8 AS lane, value ->> 9 AS step_key, value ->> 10 AS users_ids FROM jsonb_each(?1)) AS j \
     WHERE messages.seq = j.seq AND messages.state = 'new'";

/// Queues one row, unless something keeps it out.
pub(in crate::store) static ADMIT_CLEAR: StatementsByScope =
    LazyLock::new(|| clear::by_scope("?3", "?4", |clear| format!("{ADMIT} AND {clear}")));

/// Queues or rejects rows that other programs inserted, with one statement.
pub(in crate::store) async fn admit(
    connection: &mut SqliteConnection,
    run: i64,
    known: &mut KnownAccounts,
    batches: &[&Vec<Admission>],
) -> Result<Vec<usize>> {
    let all: Vec<&Admission> = batches.iter().flat_map(|batch| batch.iter()).collect();
    let Some(first) = all.first() else { return Ok(vec![0; batches.len()]) };
    if all.len() == 1 && admit_clear(connection, run, known, first).await? {
        return Ok(batches.iter().map(|batch| batch.len()).collect());
    }
    let accounts =
        all.iter().filter_map(|admission| admission.verdict.as_ref().ok()).map(|row| &row.message.account_id);
    let missing = known.missing(accounts);
    known.make(connection, missing, first.at).await?;
    let mut judged = 0;
    for document in documents(connection, &all).await? {
        let query = sqlx::query(ADMIT).bind(document.to_string()).bind(run);
        judged += query.execute(&mut *connection).await?.rows_affected();
    }
    for row in all.iter().filter_map(|admission| admission.verdict.as_ref().ok()) {
        for blob in &row.blobs {
            blobs::put(connection, blob).await?;
        }
    }
    // Only this statement decides about inserted rows, so a missing row was cancelled by its producer in the
    // meantime.
    let judged = usize::try_from(judged).unwrap_or(usize::MAX);
    Ok(batches.iter().map(|batch| batch.len().min(judged)).collect())
}

/// Queues one row if nothing keeps it out: with one statement. Returns whether it did.
async fn admit_clear(
    connection: &mut SqliteConnection,
    run: i64,
    known: &KnownAccounts,
    row: &Admission,
) -> Result<bool> {
    let Ok(admitted) = &row.verdict else { return Ok(false) };
    if !row.is_one_statement(known) {
        return Ok(false);
    }
    let Some(check) = Check::of(&admitted.message, row.repeats) else { return Ok(false) };
    let document = json!([as_json(row, None, false, (None, None))]).to_string();
    let query = sqlx::query(check.of_scope(&ADMIT_CLEAR)).bind(document).bind(run);
    let query = query.bind(check.recipients).bind(check.sought);
    Ok(query.execute(connection).await?.rows_affected() > 0)
}

/// Judges the rows and returns them for the statement: those of step 1 and without a step first, then those of step 2,
/// and so on, because a step that is admitted looks for the one before it.
async fn documents(connection: &mut SqliteConnection, all: &[&Admission]) -> Result<Vec<Value>> {
    let scope = all.first().map_or(RepeatScope::Account, |admission| admission.repeats);
    let admitted = all.iter().map(|admission| admission.verdict.as_ref().ok());
    let messages: Vec<Option<&NewMessage>> = admitted.map(|row| row.map(|row| &row.message)).collect();
    let asked: Vec<_> = messages.iter().map(|message| message.and_then(steps::Asked::of)).collect();
    let known = steps::find(connection, &asked).await?;
    // A step that is in the queue already is a duplicate, not a repeat.
    let is_new = |place: &usize| known.get(place).is_none_or(|known| known.own.is_none());
    let sought = messages.iter().enumerate();
    let sought: Vec<Option<Sought>> = sought
        .map(|(place, message)| {
            message.filter(|_| is_new(&place)).and_then(|message| Sought::of(message, scope))
        })
        .collect();
    let repeats = repeats::find(connection, &sought).await?;
    let repeats: HashMap<usize, String> = repeats
        .into_iter()
        .map(|(place, repeated)| (place, why_repeated(repeated, place, &messages)))
        .collect();
    let suppressed = suppressed_of(connection, &messages).await?;
    let places = messages.iter().enumerate();
    let places = places.filter_map(|(place, message)| Some((place, all[place].id, (*message)?)));
    let is_refused = |place| suppressed.contains(&place) || repeats.contains_key(&place);
    let mut verdicts = StepsSoFar::default().judge(places, &known, is_refused);
    let mut documents: Vec<Vec<Value>> = Vec::new();
    for (place, admission) in all.iter().enumerate() {
        let number = messages[place].and_then(|message| message.step).map_or(1, |step| step.number);
        let at = usize::from(number) - 1;
        documents.resize_with(documents.len().max(at + 1), Vec::new);
        let key = known.get(&place).map(|known| known.key.as_str());
        let why = match verdicts.remove(&place) {
            Some(Enqueued::OutOfStep(why)) => Some(format!("`step` {why}")),
            Some(Enqueued::Duplicate(id)) => {
                Some(format!("`step` is in the queue for this person already, as message {id}"))
            }
            _ => None,
        };
        let repeated = repeats.get(&place).map(String::as_str);
        documents[at].push(as_json(admission, repeated, suppressed.contains(&place), (why, key)));
    }
    Ok(documents.into_iter().filter(|rows| !rows.is_empty()).map(Value::Array).collect())
}

/// Returns the places of the messages that are for a suppressed person or chat.
async fn suppressed_of(
    connection: &mut SqliteConnection,
    messages: &[Option<&NewMessage>],
) -> Result<HashSet<usize>> {
    let admitted = messages.iter().enumerate();
    let admitted = admitted.filter_map(|(place, message)| Some((place, Recipients::of((*message)?))));
    let (places, recipients): (Vec<usize>, Vec<Recipients>) = admitted.unzip();
    let found = suppressed::find(connection, recipients.into_iter()).await?;
    Ok(found.into_iter().map(|at| places[at]).collect())
}

/// Returns why a row that says the same as another message is rejected.
fn why_repeated(repeated: Repeated, place: usize, messages: &[Option<&NewMessage>]) -> String {
    let what = match repeated {
        Repeated::Stored(repeat) => repeat.to_string(),
        Repeated::Beside(first) => {
            let account = |place: usize| messages[place].map(|message| &message.account_id);
            let from = match account(first).filter(|of| account(place) != Some(*of)) {
                Some(of) => format!(" for the account {}", of.as_str()),
                None => String::new(),
            };
            format!("was inserted for this person a moment before{from}")
        }
    };
    format!("`text` {what}; write something else, or set `allow_repeat` = 1")
}

/// Encodes the decision about a row for the statement. `step` says why its step is refused, and whom it is for.
fn as_json(
    admission: &Admission,
    repeated: Option<&str>,
    is_suppressed: bool,
    (out_of_step, step_key): (Option<String>, Option<&str>),
) -> Value {
    let (seq, at) = (admission.seq.0, time_text(admission.at));
    let rejected = |reason: Reason, why: &str| {
        json!([seq, "rejected", reason.as_str(), why, null, null, at, null, null, null, null])
    };
    let reject = |why: &str| rejected(Reason::Invalid, why);
    if let Some(why) = out_of_step {
        return reject(&why);
    }
    match (&admission.verdict, repeated) {
        (Ok(_), _) if is_suppressed => {
            rejected(Reason::Suppressed, "the person is on the suppression list (`outboxd suppress list`)")
        }
        (Ok(row), None) => {
            let (state, reason) = match row.is_stale {
                true => ("review", Reason::Stale),
                false => ("queued", row.reason),
            };
            let due_at = time_text(row.due_at);
            let files =
                rows::attachments_to_json(&row.message.extras.attachments).map(|files| files.to_string());
            json!([
                seq,
                state,
                reason.as_str(),
                null,
                row.message.target.thread(),
                due_at,
                at,
                files,
                row.message.lane().text(),
                step_key,
                rewritten(row)
            ])
        }
        (Ok(_), Some(why)) => reject(why),
        (Err(why), _) => reject(why),
    }
}
