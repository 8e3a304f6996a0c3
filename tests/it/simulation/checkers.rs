//! The checkers, one for each promise: each compares the ledger of the sandbox, and the notes of what was requested,
//! with the rows of the queue. They use none of the engine's code, and each reports everything that it finds wrong.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use jiff::Timestamp;
use outboxd::sandbox::Delivery;
use rusqlite::Connection;

use super::carrier::Left;
use super::life::Universe;
use super::sequences::{AskedStep, StopNote};
use crate::queue::WAITING_BY_REASON;

/// A pause that was requested and acknowledged.
#[derive(Debug, Clone)]
pub(crate) struct Pause {
    /// `None` means everything.
    pub(crate) account: Option<String>,
    /// When it was acknowledged, by the monotonic clock.
    pub(crate) from: Duration,
    /// When its end was requested, if it was.
    pub(crate) to: Option<Duration>,
    /// When it ends without a request.
    pub(crate) until: Option<Timestamp>,
}

/// A message as its producer noted it.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) key: String,
    pub(crate) account: String,
    pub(crate) text: String,
    pub(crate) not_before: Option<Timestamp>,
    pub(crate) expires_at: Option<Timestamp>,
    /// Whether the queue acknowledged it.
    pub(crate) acknowledged: bool,
    /// When the queue acknowledged its cancellation, by the monotonic clock.
    pub(crate) cancelled: Option<Duration>,
}

/// What was requested, and what was acknowledged.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    pub(crate) asked: Vec<Asked>,
    pub(crate) pauses: Vec<Pause>,
    /// When the wall clock was set forward, and by how much.
    pub(crate) forward: Vec<(Duration, Duration)>,
    /// When the wall clock was set.
    pub(crate) sets: Vec<Duration>,
    /// The steps of campaigns.
    pub(crate) steps: Vec<AskedStep>,
    /// Stops and holds.
    pub(crate) stopped: Vec<StopNote>,
    /// Account, window, and the most sends in any such window.
    pub(crate) caps: Vec<(String, Duration, usize)>,
    /// Account, and its hours on every day.
    pub(crate) hours: Vec<(String, std::ops::Range<i8>)>,
    /// What was wrong with an explanation.
    pub(crate) unexplained: Vec<String>,
}

/// A row of the queue.
struct Row {
    account: String,
    /// Its content, as [`said`] formats it.
    said: String,
    state: String,
    reason: String,
    ids: Vec<String>,
    /// A person dropped it without knowing whether it arrived.
    dropped: bool,
}

/// Tolerance: stored times are in whole milliseconds, also after the wall clock was set many times.
pub(super) const ROUNDING: Duration = Duration::from_millis(100);

/// SQL for the content of a message `m` that a delivery shows: its text, its quote, what it forwards, its files, and
/// the members of its group.
pub(crate) const SAID: &str = "m.text || '|' || coalesce(m.quote_id, '') || '|' || coalesce(m.forward ->> '$.chat_id' || '/' || (m.forward ->> '$.message_id'), '') \
     || '|' || coalesce((SELECT group_concat(value ->> '$.filename' || ' ' || (value ->> '$.size')) FROM json_each(m.attachments)), '') \
     || '|' || CASE WHEN json_valid(m.users_ids) AND json_array_length(m.users_ids) > 1 \
          THEN (SELECT group_concat(value) FROM (SELECT value FROM json_each(m.users_ids) ORDER BY value)) ELSE '' END";

/// Formats the content of a delivery as [`SAID`] does.
pub(crate) fn said(delivery: &Delivery) -> String {
    let source = delivery.source.as_ref().map(|source| format!("{}/{}", source.chat_id, source.message_id));
    let files = delivery.attachments.iter().map(|file| format!("{} {}", file.filename, file.bytes));
    let mut group = if delivery.recipients.len() > 1 { delivery.recipients.clone() } else { Vec::new() };
    group.sort();
    let quote = delivery.quote_id.clone().unwrap_or_default();
    let files = files.collect::<Vec<_>>().join(",");
    format!("{}|{quote}|{}|{files}|{}", delivery.text, source.unwrap_or_default(), group.join(","))
}

/// Returns everything that breaks one promise.
type Judge<'a> = fn(&Evidence<'a>) -> Vec<String>;

/// Everything that the checkers read.
pub(crate) struct Evidence<'a> {
    pub(super) universe: &'a Universe,
    pub(super) notes: &'a Notes,
    pub(super) sql: Connection,
    rows: HashMap<String, Row>,
    pub(super) deliveries: Vec<Delivery>,
    pub(super) left: Vec<Left>,
}

impl<'a> Evidence<'a> {
    pub(crate) fn new(universe: &'a Universe, notes: &'a Notes) -> Self {
        let sql = Connection::open(universe.database()).expect("the queue");
        let rows = rows(&sql);
        let deliveries = universe.carrier.world.deliveries();
        let left = universe.carrier.left();
        Self { universe, notes, sql, rows, deliveries, left }
    }

    /// Returns everything that is wrong, with the promise that it breaks.
    pub(crate) fn wrongs(&self) -> Vec<String> {
        let judges: [(&str, Judge<'a>); 9] = [
            ("P1", Self::p1_nothing_accepted_is_lost),
            ("P2", Self::p2_nothing_is_sent_twice),
            ("P3", Self::p3_never_too_fast),
            ("P4", Self::p4_never_outside_the_limits),
            ("P5", Self::p5_never_after_stop),
            ("steps", Self::steps_keep_their_order),
            ("P5", Self::p5_never_after_an_answer),
            ("profiles", Self::profiles_are_read_first),
            ("P6", Self::p6_always_explained),
        ];
        let said = judges.into_iter().flat_map(|(promise, judge)| {
            judge(self).into_iter().map(move |wrong| format!("{promise}: {wrong}"))
        });
        said.collect()
    }

    /// Returns the log of a replayed seed: by the monotonic clock what left and what arrived, then by the wall clock
    /// that the daemon saw what the queue recorded.
    pub(crate) fn chronicle(&self) -> String {
        let left = self
            .left
            .iter()
            .map(|call| format!("{:?} ({}): {} {:?} left", call.at, call.wall, call.account, call.text));
        let arrived = self.deliveries.iter().map(|one| {
            format!("{:?}: {} {:?} arrived as {}", one.at_monotonic, one.account_id, one.text, one.message_id)
        });
        let events = self.lines(
            "SELECT e.at || ' ' || e.kind || ' ' || coalesce(e.account_id, '') || ' ' || coalesce(m.text, '') || ' ' || \
               coalesce(e.reason, '') || ' ' || coalesce(e.detail, '') FROM events e LEFT JOIN messages m ON m.id = e.message_id \
             ORDER BY e.seq",
        );
        let looks = self.lines(
            "SELECT e.at || ' ' || m.account_id || ' ' || m.text || ': ' || e.source || ' ' || e.finding || ' ' || coalesce(e.detail, '') \
             FROM evidence e JOIN messages m ON m.seq = e.seq ORDER BY e.rowid",
        );
        let set = self
            .notes
            .forward
            .iter()
            .map(|(at, by)| format!("{at:?}: the wall clock was set forward by {by:?}"));
        left.chain(arrived).chain(events).chain(looks).chain(set).collect::<Vec<_>>().join("\n")
    }

    fn deliveries_of(&self, account: &str, what: &str) -> usize {
        self.deliveries.iter().filter(|one| one.account_id == account && said(one) == what).count()
    }

    /// P1: each acknowledged message exists and ends, and its end is true.
    fn p1_nothing_accepted_is_lost(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for asked in self.notes.asked.iter().filter(|asked| asked.acknowledged) {
            let Some(row) = self.rows.get(&asked.key) else {
                wrong.push(format!("{} was acknowledged and is not there", asked.key));
                continue;
            };
            let is_end = ["sent", "failed", "cancelled", "expired"].contains(&row.state.as_str());
            if !is_end {
                wrong.push(format!("{} ends {}, {}", asked.key, row.state, row.reason));
            }
        }
        for ((account, text), (sent, _)) in self.words() {
            let arrived = self.deliveries_of(&account, &text);
            if arrived < sent {
                wrong.push(format!("{account} {text:?}: {sent} are sent and {arrived} arrived"));
            }
        }
        wrong.extend(self.lines(
            "SELECT 'the counts are not the rows: ' || account_id || ' ' || state FROM \
             (SELECT account_id, state, n FROM counts WHERE n <> 0 \
              EXCEPT SELECT account_id, state, count(*) FROM messages GROUP BY 1, 2)",
        ));
        wrong.extend(self.lines(&format!(
            "SELECT 'waiting_reasons is not the rows: ' || reason FROM (SELECT reason, n FROM waiting_reasons WHERE n <> 0 \
              EXCEPT SELECT * FROM ({WAITING_BY_REASON}))"
        )));
        wrong
    }

    /// Returns for each text of each account how many rows are sent, and how many more may have arrived.
    fn words(&self) -> BTreeMap<(String, String), (usize, usize)> {
        let mut words: BTreeMap<(String, String), (usize, usize)> = BTreeMap::new();
        for row in self.rows.values() {
            let (sent, dropped) = words.entry((row.account.clone(), row.said.clone())).or_default();
            *sent += usize::from(row.state == "sent");
            *dropped += usize::from(row.dropped);
        }
        words
    }

    /// P2: no more arrived than is sent, each message has its own id, and each call had its intent on disk.
    fn p2_nothing_is_sent_twice(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for ((account, text), (sent, dropped)) in self.words() {
            let arrived = self.deliveries_of(&account, &text);
            if arrived > sent + dropped {
                wrong.push(format!(
                    "{account} {text:?}: {arrived} arrived, {sent} are sent, {dropped} dropped"
                ));
            }
        }
        let mut owner: HashMap<&str, &str> = HashMap::new();
        for (key, row) in &self.rows {
            for id in &row.ids {
                if let Some(other) = owner.insert(id, key) {
                    wrong.push(format!("{key} and {other} both own {id}"));
                }
                let own = self.deliveries.iter().find(|one| one.message_id == *id);
                if own.is_none_or(|one| one.account_id != row.account || said(one) != row.said) {
                    wrong.push(format!("{key} owns {id}, which is not its own"));
                }
            }
        }
        for call in self.left.iter().filter(|call| !call.had_intent) {
            wrong.push(format!("{} {:?} left without a durable intent", call.account, call.text));
        }
        wrong
    }

    /// P3: calls of an account, delivered or not, are never closer than its minimum gap.
    fn p3_never_too_fast(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut last: HashMap<&str, &Left> = HashMap::new();
        for call in &self.left {
            let least = self.policy(&call.account).gap.min;
            if let Some(before) = last.insert(&call.account, call)
                && call.at - before.at < least
            {
                let gap = call.at - before.at;
                wrong.push(format!(
                    "{}: {:?} at {:?}, only {gap:?} after {:?}",
                    call.account, call.text, call.at, before.text
                ));
            }
        }
        wrong
    }

    pub(super) fn policy(&self, account: &str) -> &outboxd::domain::policy::Policy {
        self.universe.policies.of(&outboxd::domain::message::AccountId::new(account))
    }

    /// P4: caps hold by the monotonic clock, hours by the wall clock that the daemon saw. After a recorded "too many"
    /// of LinkedIn the account rests for its cooldown.
    fn p4_never_outside_the_limits(&self) -> Vec<String> {
        const RECORDED: &str = "SELECT count(*) FROM attempts t JOIN messages m ON m.seq = t.seq \
             WHERE t.account_id = ?1 AND m.text = ?2 AND t.outcome = 'throttled'";
        let mut wrong = Vec::new();
        for (account, text, at) in self.universe.carrier.throttled() {
            let recorded: i64 =
                self.sql.query_row(RECORDED, [&account, &text], |row| row.get(0)).expect("a count");
            if recorded == 0 {
                continue;
            }
            // Whatever the wall clock did meanwhile.
            let rest = self.policy(&account).cooldown.first.saturating_sub(ROUNDING);
            let early =
                self.left.iter().find(|call| call.account == account && call.at > at && call.at - at < rest);
            if let Some(call) = early {
                wrong.push(format!("{account} was throttled at {at:?} and called at {:?}", call.at));
            }
        }
        for (account, window, most) in &self.notes.caps {
            let own: Vec<&Left> = self.left.iter().filter(|call| call.account == *account).collect();
            for (index, call) in own.iter().enumerate() {
                let counts =
                    |before: &&&Left| before.reaches && before.at + window.saturating_sub(ROUNDING) > call.at;
                let sent = own[..index].iter().filter(counts).count();
                if sent >= *most {
                    wrong.push(format!(
                        "{account} {:?} left at {} after {sent} in {window:?}",
                        call.text, call.wall
                    ));
                }
            }
        }
        for (account, hours) in &self.notes.hours {
            let hour = |call: &Left| call.wall.to_zoned(jiff::tz::TimeZone::UTC).hour();
            let own = self.left.iter().filter(|call| call.account == *account);
            for call in own.filter(|call| !hours.contains(&hour(call))) {
                wrong.push(format!("{account} {:?} left at {}, outside of {hours:?}", call.text, call.wall));
            }
        }
        wrong
    }

    /// P5: nothing leaves while it is paused, after it was cancelled, or outside its time.
    fn p5_never_after_stop(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for call in &self.left {
            for pause in &self.notes.pauses {
                let concerns = pause.account.as_ref().is_none_or(|account| *account == call.account);
                // A call that left at the very moment of the pause had its intent before it; the events show it.
                let during = call.at > pause.from && pause.to.is_none_or(|to| call.at < to);
                if concerns && during && pause.until.is_none_or(|until| call.wall < until) {
                    wrong.push(format!(
                        "{} {:?} left at {:?}, {} during {pause:?}",
                        call.account, call.text, call.at, call.wall
                    ));
                }
            }
            let asked = self.notes.asked.iter().filter(|asked| asked.account == call.account);
            // Of several messages with the same text, one that may go is enough.
            let mut same = asked.filter(|asked| asked.text == call.text).peekable();
            let is_asked = same.peek().is_some();
            let may = |asked: &Asked| {
                asked.cancelled.is_none_or(|at| call.at <= at)
                    && asked.not_before.is_none_or(|at| call.wall >= at)
                    && asked.expires_at.is_none_or(|at| call.wall < at)
            };
            if !is_asked || !same.any(may) {
                wrong.push(format!("{} {:?} left at {} and must not", call.account, call.text, call.wall));
            }
        }
        // In the order in which the queue was written, no intent comes between a pause without an end of its own and
        // its end.
        wrong.extend(self.lines(
            "WITH stops AS (SELECT seq, account_id, detail, (SELECT min(e.seq) FROM events e WHERE e.seq > s.seq \
               AND e.kind IN (s.kind, replace(s.kind, 'paused', 'resumed')) AND e.account_id IS s.account_id) AS ends \
               FROM events s WHERE s.kind IN ('account.paused', 'daemon.paused')) \
             SELECT e.message_id || ' got its intent while ' || coalesce(s.account_id, 'everything') || ' was paused' \
             FROM stops s JOIN events e ON e.seq > s.seq AND e.seq < coalesce(s.ends, e.seq + 1) \
               AND (s.account_id IS NULL OR e.account_id = s.account_id) \
             WHERE e.kind = 'message.sending' AND s.detail IS NULL",

        ));
        wrong
    }

    /// P6: each row has a reason, each waiting one a time or a person; and every explanation on the way was right.
    fn p6_always_explained(&self) -> Vec<String> {
        let mut wrong = self.notes.unexplained.clone();
        wrong.extend(self.lines(
            "SELECT id || ' is ' || state || ' without a reason or a time' FROM messages WHERE reason = '' \
               OR (state = 'uncertain' AND reconcile_at IS NULL) OR (state = 'queued' AND due_at IS NULL)",
        ));
        wrong.extend(self.lines(
            "SELECT id || ' has ' || count(t.number) || ' attempts and says ' || m.attempts FROM messages m \
             LEFT JOIN attempts t ON t.seq = m.seq GROUP BY m.seq HAVING count(t.number) <> m.attempts",
        ));
        let untrue =
            std::mem::take(&mut *self.universe.wrongs.lock().expect("nothing panics while holding it"));
        wrong.extend(untrue.into_iter().take(5));
        let order = crate::queue::ORDER_IS_WRONG.into_iter().flat_map(|sql| self.lines(sql));
        wrong.extend(order.map(|what| format!("what the order rests on is wrong: {what}")));
        wrong
    }

    pub(super) fn lines(&self, sql: &str) -> Vec<String> {
        let mut statement = self.sql.prepare(sql).expect("SQL");
        let lines = statement.query_map([], |row| row.get(0)).expect("rows");
        lines.collect::<Result<_, _>>().expect("text")
    }
}

/// Returns every row by its key.
fn rows(sql: &Connection) -> HashMap<String, Row> {
    let query = format!(
        "SELECT dedupe_key, account_id, {SAID}, state, reason, provider_message_ids, state = 'cancelled' \
           AND EXISTS (SELECT 1 FROM events e WHERE e.message_id = m.id AND e.kind = 'message.review') FROM messages m"
    );
    let mut statement = sql.prepare(&query).expect("SQL");
    let row = |row: &rusqlite::Row<'_>| {
        let ids: Option<String> = row.get(5)?;
        let ids = ids.map(|ids| serde_json::from_str(&ids).expect("an array of ids")).unwrap_or_default();
        let (account, said, state, reason) = (row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?);
        let dropped = row.get(6)?;
        Ok((row.get(0)?, Row { account, said, state, reason, ids, dropped }))
    };
    statement.query_map([], row).expect("rows").collect::<Result<_, _>>().expect("rows")
}
