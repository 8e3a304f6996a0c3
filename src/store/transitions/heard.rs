//! What was heard changes the queue: receipts, answers, messages of the owner, the state of accounts (P5).

use std::collections::HashSet;
use std::time::Duration;

use jiff::{Timestamp, Unit};
use sqlx::SqliteConnection;

use super::author::{Author, author, is_owner};
use super::defer::{event, note_down};
use super::people::OtherSide;
use super::{erased, people, stops};
use crate::domain::account::Down;
use crate::domain::heard::{Effect, Heard, HeardMessage, Meaning, News, Receipt};
use crate::domain::message::{AccountId, ChatId, RepeatScope};
use crate::domain::person::Person;
use crate::domain::policy::ReplyPolicy;
use crate::domain::reason::Reason;
use crate::domain::stop::{NewStop, StopKey, StopReason, StopScope};
use crate::domain::time_text;
use crate::metrics::table::HEARD;
use crate::store::Store;
use crate::store::sqlite::rows::Result;

/// What followed from something that was heard.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Consequences {
    /// What changed; `None` while that depends on a call whose outcome is not known.
    pub effect: Option<Effect>,
    /// Messages that were cancelled.
    pub cancelled: u64,
    /// Accounts to wake.
    pub accounts: HashSet<AccountId>,
}

/// What a webhook or a chat says, to be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToHear {
    /// What was heard, and the rules of its account; or why the webhook cannot be read, which is kept as its result.
    pub says: std::result::Result<(Heard, ReplyPolicy), &'static str>,
    /// The webhook, which is marked as interpreted in the same transaction.
    pub webhook: Option<i64>,
}

/// The most that a caller applies in one transaction, so that a send waits for some milliseconds at most.
pub(crate) const HEARD_AT_ONCE: usize = 25;

/// How long a message that may be our own waits for the answer to its call.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

impl Store {
    /// Applies what was heard, in its order, in one transaction, which also marks the webhooks as interpreted.
    ///
    /// # Errors
    /// Returns an error if SQLite fails; nothing was applied then.
    pub async fn hear(&self, all: Vec<ToHear>, now: Timestamp) -> Result<Vec<Consequences>> {
        let at = (self.repeat_scope(), now);
        let done = self.exclusive(now, move |connection| Box::pin(hear_all(connection, all, at))).await?;
        for consequences in &done {
            if let Some(effect @ (Effect::Replied | Effect::Stopped(_))) = consequences.effect {
                self.inner.metrics.count(&HEARD, &[effect.as_str()]);
            }
        }
        Ok(done)
    }

    /// Returns those of the messages of a chat, each with whether it was edited, that outboxd did not send and that were
    /// not heard before, or of which an edit may say something else.
    pub(crate) async fn unheard(
        &self,
        account: &AccountId,
        chat_id: &ChatId,
        shown: &[(&str, bool)],
    ) -> Result<HashSet<String>> {
        const SQL: &str = "SELECT j.value ->> 0 FROM json_each(?3) AS j \
             WHERE NOT EXISTS (SELECT 1 FROM inbound_messages i \
                 WHERE i.account_id = ?1 AND i.chat_id = ?2 AND i.message_id = j.value ->> 0 \
                   AND (NOT j.value ->> 1 OR i.kind NOT IN ('reply', 'out_of_office'))) \
               AND NOT EXISTS (SELECT 1 FROM sent_ids s WHERE s.account_id = ?1 AND s.message_id = j.value ->> 0)";
        let query = sqlx::query_scalar(SQL).bind(account.as_str()).bind(chat_id.as_str());
        let shown = serde_json::to_string(shown).unwrap_or_default();
        let unheard: Vec<String> = query.bind(shown).fetch_all(&self.inner.readers).await?;
        Ok(unheard.into_iter().collect())
    }

    /// Cancels a queued message that an answer stops. Returns whether it did.
    pub async fn cancel_answered(&self, seq: crate::domain::message::Seq, now: Timestamp) -> Result<bool> {
        const SQL: &str = "UPDATE messages SET revision = messages.revision + 1, state = 'cancelled', reason = 'replied', updated_at = ?2 \
             WHERE seq = ?1 AND state = 'queued' AND EXISTS (SELECT 1 FROM answered a WHERE a.seq = messages.seq)";
        Ok(self.execute(now, sqlx::query(SQL).bind(seq.0).bind(time_text(now))).await? > 0)
    }
}

async fn hear_all(
    connection: &mut SqliteConnection,
    all: Vec<ToHear>,
    (repeats, now): (RepeatScope, Timestamp),
) -> Result<Vec<Consequences>> {
    let mut done = Vec::with_capacity(all.len());
    for ToHear { says, webhook } in all {
        let (consequences, result) = match says {
            Ok((heard, reply)) => {
                let consequences = hear(connection, heard, webhook.is_some(), reply, (repeats, now)).await?;
                let result = consequences.effect.map(Effect::as_str);
                (consequences, result)
            }
            Err(why) => (Consequences::default(), Some(why)),
        };
        if let Some(webhook) = webhook {
            interpreted(connection, webhook, result, now).await?;
        }
        done.push(consequences);
    }
    Ok(done)
}

async fn interpreted(
    connection: &mut SqliteConnection,
    webhook: i64,
    result: Option<&str>,
    now: Timestamp,
) -> Result<()> {
    // Its body holds the words of others.
    const DONE: &str = "UPDATE webhooks SET result = ?2, body = NULL WHERE seq = ?1";
    const LATER: &str = "UPDATE webhooks SET look_at = ?2 WHERE seq = ?1";
    let query = match result {
        Some(result) => sqlx::query(DONE).bind(webhook).bind(result.to_owned()),
        None => {
            let look_at = now.checked_add(LOOK_AGAIN).unwrap_or(now);
            sqlx::query(LATER).bind(webhook).bind(time_text(look_at))
        }
    };
    query.execute(connection).await?;
    Ok(())
}

async fn hear(
    connection: &mut SqliteConnection,
    heard: Heard,
    by_webhook: bool,
    reply: ReplyPolicy,
    (repeats, now): (RepeatScope, Timestamp),
) -> Result<Consequences> {
    let Heard { account_id, news, person } = heard;
    if let News::Message(message) = &news {
        let chat = erased::chat_key(account_id.as_str(), message.chat_id.as_str());
        // Nothing is kept of what an erased person writes.
        if erased::is_erased(connection, message.sender_id.iter().cloned().chain([chat]).collect()).await? {
            return Ok(Consequences { effect: Some(Effect::Nothing), ..Consequences::default() });
        }
    }
    let mut concerned = HashSet::new();
    if let Some(person) = &person {
        concerned = people::learn(connection, &account_id, person, None, (repeats, now)).await?;
    }
    let mut done = match news {
        News::Receipt(receipt) => receipts(connection, &account_id, receipt, now).await,
        News::Message(message) => {
            message_heard(connection, account_id, message, by_webhook, reply, now).await
        }
        News::Down { cause, problem } => {
            let accounts = HashSet::from([account_id.clone()]);
            let went = note_down(connection, account_id, Down { cause, since: now, problem }).await?;
            let effect = Some(if went { Effect::AccountDown } else { Effect::Nothing });
            Ok(Consequences { effect, accounts, ..Consequences::default() })
        }
        News::Up => account_up(connection, account_id, now).await,
        News::Connected => connected(connection, account_id, person, now).await,
        News::Other => Ok(Consequences { effect: Some(Effect::Nothing), ..Consequences::default() }),
    }?;
    done.accounts.extend(concerned);
    Ok(done)
}

/// A person became a connection, as was just learned.
async fn connected(
    connection: &mut SqliteConnection,
    account: AccountId,
    person: Option<Person>,
    now: Timestamp,
) -> Result<Consequences> {
    let Some(person) = person else { return Ok(Consequences::default()) };
    let detail = format!("person {}", person.user_id);
    event(connection, &time_text(now), "person.connected", Some(account.as_str()), "", &detail).await?;
    let accounts = HashSet::from([account]);
    Ok(Consequences { effect: Some(Effect::Connected), accounts, ..Consequences::default() })
}

async fn account_up(
    connection: &mut SqliteConnection,
    account: AccountId,
    now: Timestamp,
) -> Result<Consequences> {
    const UP: &str = "UPDATE accounts SET down_cause = NULL, down_at = NULL, down_problem = NULL \
         WHERE id = ?1 AND down_cause = 'disconnected'";
    let up = sqlx::query(UP).bind(account.as_str()).execute(&mut *connection).await?.rows_affected() > 0;
    if up {
        event(connection, &time_text(now), "account.connected", Some(account.as_str()), "", "").await?;
    }
    let effect = Some(if up { Effect::AccountUp } else { Effect::Nothing });
    Ok(Consequences { effect, accounts: HashSet::from([account]), ..Consequences::default() })
}

/// Records when sent messages were delivered or read. A message that was read counts as delivered. What the owner of the
/// account received or read was written by others.
async fn receipts(
    connection: &mut SqliteConnection,
    account: &AccountId,
    receipt: Receipt,
    now: Timestamp,
) -> Result<Consequences> {
    const SET: &str = "UPDATE messages SET revision = messages.revision + 1, updated_at = ?5, \
         delivered_at = coalesce(delivered_at, max(?3, sent_at)), \
         read_at = CASE WHEN ?4 THEN coalesce(read_at, max(?3, sent_at)) ELSE read_at END \
         WHERE state = 'sent' AND (delivered_at IS NULL OR (?4 AND read_at IS NULL)) AND seq IN ";
    const BY_ID: &str = "(SELECT seq FROM sent_ids WHERE account_id = ?1 AND message_id = ?2)";
    const BY_CHAT: &str = "(SELECT m.seq FROM messages m INDEXED BY messages_by_chat \
         WHERE m.chat_id = ?2 AND m.account_id = ?1 AND m.state = 'sent' AND m.sent_at <= ?3)";
    let is_owners = match &receipt.user_id {
        Some(user_id) => is_owner(connection, account, user_id).await?,
        None => false,
    };
    let (which, key) = match (&receipt.message_id, &receipt.chat_id) {
        (Some(id), _) if !is_owners => (BY_ID, id.as_str()),
        (None, Some(chat_id)) if !is_owners => (BY_CHAT, chat_id.as_str()),
        (_, _) => return Ok(Consequences { effect: Some(Effect::Nothing), ..Consequences::default() }),
    };
    // Built from the constants above.
    let sql = sqlx::AssertSqlSafe(format!("{SET}{which}"));
    let query = sqlx::query(sql).bind(account.as_str()).bind(key).bind(time_text(receipt.at));
    let changed = query.bind(receipt.is_read).bind(time_text(now)).execute(connection).await?.rows_affected();
    let effect = match (changed, receipt.is_read) {
        (0, _) => Effect::Nothing,
        (_, true) => Effect::Read,
        (_, false) => Effect::Delivered,
    };
    Ok(Consequences { effect: Some(effect), ..Consequences::default() })
}

async fn message_heard(
    connection: &mut SqliteConnection,
    account: AccountId,
    message: HeardMessage,
    by_webhook: bool,
    reply: ReplyPolicy,
    now: Timestamp,
) -> Result<Consequences> {
    const KEEP: &str = "INSERT INTO inbound_messages (account_id, chat_id, message_id, sender_id, at, heard_at, source, kind, text) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) \
         ON CONFLICT DO UPDATE SET kind = excluded.kind, heard_at = excluded.heard_at, text = excluded.text \
           WHERE ?10 AND kind IN ('reply', 'out_of_office') AND excluded.kind NOT IN (kind, 'owner')";
    let done = |effect| Ok(Consequences { effect: Some(effect), ..Consequences::default() });
    let author = author(connection, &account, &message).await?;
    let kind = match author {
        Author::NotKnownYet => return Ok(Consequences::default()),
        Author::Us => return done(Effect::Own),
        _ if message.meaning == Meaning::Nothing => return done(Effect::Nothing),
        Author::Owner => "owner",
        Author::Other => message.meaning.as_str(),
    };
    let query = sqlx::query(KEEP).bind(account.as_str()).bind(message.chat_id.as_str());
    let query = query.bind(&message.message_id).bind(&message.sender_id).bind(time_text(message.at));
    let query = query.bind(time_text(now)).bind(if by_webhook { "webhook" } else { "read" }).bind(kind);
    let query = query.bind(Some(message.text.as_str()).filter(|_| reply.keep_bodies)).bind(message.is_edited);
    // An edit counts if it says something else; nothing that is edited lifts a wish to be left alone.
    if query.execute(&mut *connection).await?.rows_affected() == 0 {
        return done(Effect::Known);
    }
    let sender = message.sender_id.as_deref().filter(|_| matches!(author, Author::Other));
    let other = people::in_chat(connection, &account, &message.chat_id, sender).await?;
    let stops = stops_for(&account, &message, &other, &author, reply);
    let Some(reason) = stops.first().map(|stop| stop.reason) else {
        return replied(connection, account, &message, other.people, reply.everywhere, now).await;
    };
    let (mut accounts, mut cancelled, mut is_over) = (HashSet::new(), 0, true);
    for stop in stops.into_iter().filter(|stop| stop.until.is_none_or(|until| until > now)) {
        let (concerned, messages) = stops::set_one(connection, stop, now).await?;
        accounts.extend(concerned);
        cancelled += messages;
        is_over = false;
    }
    let effect = if is_over { Effect::Nothing } else { Effect::Stopped(reason) };
    Ok(Consequences { effect: Some(effect), accounts, cancelled })
}

/// Returns the stops that follow from a message; none if it is an answer.
fn stops_for(
    account: &AccountId,
    message: &HeardMessage,
    other: &OtherSide,
    author: &Author,
    reply: ReplyPolicy,
) -> Vec<NewStop> {
    let later = |length: Duration| message.at.checked_add(length).ok();
    // To the minute: a date in the text ends at midnight, and the two clocks differ by seconds.
    let midnight = |away: Duration| later(away).and_then(|at| at.round(Unit::Minute).ok());
    let (reason, until) = match (author, message.meaning) {
        (Author::Owner, _) => (StopReason::OwnerWrote, later(reply.owner_wrote)),
        (_, Meaning::OutOfOffice(Some(away))) => (StopReason::OutOfOffice, midnight(away)),
        (_, Meaning::OutOfOffice(None)) => (StopReason::OutOfOffice, later(reply.out_of_office)),
        (_, Meaning::OptOut) => (StopReason::Suppressed, None),
        (_, Meaning::Reply | Meaning::Nothing) => return Vec::new(),
    };
    // A message into a chat is for a person only if it is known whose chat it is.
    let chat = (!other.is_known).then(|| (StopScope::Chat, message.chat_id.as_str().to_owned()));
    let people = other.people.iter().map(|person| (StopScope::Person, person.clone()));
    // An opt-out holds on every account.
    let account_id = (reason != StopReason::Suppressed).then(|| account.clone());
    let note = (reason == StopReason::Suppressed)
        .then(|| format!("opted out in chat {}, message {}", message.chat_id, message.message_id));
    let until = until.map(crate::domain::whole_milliseconds);
    let stop = |(scope, key)| NewStop {
        key: StopKey { scope, key, account_id: account_id.clone() },
        reason,
        until,
        // Each end is a length from the message on, also that of a date, which its writer's clock shows.
        has_length: until.is_some(),
        actor: "reply".to_owned(),
        note: note.clone(),
    };
    people.chain(chat).map(stop).collect()
}

/// Records an answer: marks what was answered, and cancels what waits for the person.
async fn replied(
    connection: &mut SqliteConnection,
    account: AccountId,
    message: &HeardMessage,
    people: Vec<String>,
    everywhere: bool,
    now: Timestamp,
) -> Result<Consequences> {
    const KEEP: &str = "INSERT INTO replies (account_id, thread, at) \
         SELECT DISTINCT m.account_id, m.thread, ?3 FROM messages m INDEXED BY messages_by_thread \
          WHERE m.thread IN (SELECT value FROM json_each(?2)) AND (?4 OR m.account_id = ?1) \
         UNION SELECT ?1, value, ?3 FROM json_each(?2) WHERE true \
         ON CONFLICT (account_id, thread) DO UPDATE SET at = max(at, excluded.at)";
    const MARK: &str = "UPDATE messages SET revision = messages.revision + 1, replied_at = ?3, updated_at = ?4 \
         WHERE replied_at IS NULL AND seq = (SELECT m.seq FROM messages m INDEXED BY messages_by_thread \
           WHERE m.account_id = ?1 AND m.thread IN (SELECT value FROM json_each(?2)) AND m.state = 'sent' AND m.sent_at <= ?3 \
           ORDER BY m.sent_at DESC LIMIT 1) RETURNING id";
    const CANCEL: &str = "UPDATE messages SET revision = messages.revision + 1, state = 'cancelled', reason = 'replied', updated_at = ?3 \
         WHERE state = 'queued' AND seq IN (SELECT m.seq FROM messages m INDEXED BY messages_by_thread \
           WHERE m.thread IN (SELECT value FROM json_each(?2)) AND (?4 OR m.account_id = ?1) AND m.state = 'queued') \
           AND EXISTS (SELECT 1 FROM answered a WHERE a.seq = messages.seq) RETURNING account_id";
    // What is queued for the same people as a group that was written to in this chat.
    const GROUPS: &str = "SELECT DISTINCT thread FROM messages INDEXED BY messages_by_chat \
         WHERE chat_id = ?1 AND account_id = ?2 AND thread >= 'group:' AND thread < 'group;'";
    let query = sqlx::query_scalar(GROUPS).bind(message.chat_id.as_str()).bind(account.as_str());
    let mut threads: Vec<String> = query.fetch_all(&mut *connection).await?;
    threads.push(format!("chat:{}", message.chat_id));
    threads.extend(people.into_iter().map(|person| format!("user:{person}")));
    let threads = serde_json::to_string(&threads).unwrap_or_default();
    let at = time_text(message.at);
    let query = sqlx::query(KEEP).bind(account.as_str()).bind(&threads).bind(&at).bind(everywhere);
    query.execute(&mut *connection).await?;
    let query = sqlx::query_scalar(MARK).bind(account.as_str()).bind(&threads).bind(&at);
    let query = query.bind(time_text(now));
    let answered: Option<String> = query.fetch_optional(&mut *connection).await?;
    let query = sqlx::query_scalar(CANCEL).bind(account.as_str()).bind(&threads).bind(time_text(now));
    let cancelled: Vec<String> = query.bind(everywhere).fetch_all(&mut *connection).await?;
    let detail = format!("chat {}, message {}", message.chat_id, message.message_id);
    let at = time_text(now);
    event(connection, &at, "reply", Some(account.as_str()), Reason::Replied.as_str(), &detail).await?;
    let effect = match cancelled.is_empty() && answered.is_none() {
        true => Effect::Nothing,
        false => Effect::Replied,
    };
    let accounts = cancelled.iter().map(AccountId::new).chain([account]).collect();
    let cancelled = u64::try_from(cancelled.len()).unwrap_or(u64::MAX);
    Ok(Consequences { effect: Some(effect), cancelled, accounts })
}
