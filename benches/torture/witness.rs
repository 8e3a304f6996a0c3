//! Reads from the running daemon what it is about to send and when, and compares that with what it then does (P6).
//!
//! Each look is at one account. The message that was `now` must be the one that the account sends next, and a shown
//! time must not pass without a send. A look counts only while the same process lives, its clock is not set, and
//! nothing else happens to the account.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use outboxd::clock::{Clock, SystemClock};
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::Value;

use super::ACCOUNTS;
use super::env::{GAP_MAX, TestEnv, pause};
use super::producer::get;

/// How late a send may be in addition to its longest pause: a call that takes long, a retry, two cores that are busy.
const LATE: Duration = Duration::from_secs(4);
/// Pause between two looks.
const EVERY: Duration = Duration::from_millis(15);
/// Messages of an account that a look reads, from the first.
const ROWS: usize = 200;

/// One message that was `now`.
struct Now {
    account: String,
    message: String,
    /// The newest event before the look.
    seq: i64,
    /// The process that answered.
    run: i64,
}

/// What the witness saw.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Looks in which a message was `now` and its account sent next while nothing else happened.
    pub(crate) held: usize,
    /// Of these, those after which another message was sent.
    pub(crate) broken: usize,
    /// Shown times that passed without a send.
    pub(crate) overdue: usize,
}

/// A time that was shown for an account.
struct Shown {
    /// By the monotonic clock.
    until: Duration,
    seq: i64,
    run: i64,
    clocks: usize,
}

/// Looks until `done`, then checks what it saw.
pub(crate) fn watch(env: &TestEnv, done: &AtomicBool) -> Seen {
    let clock = SystemClock::new();
    let (mut seen, mut nows, mut shown) = (Seen::default(), Vec::new(), HashMap::new());
    for account in (0..ACCOUNTS).cycle() {
        if done.load(Ordering::Relaxed) {
            break;
        }
        pause(EVERY);
        let account = format!("acc_{account}");
        let Some((seq, run, clocks)) = position(env, &account) else { continue };
        let Some(rows) = queued(env, &account) else { continue };
        let is_now = |row: &&Value| row["reason"] == "now";
        let ids: Vec<&str> = rows.iter().filter(is_now).filter_map(|row| row["id"].as_str()).collect();
        assert!(ids.len() < 2, "{account}: more than one message is `now`: {ids:?}");
        if position(env, &account) != Some((seq, run, clocks)) {
            continue;
        }
        if let [message] = ids[..] {
            nows.push(Now { account: account.clone(), message: message.to_owned(), seq, run });
        }
        // Trouble of the API moves its time at each probe and each trial, and a message that waits for another one at
        // each of its reads; none of them makes an event of the account.
        let failing = |row: &Value| row["reason"] == "api_unreachable" || row["reason"] == "api_trial";
        let moves = |row: &&Value| failing(row) || row["reason"] == "chat_order";
        let times = rows.iter().filter(|row| row["waits_for"] == "time" && !moves(row));
        let fails = rows.iter().any(failing);
        let Some(first) = times.filter_map(|row| row["id"].as_str()).next().filter(|_| !fails) else {
            shown.remove(&account);
            continue;
        };
        let now = clock.monotonic();
        let known = shown
            .get(&account)
            .filter(|known: &&Shown| (known.seq, known.run, known.clocks) == (seq, run, clocks));
        match known {
            Some(known) if now > known.until + GAP_MAX + LATE => {
                seen.overdue += 1;
                println!("{account}: no send within {:?} of the time that was shown", now - known.until);
                shown.remove(&account);
            }
            Some(_) => {}
            None => {
                let Some(wait) = wait(env, first) else { continue };
                shown.insert(account, Shown { until: now + wait, seq, run, clocks });
            }
        }
    }
    judge(&env.sql(), &nows, &mut seen);
    seen
}

/// Returns the newest event of the account or of all, the running process, and how often its clock was set.
fn position(env: &TestEnv, account: &str) -> Option<(i64, i64, usize)> {
    const SQL: &str = "SELECT (SELECT coalesce(max(seq), 0) FROM events WHERE account_id = ?1 OR account_id IS NULL), \
         (SELECT coalesce(max(id), 0) FROM runs)";
    let (seq, run) = env.sql().query_row(SQL, [account], |row| Ok((row.get(0)?, row.get(1)?))).ok()?;
    Some((seq, run, env.clocks_set()))
}

fn queued(env: &TestEnv, account: &str) -> Option<Vec<Value>> {
    let list = get(env, &format!("/v1/messages?account_id={account}&state=queued&limit={ROWS}"))?;
    list["data"].as_array().cloned()
}

/// Returns the time from now until the time that the daemon shows, by the daemon's own clock.
fn wait(env: &TestEnv, message: &str) -> Option<Duration> {
    let explained = get(env, &format!("/v1/messages/{message}/explain"))?;
    let time = |name: &str| explained[name].as_str()?.parse::<jiff::Timestamp>().ok();
    (explained["waits_for"] == "time").then_some(())?;
    Some(Duration::try_from(time("until")?.duration_since(time("now")?)).unwrap_or_default())
}

/// Compares each look with what its account sent next.
fn judge(sql: &Connection, nows: &[Now], seen: &mut Seen) {
    const NEXT: &str = "SELECT e.kind, e.message_id, (SELECT t.run FROM messages m JOIN attempts t ON t.seq = m.seq \
           WHERE m.id = e.message_id AND t.started_at = e.at LIMIT 1) FROM events e \
         WHERE e.seq > ?1 AND (e.account_id = ?2 OR e.account_id IS NULL) ORDER BY e.seq LIMIT 1";
    let mut next = sql.prepare(NEXT).expect("SQL");
    for now in nows {
        let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
        let found = next.query_row(params![now.seq, now.account], row).optional().expect("a row");
        let Some((kind, message, run)): Option<(String, Option<String>, Option<i64>)> = found else {
            continue;
        };
        if kind == "message.sending" && run == Some(now.run) {
            seen.held += 1;
            if message.as_deref() != Some(now.message.as_str()) {
                seen.broken += 1;
                println!("{}: {} was now, and {message:?} went", now.account, now.message);
            }
        }
    }
}
