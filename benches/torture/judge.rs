//! The final check of a run: compares the sandbox's ledger with the queue's rows. It uses none of the daemon's code.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};

use super::env::{GAP_MIN, LAST_READ, TestEnv};
use super::witness::Seen;
use super::{ACCOUNTS, Plan};

/// How much longer than the schedule a message may be uncertain for each read that failed: the last pause of the
/// schedule.
const AFTER_A_FAILED_READ: Duration = Duration::from_millis(2500);
/// How much longer than the schedule a message may be uncertain for the deaths of the daemon. Under libfaketime,
/// which reads its file at each look at the clock, a start takes longer.
const FOR_RESTARTS: Duration = Duration::from_secs(10);

/// One text on one account: what the queue says of it, and how often it arrived.
#[derive(Debug, Default)]
struct Words {
    sent: usize,
    review: usize,
    other: usize,
    not_in_chat: usize,
    delivered: usize,
}

/// Result of a run.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    rows: usize,
    sent: usize,
    by_evidence: usize,
    resent: usize,
    review: BTreeMap<String, usize>,
    others: BTreeMap<String, usize>,
    deliveries: usize,
    caught: usize,
    starts: usize,
    twice: usize,
    lost: usize,
    unfinished: usize,
    stuck: usize,
    longest_uncertain: Duration,
    said_absent_and_was_there: usize,
    foreign_ids: usize,
    without_intent: usize,
    gaps: usize,
    too_close: usize,
    shortest_gap: Option<Duration>,
    damaged: usize,
    said: Seen,
    /// What the counts above are about.
    details: Vec<String>,
}

/// Compares the ledger with the queue.
pub(crate) fn judge(env: &TestEnv, plan: Plan, acknowledged: &BTreeSet<usize>, said: Seen) -> Verdict {
    let sql = env.sql();
    let mut verdict = Verdict { said, ..Verdict::default() };
    let ledger = env.sandbox_get("/sandbox/ledger");
    let deliveries = ledger.as_array().expect("an array");
    verdict.deliveries = deliveries.len();
    rows(&sql, deliveries, &mut verdict);
    let count = |statement: &str| -> usize {
        sql.query_row(statement, [], |row| row.get::<_, i64>(0))
            .expect("a count")
            .try_into()
            .expect("a count")
    };
    verdict.caught = count("SELECT count(*) FROM attempts WHERE type = 'outboxd/stopped_while_sending'");
    verdict.starts = count("SELECT count(*) FROM runs");
    verdict.damaged = count("SELECT count(*) FROM pragma_integrity_check WHERE integrity_check <> 'ok'");
    let mut keys = sql.prepare("SELECT dedupe_key FROM messages").expect("SQL");
    let keys = keys.query_map([], |row| row.get::<_, String>(0)).expect("rows");
    let keys: BTreeSet<String> = keys.collect::<Result<_, _>>().expect("text");
    assert!(acknowledged.len() <= plan.messages);
    verdict.lost += acknowledged.iter().filter(|number| !keys.contains(&format!("key {number}"))).count();
    verdict.unfinished += plan.messages - acknowledged.len();
    stuck(&sql, &mut verdict);
    gaps(env, &sql, &mut verdict);
    verdict
}

/// Counts states, ids and deliveries of each text.
fn rows(sql: &rusqlite::Connection, deliveries: &[Value], verdict: &mut Verdict) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut words: BTreeMap<(String, String), Words> = BTreeMap::new();
    let mut ids: BTreeMap<(String, String), (String, bool)> = BTreeMap::new();
    for delivery in deliveries {
        let (account, said) = (text(&delivery["account_id"]), text(&delivery["text"]));
        ids.insert((account.clone(), text(&delivery["message_id"])), (said.clone(), false));
        words.entry((account, said)).or_default().delivered += 1;
    }
    const SQL: &str = "SELECT account_id, text, state, reason, settled_by, provider_message_ids, resends, \
           (SELECT e.reason FROM events e WHERE e.message_id = m.id AND e.kind = 'message.review' ORDER BY e.seq DESC) \
         FROM messages m";
    let mut statement = sql.prepare(SQL).expect("SQL");
    let mut rows = statement.query([]).expect("rows");
    while let Some(row) = rows.next().expect("a row") {
        let get = |column: usize| row.get::<_, Option<String>>(column).expect("text").unwrap_or_default();
        let (account, said, state, reason) = (get(0), get(1), get(2), get(3));
        let entry = words.entry((account.clone(), said.clone())).or_default();
        verdict.rows += 1;
        verdict.resent += usize::from(row.get::<_, i64>(6).expect("a number") > 0);
        match state.as_str() {
            "sent" => {
                entry.sent += 1;
                verdict.sent += 1;
                verdict.by_evidence += usize::from(get(4) == "evidence");
                let own: Vec<String> = serde_json::from_str(&get(5)).unwrap_or_default();
                for id in own {
                    // Each id must be that of a delivery with this text, and belong to no other message.
                    match ids.get_mut(&(account.clone(), id)) {
                        Some((arrived, taken)) if *arrived == said && !*taken => *taken = true,
                        found => {
                            verdict.foreign_ids += 1;
                            verdict.details.push(format!("{account}: {said:?} has an id of {found:?}"));
                        }
                    }
                }
            }
            // It was in review, and a person who saw in the ledger that it did not arrive dropped it.
            "cancelled" | "review" if !get(7).is_empty() => {
                let reason = get(7);
                entry.review += 1;
                entry.not_in_chat += usize::from(reason == "not_in_chat");
                *verdict.review.entry(reason).or_default() += 1;
            }
            "new" | "queued" | "sending" | "uncertain" => verdict.unfinished += 1,
            _ => {
                entry.other += 1;
                *verdict.others.entry(format!("{state}: {reason}")).or_default() += 1;
            }
        }
    }
    for ((account, said), word) in &words {
        // More arrived than may have: a failed message must not have arrived.
        let twice = word.delivered.saturating_sub(word.sent + word.review);
        let lost = word.sent.saturating_sub(word.delivered);
        let there = word.delivered.saturating_sub(word.sent);
        let was_there = there.saturating_sub(word.review - word.not_in_chat);
        verdict.twice += twice;
        verdict.lost += lost;
        verdict.said_absent_and_was_there += was_there;
        if twice + lost + was_there > 0 {
            verdict.details.push(format!("{account}: {said:?}: {word:?}"));
        }
    }
}

/// Counts messages whose outcome was unknown for longer than their reads take.
fn stuck(sql: &rusqlite::Connection, verdict: &mut Verdict) {
    // These are times of a wall clock that is set; the events say by how much.
    const SQL: &str = "WITH lives AS (SELECT message_id, kind, at, seq, \
             lead(at) OVER (PARTITION BY message_id ORDER BY seq) AS next, \
             lead(seq) OVER (PARTITION BY message_id ORDER BY seq) AS next_seq \
           FROM events WHERE message_id IS NOT NULL) \
         SELECT CAST(round((julianday(next) - julianday(l.at)) * 86400000 - 1000 * \
             (SELECT coalesce(sum(CAST(c.detail AS REAL)), 0) FROM events c \
               WHERE c.kind = 'daemon.clock_set' AND c.seq BETWEEN l.seq AND l.next_seq)) AS INTEGER), \
           (SELECT count(*) FROM evidence e JOIN messages m ON m.seq = e.seq \
             WHERE m.id = l.message_id AND e.finding = 'unread') \
         FROM lives l WHERE kind IN ('message.uncertain', 'message.sending') AND next IS NOT NULL";
    let mut statement = sql.prepare(SQL).expect("SQL");
    let mut rows = statement.query([]).expect("rows");
    while let Some(row) = rows.next().expect("a row") {
        let milliseconds = |column| row.get::<_, i64>(column).expect("a number").try_into().unwrap_or(0);
        let (lasted, failed) = (Duration::from_millis(milliseconds(0)), milliseconds(1));
        verdict.longest_uncertain = verdict.longest_uncertain.max(lasted);
        let failed = u32::try_from(failed).unwrap_or(u32::MAX);
        verdict.stuck +=
            usize::from(lasted > LAST_READ + AFTER_A_FAILED_READ.saturating_mul(failed) + FOR_RESTARTS);
    }
}

/// Checks the pauses between the calls of each account, by their arrival at the sandbox, and that each call had its
/// intent.
fn gaps(env: &TestEnv, sql: &rusqlite::Connection, verdict: &mut Verdict) {
    let calls = env.sandbox_get("/sandbox/calls");
    let writes = ["start_chat_from_inbox", "start_chat", "send_message", "forward_message"];
    for account in 0..ACCOUNTS {
        let id = format!("acc_{account}");
        let own = calls.as_array().expect("an array").iter().filter(|call| call["account_id"] == id.as_str());
        let own = own.filter(|call| writes.iter().any(|name| call["endpoint"] == *name));
        let mut times: Vec<u64> = own.filter_map(|call| call["at_monotonic_ms"].as_u64()).collect();
        times.sort_unstable();
        const SQL: &str = "SELECT count(*) FROM attempts WHERE account_id = ?1";
        let attempts: i64 = sql.query_row(SQL, [&id], |row| row.get(0)).expect("a count");
        verdict.without_intent += times.len().saturating_sub(usize::try_from(attempts).unwrap_or(0));
        for pair in times.windows(2) {
            // Both times are truncated to milliseconds.
            let gap = Duration::from_millis(pair[1] - pair[0] + 1);
            verdict.gaps += 1;
            verdict.too_close += usize::from(gap < GAP_MIN);
            verdict.shortest_gap = Some(verdict.shortest_gap.map_or(gap, |shortest| shortest.min(gap)));
        }
    }
}

impl Verdict {
    /// Returns the counts that must be zero.
    fn sins(&self) -> [(&'static str, usize); 11] {
        [
            ("twice", self.twice),
            ("lost", self.lost),
            ("stuck longer than the read-back schedule", self.stuck),
            ("not finished in the end", self.unfinished),
            ("closer than the minimum gap", self.too_close),
            ("calls without an intent", self.without_intent),
            ("sent with an id that is not its own", self.foreign_ids),
            ("said to be absent, and was there", self.said_absent_and_was_there),
            ("damaged pages", self.damaged),
            ("called now, and another went", self.said.broken),
            ("not sent at the time shown", self.said.overdue),
        ]
    }

    /// Returns what went wrong, message by message.
    pub(crate) fn details(&self) -> &[String] {
        &self.details
    }

    /// Returns whether nothing went wrong.
    pub(crate) fn is_good(&self) -> bool {
        self.sins().iter().all(|(_, count)| *count == 0) && self.gaps > 0 && self.said.held > 0
    }

    /// Prints a table, then one line of JSON.
    pub(crate) fn print(&self, plan: Plan, left_at_last_kill: i64, lasted: Duration) {
        let review: usize = self.review.values().sum();
        let per = |counts: &BTreeMap<String, usize>| {
            let each: Vec<String> = counts.iter().map(|(name, count)| format!("{count} {name}")).collect();
            if each.is_empty() { "-".to_owned() } else { each.join(", ") }
        };
        let shortest = self.shortest_gap.unwrap_or_default();
        println!("\n| seed {} | |\n| --- | --- |", plan.seed);
        println!("| kills, starts of the daemon | {}, {} |", plan.kills, self.starts);
        println!("| calls that a kill caught on their way | {} |", self.caught);
        println!("| messages, deliveries | {}, {} |", self.rows, self.deliveries);
        println!("| sent, of them settled by reading back | {}, {} |", self.sent, self.by_evidence);
        println!("| certainly absent and sent once more | {} |", self.resent);
        println!("| left to a person, and why | {review}: {} |", per(&self.review));
        println!("| other ends | {} |", per(&self.others));
        println!("| longest time with an unknown outcome | {:?} |", self.longest_uncertain);
        println!("| pauses between calls, the shortest | {}, {shortest:?} |", self.gaps);
        println!("| looks in which a message was `now` and its account sent next | {} |", self.said.held);
        for (name, count) in self.sins() {
            println!("| **{name}** | **{count}** |");
        }
        println!(
            "| unfinished at the last kill; all in all | {left_at_last_kill}; {:.0} s |",
            lasted.as_secs_f64()
        );
        let sins: serde_json::Map<String, Value> = self
            .sins()
            .iter()
            .map(|(name, count)| (name.replace(", ", "_").replace([' ', '-'], "_"), json!(count)))
            .collect();
        println!(
            "\n{}",
            json!({
                "seed": plan.seed, "kills": plan.kills, "messages": self.rows, "deliveries": self.deliveries,
                "caught": self.caught, "sent": self.sent, "by_evidence": self.by_evidence, "resent": self.resent,
                "review": self.review, "others": self.others, "sins": sins, "good": self.is_good(),
                "shortest_gap_ms": shortest.as_millis(), "longest_uncertain_ms": self.longest_uncertain.as_millis(),
            })
        );
    }
}
