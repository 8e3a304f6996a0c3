//! The network between the engine and the sandbox's world: it carries requests on the simulated clock and breaks
//! them.
//!
//! Requests are what the real client would write (`provider::request`), answers are the sandbox's, and the real
//! `classify` decides what they mean. In between a [`Fate`] delays, cuts or garbles them. A request that has left
//! stays on its way when the process that sent it is killed: it is delivered when its time comes.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use outboxd::clock::{Clock, Sleep};
use outboxd::domain::outcome::{Hold, Outcome, Phase, ProviderError};
use outboxd::provider::{Answer, Call, Dialect, Expected, Reply, classify, request};
use outboxd::sandbox::{SandboxConfig, World};
use rusqlite::Connection;
use serde_json::Value;

use super::people::{self, Hand, Reaction, Says};
use super::stop::StopAt;
use crate::engine_pace::time::FakeClock;
use crate::queue::at;

/// Timeout of the client, the real one's default.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(90);

/// What happens to one request.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fate {
    /// The connection fails.
    NoConnection,
    /// The request is delivered after `delivered` (or never), and the client gets `with` after `answered`.
    Arrives { delivered: Option<Duration>, answered: Duration, with: With },
}

/// What the client gets.
#[derive(Debug, Clone, Copy)]
pub(crate) enum With {
    /// The service's answer; the request must be delivered by then.
    Answer,
    /// An error of the service: status, type, seconds of `retry-after`.
    Error(u16, &'static str, Option<u64>),
    /// A body that is not an answer, with this status.
    Garbage(u16),
    /// The end of the connection.
    Cut,
}

/// The fault plan: decides for each call and each read whether it fails.
pub(crate) trait FaultPlan: Send + Sync {
    /// Decides the `number`th call of an account, from 0.
    fn of_call(&self, call: &Call, number: u64) -> Fate;
    /// Returns whether the `number`th read of an account is answered.
    fn answers_read(&self, account: &str, number: u64) -> bool;
    /// Returns whether typing and reads of account data are answered now.
    fn answers_account(&self) -> bool {
        true
    }
    /// Returns what a person writes by hand as the `number`th call of an account begins.
    fn by_hand(&self, _account: &str, _number: u64) -> Option<Hand> {
        None
    }
    /// Returns what is written into the chat of a step that the `number`th call of an account delivered, and how long
    /// after.
    fn reaction(&self, _account: &str, _number: u64) -> Option<(Says, Duration)> {
        None
    }
    /// Returns how long the account's `number`th message is not shown after its delivery.
    fn lag(&self, account: &str, number: u64) -> Duration;
}

/// A call that left the process, as the checkers see it.
#[derive(Debug, Clone)]
pub(crate) struct Left {
    pub(crate) account: String,
    pub(crate) text: String,
    /// By the monotonic clock.
    pub(crate) at: Duration,
    /// By the wall clock that the daemon saw.
    pub(crate) wall: Timestamp,
    /// Whether its intent was on disk before it left.
    pub(crate) had_intent: bool,
    /// Whether it reaches its recipient, sooner or later.
    pub(crate) reaches: bool,
}

/// A request on its way to its delivery.
struct Flying {
    due: Duration,
    ticket: u64,
    account: String,
    number: u64,
    path: String,
    body: Value,
}

#[derive(Default)]
pub(super) struct Sky {
    calls: HashMap<String, u64>,
    pub(super) reads: HashMap<String, u64>,
    left: Vec<Left>,
    flying: Vec<Flying>,
    /// The service's answers to delivered requests, by ticket.
    said: HashMap<u64, (u16, Vec<u8>)>,
    pub(super) shown_at: HashMap<String, Duration>,
    /// Account, text and monotonic time of each call that LinkedIn answered with "too many".
    throttled: Vec<(String, String, Duration)>,
    /// Account and monotonic time of each read of a profile.
    pub(super) profiles: Vec<(String, Duration)>,
    tickets: u64,
    held: usize,
    /// Messages that people wrote by hand.
    by_hand: u64,
    /// What will be written into chats, and what was.
    reactions: Vec<Reaction>,
    reacted: Vec<Reaction>,
    /// Whether this process has received an answer, and with it the time.
    pub(super) knows_time: bool,
}

/// The network and the sandbox behind it; outlives every process.
pub(crate) struct Carrier {
    pub(crate) clock: FakeClock,
    pub(crate) world: World,
    fault_plan: Mutex<Arc<dyn FaultPlan>>,
    pub(super) stop: Arc<StopAt>,
    database: PathBuf,
    /// A second connection to the queue, for the checks.
    judge: Mutex<Option<Connection>>,
    sky: Mutex<Sky>,
}

/// LinkedIn's clock, which the simulation never sets.
struct Theirs(FakeClock);

impl Clock for Theirs {
    fn now(&self) -> Timestamp {
        at(0) + self.0.monotonic()
    }
    fn monotonic(&self) -> Duration {
        self.0.monotonic()
    }
    fn sleep(&self, duration: Duration) -> Sleep {
        self.0.sleep(duration)
    }
}

impl Carrier {
    pub(crate) fn new(
        clock: FakeClock,
        fault_plan: Arc<dyn FaultPlan>,
        stop: Arc<StopAt>,
        database: PathBuf,
    ) -> Self {
        let world = World::new(SandboxConfig::default(), Arc::new(Theirs(clock.clone())));
        Self {
            clock,
            world,
            fault_plan: Mutex::new(fault_plan),
            stop,
            database,
            judge: Mutex::default(),
            sky: Mutex::default(),
        }
    }

    pub(super) fn sky(&self) -> MutexGuard<'_, Sky> {
        self.sky.lock().expect("nothing panics while holding it")
    }

    pub(super) fn fault_plan(&self) -> Arc<dyn FaultPlan> {
        Arc::clone(&self.fault_plan.lock().expect("nothing panics while holding it"))
    }

    /// Replaces the fault plan.
    pub(crate) fn set_weather(&self, fault_plan: Arc<dyn FaultPlan>) {
        *self.fault_plan.lock().expect("nothing panics while holding it") = fault_plan;
    }

    /// Returns every call that left, oldest first.
    pub(crate) fn left(&self) -> Vec<Left> {
        self.sky().left.clone()
    }

    /// Returns account, text and time of each call that LinkedIn answered with "too many".
    pub(crate) fn throttled(&self) -> Vec<(String, String, Duration)> {
        self.sky().throttled.clone()
    }

    /// Returns how many reads of chats and profiles there were.
    pub(crate) fn reads(&self) -> u64 {
        self.sky().reads.values().sum()
    }

    /// Returns account and time of each read of a profile.
    pub(crate) fn profiles(&self) -> Vec<(String, Duration)> {
        self.sky().profiles.clone()
    }

    /// Returns the number of calls that wait for their answer: their steps are alive but not at work.
    pub(crate) fn held(&self) -> usize {
        self.sky().held
    }

    /// Returns when the next request is delivered, or the next reaction is written.
    pub(crate) fn next_delivery(&self) -> Option<Duration> {
        let sky = self.sky();
        let written = sky.reactions.iter().map(|reaction| reaction.at);
        sky.flying.iter().map(|flying| flying.due).chain(written).min()
    }

    /// Delivers what is due.
    pub(crate) fn deliver(&self) {
        let now = self.clock.monotonic();
        let fault_plan = self.fault_plan();
        let mut sky = self.sky();
        let (mut due, rest): (Vec<Flying>, Vec<Flying>) =
            std::mem::take(&mut sky.flying).into_iter().partition(|flying| flying.due <= now);
        sky.flying = rest;
        due.sort_by_key(|flying| (flying.due, flying.ticket));
        for Flying { ticket, account, number, path, body, .. } in due {
            let (status, answer) = self.ask("POST", &path, Some(&body));
            let value: Option<Value> = serde_json::from_slice(&answer).ok();
            if let Some(id) = value.as_ref().and_then(|value| value["message_id"].as_str()) {
                sky.shown_at.insert(id.to_owned(), now + fault_plan.lag(&account, number));
                if let Some((says, after)) = fault_plan.reaction(&account, number) {
                    sky.reactions.extend(self.reaction(id, says, now + after));
                }
            }
            sky.said.insert(ticket, (status, answer));
        }
        let (due, rest): (Vec<Reaction>, Vec<Reaction>) =
            std::mem::take(&mut sky.reactions).into_iter().partition(|reaction| reaction.at <= now);
        sky.reactions = rest;
        for reaction in due {
            people::react(&self.world, &reaction, sky.reacted.len(), at(0) + now);
            sky.reacted.push(reaction);
        }
    }

    /// Returns what is written at `at` after the message `id` arrived, if it is a step.
    fn reaction(&self, id: &str, says: Says, at: Duration) -> Option<Reaction> {
        let delivery = self.world.deliveries().into_iter().find(|one| one.message_id == id)?;
        let (_, person) =
            delivery.text.split_once(" step ").map(|(to, _)| to).and_then(|to| to.split_once(' '))?;
        // Those who opt out get nothing but steps.
        let says = if says == Says::OptOut && !person.starts_with('p') { Says::Reply } else { says };
        let (account, chat_id, to) = (delivery.account_id, delivery.chat_id, delivery.text);
        Some(Reaction { at, says, account, chat_id, to })
    }

    /// Returns what was written into chats after steps arrived there.
    pub(crate) fn reacted(&self) -> Vec<Reaction> {
        self.sky().reacted.clone()
    }

    pub(super) fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Vec<u8>) {
        let request = axum::http::Request::builder()
            .method(method)
            .uri(path)
            .header("x-api-key", "sandbox-key")
            .header("cache-control", "no-cache");
        let request = match body {
            Some(body) => request
                .header("content-type", "application/json")
                .body(serde_json::to_vec(body).expect("JSON is bytes")),
            None => request.body(Vec::new()),
        };
        let answer = self.world.answer(request.expect("a request"));
        (answer.status().as_u16(), answer.into_body())
    }

    /// Returns whether the queue's file, on a second connection, shows that this call is about to be made.
    fn has_intent(&self, call: &Call) -> bool {
        const SQL: &str = "SELECT count(*) FROM messages m JOIN attempts t ON t.seq = m.seq AND t.number = m.attempts \
             WHERE m.account_id = ?1 AND m.text = ?2 AND m.state = 'sending' AND t.ended_at IS NULL";
        self.count(SQL, &[call.account_id.as_str(), call.text.as_str()]) == 1
    }

    /// Returns a number that `sql` reads on a second connection.
    pub(crate) fn count(&self, sql: &str, values: &[&str]) -> i64 {
        self.rows(sql, values, |row| row.get(0)).pop().expect("a count")
    }

    /// Returns what `sql` reads on a second connection, which parses the schema once.
    pub(crate) fn rows<R>(
        &self,
        sql: &str,
        values: &[&str],
        row: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<R>,
    ) -> Vec<R> {
        let mut judge = self.judge.lock().expect("nothing panics while holding it");
        let connection = judge.get_or_insert_with(|| Connection::open(&self.database).expect("the queue"));
        let mut statement = connection.prepare_cached(sql).expect("SQL");
        let rows = statement.query_map(rusqlite::params_from_iter(values), row).expect("rows");
        rows.collect::<Result<_, _>>().expect("rows")
    }

    /// Returns how many messages people wrote by hand.
    pub(crate) fn by_hand(&self) -> u64 {
        self.sky().by_hand
    }

    /// Closes the second connection; the next process has received no answer yet.
    pub(crate) fn look_away(&self) {
        self.sky().knows_time = false;
        *self.judge.lock().expect("nothing panics while holding it") = None;
    }

    pub(super) async fn carry(&self, call: Call) -> Reply {
        let had_intent = self.has_intent(&call);
        // The intent is on disk and nothing has left.
        self.stop.point().await;
        let account = call.account_id.to_string();
        let (path, mut body, expected) = request(&call, Dialect::Specifics);
        if !call.attachments.is_empty() {
            body["attachments"] = files(&call).await;
        }
        let (now, wall) = (self.clock.monotonic(), self.clock.now());
        let number = count(&mut self.sky().calls, &account);
        let fate = self.fault_plan().of_call(&call, number);
        let Fate::Arrives { delivered, answered, with } = fate else {
            let problem = ProviderError::local("cannot_connect", "as decided");
            let outcome = Outcome::NotSent { problem, hold: Hold::Api };
            return Reply { phase: Phase::Connecting, outcome };
        };
        if let Some(hand) = self.fault_plan().by_hand(&account, number) {
            let written = self.sky().by_hand;
            let is_written = people::write(&self.world, &call, hand, written, at(0) + now);
            self.sky().by_hand += u64::from(is_written);
        }
        let ticket = {
            let mut sky = self.sky();
            sky.tickets += 1;
            let ticket = sky.tickets;
            let (text, account) = (call.text.clone(), account.clone());
            sky.left.push(Left {
                account: account.clone(),
                text,
                at: now,
                wall,
                had_intent,
                reaches: delivered.is_some(),
            });
            if let Some(delivered) = delivered {
                sky.flying.push(Flying { due: now + delivered, ticket, account, number, path, body });
            }
            ticket
        };
        self.deliver();
        // It has left, and perhaps it is delivered.
        self.stop.point().await;
        {
            let _held = Held::begin(self);
            self.clock.sleep(answered.min(TIMEOUT)).await;
        }
        let reply = if answered > TIMEOUT {
            unknown("timeout")
        } else {
            self.sky().knows_time |= matches!(with, With::Answer | With::Error(..));
            self.answer(ticket, with, expected, (&account, &call.text))
        };
        // It is answered, and the answer is not recorded.
        self.stop.point().await;
        reply
    }

    fn answer(&self, ticket: u64, with: With, expected: Expected, of: (&str, &str)) -> Reply {
        let (status, body, retry_after) = match with {
            With::Answer => {
                let (status, body) =
                    self.sky().said.remove(&ticket).expect("it is delivered before it is answered");
                (status, body, None)
            }
            With::Error(status, kind, retry_after) => {
                let body = serde_json::json!({"object": "Error", "type": kind, "status": status, "title": "", "detail": ""});
                (status, body.to_string().into_bytes(), retry_after)
            }
            With::Garbage(status) => (status, b"<html>".to_vec(), None),
            With::Cut => return unknown("no_answer"),
        };
        let retry_after = retry_after.map(Duration::from_secs);
        let outcome = classify(&Answer { expected, sent: 0, status, retry_after, body: &body });
        if matches!(outcome, Outcome::Throttled(_)) {
            let now = self.clock.monotonic();
            self.sky().throttled.push((of.0.to_owned(), of.1.to_owned(), now));
        }
        Reply { phase: Phase::Answered, outcome }
    }
}

/// Returns the files of a call as the real client streams them.
async fn files(call: &Call) -> Value {
    let mut files = Vec::new();
    for file in &call.attachments {
        let mut bytes = Vec::new();
        for piece in 0.. {
            match file.content.piece(piece).await.expect("its bytes are in the queue") {
                Some(more) => bytes.extend(more),
                None => break,
            }
        }
        let (filename, content_type) = (&file.attachment.filename, &file.attachment.content_type);
        let content = STANDARD.encode(bytes);
        files.push(
            serde_json::json!({"filename": filename, "content_type": content_type, "content": content}),
        );
    }
    files.into()
}

pub(super) fn count(counts: &mut HashMap<String, u64>, account: &str) -> u64 {
    let count = counts.entry(account.to_owned()).or_default();
    *count += 1;
    *count - 1
}

fn unknown(kind: &str) -> Reply {
    let problem = ProviderError::local(kind, "as decided");
    Reply { phase: Phase::Written, outcome: Outcome::Uncertain { phase: Phase::Written, problem } }
}

/// A call that waits on purpose.
struct Held<'a>(&'a Carrier);

impl<'a> Held<'a> {
    fn begin(carrier: &'a Carrier) -> Self {
        carrier.sky().held += 1;
        Self(carrier)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.sky().held -= 1;
    }
}
