//! The network between the engine and the sandbox's world: it carries requests on the simulated clock and breaks them.
//!
//! What is asked for is what the real client would write (`provider::request`), what is answered is what the sandbox
//! says, and what that means is decided by the real `classify`. In between a [`Fate`] delays, cuts or garbles. A request
//! that has left flies on when the process that sent it is killed: it is delivered when its time comes.

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

use super::people::{self, Hand};
use super::stop::StopAt;
use crate::engine_pace::time::FakeClock;
use crate::queue::at;

/// The client gives up after this time, as the real one does by default.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(90);

/// What becomes of one request.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fate {
    /// No connection stands.
    NoConnection,
    /// It is delivered after `delivered` (or never), and after `answered` comes `with`.
    Arrives { delivered: Option<Duration>, answered: Duration, with: With },
}

/// What comes back.
#[derive(Debug, Clone, Copy)]
pub(crate) enum With {
    /// What the service says; it must be delivered by then.
    Answer,
    /// An error of the service's: status, type, seconds of `retry-after`.
    Error(u16, &'static str, Option<u64>),
    /// Something that is no answer, with this status.
    Garbage(u16),
    /// The end of the connection.
    Cut,
}

/// What is decided about a call, and about a read: whether it fails.
pub(crate) trait FaultPlan: Send + Sync {
    /// Of the `number`th call of an account, from 0.
    fn of_call(&self, call: &Call, number: u64) -> Fate;
    /// Of the `number`th read of an account: whether it is answered.
    fn answers_read(&self, account: &str, number: u64) -> bool;
    /// Whether typing and what is asked of an account itself are answered now.
    fn answers_account(&self) -> bool {
        true
    }
    /// What somebody writes by hand as the `number`th call of an account begins.
    fn by_hand(&self, _account: &str, _number: u64) -> Option<Hand> {
        None
    }
    /// How long a message is not shown that was delivered as the account's `number`th.
    fn lag(&self, account: &str, number: u64) -> Duration;
}

/// A call that left the process, as the judge knows it.
#[derive(Debug, Clone)]
pub(crate) struct Left {
    pub(crate) account: String,
    pub(crate) text: String,
    /// By the clock that nobody sets.
    pub(crate) at: Duration,
    /// By the clock that the daemon saw.
    pub(crate) wall: Timestamp,
    /// Whether its intent was on disk before it left.
    pub(crate) had_intent: bool,
    /// Whether it reaches somebody, soon or late.
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
    /// What the service said to a delivered request.
    said: HashMap<u64, (u16, Vec<u8>)>,
    pub(super) shown_at: HashMap<String, Duration>,
    /// LinkedIn said "too many" to this text, at this time of the clock that nobody sets.
    throttled: Vec<(String, String, Duration)>,
    tickets: u64,
    held: usize,
    /// Messages that people wrote by hand.
    by_hand: u64,
    /// Whether this process has heard an answer, and with it the time.
    pub(super) knows_time: bool,
}

/// The network and what is behind it; outlives every process.
pub(crate) struct Carrier {
    pub(crate) clock: FakeClock,
    pub(crate) world: World,
    fault_plan: Mutex<Arc<dyn FaultPlan>>,
    pub(super) stop: Arc<StopAt>,
    database: PathBuf,
    /// Somebody else's look at the queue.
    judge: Mutex<Option<Connection>>,
    sky: Mutex<Sky>,
}

/// The clock of LinkedIn, which nobody sets.
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

    /// From now on it is like this.
    pub(crate) fn set_weather(&self, fault_plan: Arc<dyn FaultPlan>) {
        *self.fault_plan.lock().expect("nothing panics while holding it") = fault_plan;
    }

    /// Every call that left, oldest first.
    pub(crate) fn left(&self) -> Vec<Left> {
        self.sky().left.clone()
    }

    /// Account and text that LinkedIn answered "too many" to, and when.
    pub(crate) fn throttled(&self) -> Vec<(String, String, Duration)> {
        self.sky().throttled.clone()
    }

    /// Calls that wait for their answer: their steps live but are not at work.
    pub(crate) fn held(&self) -> usize {
        self.sky().held
    }

    /// When the next request is delivered.
    pub(crate) fn next_delivery(&self) -> Option<Duration> {
        self.sky().flying.iter().map(|flying| flying.due).min()
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
            }
            sky.said.insert(ticket, (status, answer));
        }
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

    /// Whether the queue's file says, to somebody else, that this call is about to be made.
    fn has_intent(&self, call: &Call) -> bool {
        const SQL: &str = "SELECT count(*) FROM messages m JOIN attempts t ON t.seq = m.seq AND t.number = m.attempts \
             WHERE m.account_id = ?1 AND m.text = ?2 AND m.state = 'sending' AND t.ended_at IS NULL";
        self.count(SQL, &[call.account_id.as_str(), call.text.as_str()]) == 1
    }

    /// A number that the queue's file says to somebody else.
    pub(crate) fn count(&self, sql: &str, values: &[&str]) -> i64 {
        let mut judge = self.judge.lock().expect("nothing panics while holding it");
        let connection = judge.get_or_insert_with(|| Connection::open(&self.database).expect("the queue"));
        let mut statement = connection.prepare_cached(sql).expect("SQL");
        statement.query_row(rusqlite::params_from_iter(values), |row| row.get(0)).expect("a count")
    }

    /// How many messages people wrote by hand.
    pub(crate) fn by_hand(&self) -> u64 {
        self.sky().by_hand
    }

    /// Lets go of the queue's file; the next process has heard nothing yet.
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
        // It is answered, and nobody knows.
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
        let outcome = classify(&Answer { expected, status, retry_after, body: &body });
        if matches!(outcome, Outcome::Throttled(_)) {
            let now = self.clock.monotonic();
            self.sky().throttled.push((of.0.to_owned(), of.1.to_owned(), now));
        }
        Reply { phase: Phase::Answered, outcome }
    }
}

/// The files of a call as the real client streams them.
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
