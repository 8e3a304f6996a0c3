//! The crash sweep: one run of a mixed queue, stopped at its k-th call of the store or the provider, for every k (P1
//! to P6).
//!
//! Each stop is the death of a process (`simulation/life.rs`): before a verb of the store is handed over, after its
//! commit and before its caller learns of it, with the intent on disk and no byte sent, with the request sent and
//! perhaps delivered, with the answer there and not recorded, and before each read. The next process continues; then
//! the checkers of the simulation check the ledger.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use outboxd::domain::attachment::{Attachment, Blob};
use outboxd::domain::message::{ChatId, Extras, Inbox, NewMessage, Target, UserId};
use outboxd::domain::policy::Absent;
use outboxd::provider::Call;

use crate::engine_pace::bench::policy;
use crate::engine_pace::time::seconds;
use crate::queue::{account, keyed, to_chat, to_user};
use crate::simulation::acts;
use crate::simulation::carrier::{Fate, FaultPlan, With};
use crate::simulation::checkers::{Evidence, Notes};
use crate::simulation::life::{Life, Universe};

const SEED: u64 = 20_261_125;

/// Fault plan by text: fails the first call of certain texts, and none after it.
#[derive(Default)]
struct ByText(Mutex<HashMap<String, u64>>);

impl FaultPlan for ByText {
    fn of_call(&self, call: &Call, _: u64) -> Fate {
        let mut calls = self.0.lock().unwrap();
        let tries = calls.entry(call.text.clone()).or_default();
        *tries += 1;
        let arrives = |delivered: Option<u64>, answered: u64, with: With| Fate::Arrives {
            delivered: delivered.map(seconds),
            answered: seconds(answered),
            with,
        };
        match call.text.as_str() {
            "tried again" if *tries == 1 => arrives(None, 1, With::Error(407, "api/proxy_auth_error", None)),
            "limited" if *tries == 1 => arrives(None, 1, With::Error(429, "api/too_many_requests", Some(30))),
            "throttled" if *tries == 1 => {
                arrives(None, 1, With::Error(429, "provider/too_many_requests", None))
            }
            "cut" if *tries == 1 => arrives(Some(0), 1, With::Cut),
            "lost" | "lost for a person" if *tries == 1 => arrives(None, 1, With::Cut),
            "late" if *tries == 1 => arrives(Some(100), 200, With::Answer),
            "unreachable" if *tries == 1 => Fate::NoConnection,
            _ => arrives(Some(0), 1, With::Answer),
        }
    }

    fn answers_read(&self, _: &str, number: u64) -> bool {
        number != 1
    }

    fn lag(&self, _: &str, _: u64) -> Duration {
        seconds(20)
    }
}

fn universe() -> Universe {
    let mut policy = policy();
    policy.typing.enabled = true;
    policy.cooldown.first = seconds(120);
    // The last read still comes after the client's timeout, and after the time that a message takes to show.
    policy.reconcile.after = vec![seconds(40), seconds(120), seconds(240)];
    policy.reconcile.absent = Absent::Resend;
    let mut careful = policy.clone();
    careful.reconcile.absent = Absent::Review;
    Universe::new(SEED, Arc::new(ByText::default()), policy, HashMap::from([(account("2"), careful)]))
}

/// Returns the queue: every form of message, and every kind of outcome.
fn messages() -> Vec<(NewMessage, Vec<Blob>)> {
    let group = |text: &str| {
        let users_ids = vec![UserId::new("eve"), UserId::new("mallory")];
        let target = Target::Group { users_ids, inbox: Inbox::OfPolicy };
        let extras = Extras { name: Some("G".into()), ..Extras::default() };
        NewMessage { target, extras, ..to_chat("", text) }
    };
    let source_chat_id = ChatId::new("source");
    let forward =
        Target::Forward { source_chat_id, source_message_id: "m1".into(), chat_id: ChatId::new("c1") };
    let file = Attachment {
        filename: "cv.pdf".into(),
        content_type: "application/pdf".into(),
        send_mode: None,
        voice_note: false,
        duration: None,
        size: 8,
        sha256: "c5".repeat(32),
    };
    let blob = Blob { sha256: file.sha256.clone(), bytes: Arc::new(b"%PDF-1.7".to_vec()) };
    let extras = Extras { attachments: vec![file], ..Extras::default() };
    let plain = [
        to_chat("c1", "plain"),
        NewMessage { text: "started".into(), ..to_user("ada", Inbox::OfPolicy) },
        group("to a group"),
        NewMessage { target: forward, ..to_chat("", "forwarded") },
        to_chat("c2", "tried again"),
        to_chat("c2", "behind it"),
        to_chat("c3", "cut"),
        NewMessage { text: "lost".into(), ..to_user("bob", Inbox::OfPolicy) },
        to_chat("c4", "late"),
        to_chat("c5", "taken back"),
        to_chat("c6", "unreachable"),
        NewMessage { account_id: account("2"), ..to_chat("c1", "limited") },
        NewMessage { account_id: account("2"), ..to_chat("c2", "lost for a person") },
        NewMessage { account_id: account("2"), ..to_chat("c3", "throttled") },
    ];
    let mut messages: Vec<(NewMessage, Vec<Blob>)> =
        plain.into_iter().map(|message| (message, Vec::new())).collect();
    messages.insert(4, (NewMessage { extras, ..to_chat("c1", "with a file") }, vec![blob]));
    let key = |(message, blobs): (NewMessage, Vec<Blob>)| (keyed(&message.text.clone(), message), blobs);
    messages.into_iter().map(key).collect()
}

/// Runs the same steps in each life; what was acknowledged before changes nothing.
async fn scenario(life: &mut Life<'_>, notes: &mut Notes) -> bool {
    for (message, blobs) in messages() {
        let key = message.text.clone();
        let id = acts::give(life, notes, message, blobs).await;
        if key == "taken back" {
            acts::cancel(life, notes, &key, id).await;
        }
    }
    life.pass(seconds(15)).await;
    acts::pause(life, notes, Some("acc_2"), None).await;
    life.pass(seconds(90)).await;
    acts::explain(life, notes).await;
    acts::resume(life, notes, Some("acc_2")).await;
    let finished = acts::finish(life, seconds(120), 60).await;
    life.stop(seconds(30)).await;
    finished
}

/// Runs the sweep's scenario with a stop at call number `k`; returns how many calls there were.
fn run(k: Option<u64>) -> u64 {
    let universe = universe();
    let mut notes = Notes::default();
    universe.stop.arm(k);
    let told = universe.live(async |life| scenario(life, &mut notes).await);
    let calls = universe.stop.passed();
    let finished = told.or_else(|| {
        universe.stop.arm(None);
        universe.live(async |life| scenario(life, &mut notes).await)
    });
    assert_eq!(finished, Some(true), "stopped at call {k:?}: the queue does not come to its end");
    let wrongs = Evidence::new(&universe, &notes).wrongs();
    assert!(wrongs.is_empty(), "stopped at call {k:?}:\n  {}", wrongs.join("\n  "));
    let delivered = universe.carrier.world.delivered_count();
    assert!((14..=15).contains(&delivered), "stopped at call {k:?}: {delivered} arrived");
    calls
}

#[test]
fn a_run_that_is_stopped_at_any_call_loses_nothing_repeats_nothing_and_keeps_the_gap() {
    let calls = run(None);
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 * std::thread::available_parallelism().map_or(1, usize::from).min(4) {
            scope.spawn(|| {
                loop {
                    let k = next.fetch_add(1, Ordering::Relaxed);
                    if k >= calls {
                        return;
                    }
                    run(Some(k));
                }
            });
        }
    });
    println!("stopped at each of {calls} calls");
    assert!(calls > 100, "only {calls} calls: is anybody counting?");
}
