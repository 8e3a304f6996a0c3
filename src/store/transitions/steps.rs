//! Steps of campaigns: each exists once for a person, after the step before it; and when its wait ends.
//!
//! A step whose wait is not computed is blocked by the step before it (view `blockers`). When that one is sent, a
//! trigger notes the time; the account's next step computes the end of the wait (`engine/steps.rs`) and
//! [`Store::schedule_steps`] stores it.

use std::collections::HashMap;

use jiff::Timestamp;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Row, SqliteConnection};

use super::batch::Enqueued;
use crate::domain::message::{AccountId, MessageId, NewMessage, Seq, Target, UserId};
use crate::domain::state::StateName;
use crate::domain::step::StepWait;
use crate::domain::time_text;
use crate::store::Store;
use crate::store::sqlite::rows::{self, Result};

/// Steps that are scheduled in one transaction.
const AT_ONCE: u32 = 500;

/// What the queue knows about the step of a new message.
#[derive(Debug, Clone)]
pub(super) struct Known {
    /// Whom the step is for.
    pub(super) key: String,
    /// The message that is this step already.
    pub(super) own: Option<MessageId>,
    /// The account and the state of the step before.
    before: Option<(AccountId, StateName)>,
}

/// The steps of the rows so far that will be stored, by campaign, person and number.
#[derive(Debug, Default)]
pub(super) struct StepsSoFar {
    found: HashMap<(String, String, u8), (MessageId, AccountId)>,
    /// Whether a refused step counts: its person gets none of them, and those after it have nothing else wrong.
    counts_refused: bool,
}

pub(super) const KNOWN: &str = "WITH asked AS (SELECT j.key AS place, j.value ->> 0 AS campaign, coalesce( \
       (SELECT 'user:' || c.user_id FROM conversations c WHERE c.account_id = j.value ->> 2 AND c.chat_id = j.value ->> 3), \
       j.value ->> 1) AS step_key, j.value ->> 4 AS step FROM jsonb_each(?1) AS j) \
     SELECT a.place, a.step_key, e.id AS own, b.account_id AS before_account, b.state AS state FROM asked AS a \
     LEFT JOIN messages AS e INDEXED BY messages_steps ON e.campaign = a.campaign AND e.step_key = a.step_key \
       AND e.step = a.step AND e.state <> 'rejected' \
     LEFT JOIN messages AS b INDEXED BY messages_steps ON b.campaign = a.campaign AND b.step_key = a.step_key \
       AND b.step = a.step - 1 AND b.state <> 'rejected'";

/// What a step belongs to: campaign, person as far as the message says, account, chat, number.
#[derive(Debug, Clone)]
pub(super) struct Asked(Value);

impl Asked {
    /// Returns the question about the step of `message`, if it is one.
    pub(super) fn of(message: &NewMessage) -> Option<Self> {
        let (step, campaign) = (message.step?, message.campaign.as_deref()?);
        let account = message.account_id.as_str();
        let chat_id = match &message.target {
            Target::Chat(chat_id) | Target::Forward { chat_id, .. } => Some(chat_id.as_str()),
            Target::User { .. } | Target::Group { .. } => None,
        };
        Some(Self(json!([campaign, message.step_key(), account, chat_id, step.number])))
    }
}

/// Returns whom the step of `message` is for; `None` without a step.
pub(super) async fn key(connection: &mut SqliteConnection, message: &NewMessage) -> Result<Option<String>> {
    let known = find(connection, &[Asked::of(message)]).await?.remove(&0);
    Ok(known.map(|known| known.key))
}

/// Returns what the queue knows about those of `rows` that are steps, by place.
pub(super) async fn find(
    connection: &mut SqliteConnection,
    rows: &[Option<Asked>],
) -> Result<HashMap<usize, Known>> {
    let places = rows.iter().enumerate().filter_map(|(place, row)| row.as_ref().map(|row| (place, row)));
    let (places, asked): (Vec<usize>, Vec<Value>) = places.map(|(place, row)| (place, row.0.clone())).unzip();
    let mut known = HashMap::new();
    if asked.is_empty() {
        return Ok(known);
    }
    for row in sqlx::query(KNOWN).bind(Value::Array(asked).to_string()).fetch_all(connection).await? {
        let place: i64 = row.try_get("place")?;
        let Some(place) = usize::try_from(place).ok().and_then(|place| places.get(place)) else { continue };
        let own: Option<&str> = row.try_get("own")?;
        let own = own.map(|_| rows::message_id(&row, "own")).transpose()?;
        let account: Option<String> = row.try_get("before_account")?;
        let before = account
            .map(|account| Ok::<_, crate::store::StoreError>((AccountId::new(account), rows::state(&row)?)));
        let before = before.transpose()?;
        known.insert(*place, Known { key: row.try_get("step_key")?, own, before });
    }
    Ok(known)
}

impl StepsSoFar {
    /// Returns the beginning for rows of which a person gets all or none.
    pub(super) fn together() -> Self {
        Self { counts_refused: true, ..Self::default() }
    }

    /// Judges the rows in the order of their steps: which are in the queue already, and which do not follow the step
    /// before. `is_refused` says of a place whether its row will not be stored for another reason. A row that is no
    /// step has no verdict.
    pub(super) fn judge<'a>(
        &mut self,
        rows: impl Iterator<Item = (usize, MessageId, &'a NewMessage)>,
        known: &HashMap<usize, Known>,
        is_refused: impl Fn(usize) -> bool,
    ) -> HashMap<usize, Enqueued> {
        let of = |row: &(usize, MessageId, &NewMessage)| row.2.step.map_or(0, |step| step.number);
        let mut rows: Vec<_> = rows.filter(|row| known.contains_key(&row.0)).collect();
        rows.sort_by_key(of);
        let mut verdicts = HashMap::new();
        for (place, id, message) in rows {
            let (known, number) = (&known[&place], message.step.map_or(0, |step| step.number));
            let campaign = message.campaign.clone().unwrap_or_default();
            let at = |number| (campaign.clone(), known.key.clone(), number);
            let same = known.own.or_else(|| self.found.get(&at(number)).map(|(id, _)| *id));
            if let Some(same) = same {
                verdicts.insert(place, Enqueued::Duplicate(same));
                continue;
            }
            let mut is_out = is_refused(place);
            if number > 1 && !is_out {
                let beside =
                    self.found.get(&at(number - 1)).map(|(_, account)| (account.clone(), StateName::Queued));
                if let Some(why) = out_of_step(message, number, beside.as_ref().or(known.before.as_ref())) {
                    verdicts.insert(place, Enqueued::OutOfStep(why));
                    is_out = true;
                }
            }
            if !is_out || self.counts_refused {
                self.found.insert(at(number), (id, message.account_id.clone()));
            }
        }
        verdicts
    }
}

/// Returns why the step cannot follow the one before, if it cannot.
fn out_of_step(message: &NewMessage, number: u8, before: Option<&(AccountId, StateName)>) -> Option<String> {
    let campaign = message.campaign.as_deref().unwrap_or_default();
    let whom = match &message.target {
        Target::Chat(chat_id) | Target::Forward { chat_id, .. } => format!("chat {chat_id}"),
        Target::User { user_id, .. } => user_id.to_string(),
        Target::Group { users_ids, .. } => {
            users_ids.iter().map(UserId::as_str).collect::<Vec<_>>().join(", ")
        }
    };
    let what = format!("{number} of `{campaign}` for {whom}");
    let last = number - 1;
    let Some((account, state)) = before else {
        return Some(format!("{what} has no step {last}; queue step {last} first, or in the same request"));
    };
    if *account != message.account_id {
        return Some(format!("{what} follows step {last} on {account}; queue it on the same account"));
    }
    let is_over = match state {
        StateName::Failed | StateName::Cancelled | StateName::Expired | StateName::Rejected => true,
        StateName::New
        | StateName::Queued
        | StateName::Sending
        | StateName::Uncertain
        | StateName::Review
        | StateName::Sent => false,
    };
    is_over.then(|| {
        let state = state.as_str();
        format!("{what} follows step {last}, which is `{state}`; the sequence of this person has ended")
    })
}

/// A step whose wait has begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BegunWait {
    /// The step's message.
    pub seq: Seq,
    /// When the step before was sent.
    pub since: Timestamp,
    /// How long it waits.
    pub wait: StepWait,
}

impl Store {
    /// Returns steps of `account` whose wait has begun and is not yet computed.
    pub async fn begun_waits(&self, account: &AccountId) -> Result<Vec<BegunWait>> {
        const SQL: &str = "SELECT seq, step_sent_at, wait FROM messages INDEXED BY messages_to_schedule \
             WHERE account_id = ?1 AND state = 'queued' AND step_sent_at IS NOT NULL AND wait_until IS NULL LIMIT ?2 + 0";
        let rows =
            sqlx::query(SQL).bind(account.as_str()).bind(AT_ONCE).fetch_all(&self.inner.readers).await?;
        let read = |row: &sqlx::sqlite::SqliteRow| {
            Ok(BegunWait {
                seq: Seq(row.try_get("seq")?),
                since: rows::required_time(row, "step_sent_at")?,
                wait: rows::step_wait(row)?.ok_or_else(|| rows::corrupt("wait", "NULL"))?,
            })
        };
        rows.iter().map(read).collect()
    }

    /// Stores when the waits of steps end. A step to a user goes into the chat that the step before opened, if it is
    /// known.
    ///
    /// # Errors
    /// Returns an error if SQLite fails; no wait is stored then.
    pub async fn schedule_steps(&self, ends: Vec<(Seq, Timestamp)>, now: Timestamp) -> Result<()> {
        self.exclusive(now, move |connection| Box::pin(schedule(connection, ends, now))).await
    }
}

impl Store {
    /// Returns the places of `ids` in the order of arrival, with the steps of a person together and in their order.
    pub(super) async fn places_by_step(&self, ids: &[MessageId]) -> Result<Vec<usize>> {
        const SQL: &str = "SELECT j.key FROM json_each(?1) AS j LEFT JOIN messages m ON m.id = j.value \
             ORDER BY min(m.seq) OVER (PARTITION BY m.campaign, m.step_key, CASE WHEN m.step IS NULL THEN m.seq END), \
               m.step, m.seq, j.key";
        let ids: Value = ids.iter().map(|id| json!(id.0.hyphenated().to_string())).collect();
        let places: Vec<i64> =
            sqlx::query_scalar(SQL).bind(ids.to_string()).fetch_all(&self.inner.readers).await?;
        Ok(places.into_iter().filter_map(|place| usize::try_from(place).ok()).collect())
    }

    /// Gives the steps of people who are in their campaign already to the account that has their other steps. Returns
    /// the places of the messages whose account it changes.
    pub(crate) async fn keep_accounts(&self, messages: &mut [&mut NewMessage]) -> Result<Vec<usize>> {
        const SQL: &str = "SELECT (SELECT m.account_id FROM messages m INDEXED BY messages_steps WHERE m.campaign = j.value ->> 0 \
             AND m.step_key = j.value ->> 1 AND m.step_key IS NOT NULL AND m.state <> 'rejected' ORDER BY m.step DESC LIMIT 1) \
             FROM json_each(?1) AS j ORDER BY j.key";
        self.address(messages).await?;
        let asked = messages.iter().map(|message| match (&message.target, message.step) {
            (Target::User { .. }, Some(_)) => json!([message.campaign, message.step_key()]),
            // The chat belongs to the account.
            _ => json!([null, null]),
        });
        let asked = asked.collect::<Value>().to_string();
        let found: Vec<Option<String>> =
            sqlx::query_scalar(SQL).bind(asked).fetch_all(&self.inner.readers).await?;
        let mut changed = Vec::new();
        for (place, (message, account)) in messages.iter_mut().zip(found).enumerate() {
            if let Some(account) = account.filter(|account| account != message.account_id.as_str()) {
                message.account_id = AccountId::new(account);
                changed.push(place);
            }
        }
        Ok(changed)
    }
}

async fn schedule(
    connection: &mut SqliteConnection,
    ends: Vec<(Seq, Timestamp)>,
    now: Timestamp,
) -> Result<()> {
    // A stop or a hold that is in force interrupts the wait from its beginning.
    const INTERRUPTED: &str =
        "messages.retry_at > ?2 AND messages.reason IN ('held', 'stopped', 'owner_wrote', 'out_of_office')";
    let waits = format!(
        "UPDATE messages SET revision = messages.revision + 1, wait_until = j.value ->> 1, \
           due_at = max(j.value ->> 1, coalesce(messages.not_before, '')), updated_at = ?2, \
           wait_held_at = CASE WHEN {INTERRUPTED} THEN ?2 END, \
           retry_at = CASE WHEN {INTERRUPTED} THEN coalesce(strftime('%Y-%m-%dT%H:%M:%fZ', messages.retry_at, \
             printf('+%.3f seconds', 86400.0 * max(0.0, julianday(j.value ->> 1) - julianday(?2)))), messages.retry_at) \
             ELSE messages.retry_at END, \
           reason = CASE WHEN messages.retry_at > ?2 THEN messages.reason WHEN j.value ->> 1 > ?2 THEN 'step_wait' ELSE 'turn' END \
         FROM jsonb_each(?1) AS j WHERE messages.seq = j.value ->> 0 AND messages.state = 'queued' AND messages.wait_until IS NULL"
    );
    // What only starting a chat can have goes with it.
    const CHATS: &str = "UPDATE messages SET revision = messages.revision + 1, chat_id = b.chat_id, users_ids = NULL, inbox_id = NULL, \
           lane = substr(messages.lane, 1, 6) || 'm' || substr(messages.lane, 8), \
           route = 'existing chat ' || b.chat_id || ': the step before went there' \
         FROM messages AS b WHERE messages.seq IN (SELECT value ->> 0 FROM jsonb_each(?1)) AND messages.state = 'queued' \
           AND messages.users_ids IS NOT NULL AND b.account_id = messages.account_id AND b.campaign = messages.campaign AND b.step_key = messages.step_key \
           AND b.step = messages.step - 1 AND b.state <> 'rejected' AND b.chat_id IS NOT NULL AND b.step_key IS NOT NULL";
    const UNBLOCK: &str = "UPDATE messages SET blocked_by = (SELECT b.blocked_by FROM blockers b WHERE b.seq = messages.seq) \
         WHERE seq IN (SELECT value ->> 0 FROM jsonb_each(?1)) AND state = 'queued'";
    let ends: Value = ends.iter().map(|(seq, at)| json!([seq.0, time_text(*at)])).collect();
    let (ends, now) = (ends.to_string(), time_text(now));
    // Built from constants; every value is bound.
    sqlx::query(AssertSqlSafe(waits)).bind(&ends).bind(&now).execute(&mut *connection).await?;
    sqlx::query(CHATS).bind(&ends).execute(&mut *connection).await?;
    sqlx::query(UNBLOCK).bind(&ends).execute(connection).await?;
    Ok(())
}
