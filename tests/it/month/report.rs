//! What a run showed, and the limits of what may grow.

use std::fmt;
use std::time::Duration;

const MOST_LOG_BYTES: u64 = 64 << 20;
const MOST_DATABASE_BYTES: u64 = 64 << 20;
/// By how much memory may grow between the two measurements. What the sandbox and the judge remember is part of it.
const MOST_GROWTH_BYTES: u64 = 32 << 20;
/// Events are kept for eight days: from the fifth day on they grow by no more than this factor. Fewer do not count.
const MOST_EVENTS: (i64, i64) = (3, 2000);

/// What is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figures {
    pub(crate) at: Duration,
    pub(crate) rss_bytes: u64,
    pub(crate) database_bytes: u64,
    pub(crate) wal_bytes: u64,
    pub(crate) events: i64,
    pub(crate) messages: i64,
    pub(crate) sent: i64,
    pub(crate) promises_broken: f64,
}

/// What a run showed.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) figures: Vec<Figures>,
    /// Each alert that fired, with its time.
    pub(crate) fired: Vec<(&'static str, Duration)>,
    /// Events that receivers accepted.
    pub(crate) delivered: u64,
    /// What is not as it must be.
    pub(crate) wrongs: Vec<String>,
}

impl Report {
    /// Compares the figures.
    pub(super) fn judge(&mut self) {
        let [first, .., last] = self.figures[..] else { unreachable!("two days are measured") };
        let grown = last.rss_bytes.saturating_sub(first.rss_bytes);
        let (factor, few) = MOST_EVENTS;
        for (is_wrong, what) in [
            (last.wal_bytes > MOST_LOG_BYTES, format!("the write-ahead log has {} bytes", last.wal_bytes)),
            (
                last.database_bytes > MOST_DATABASE_BYTES,
                format!("the queue has {} bytes", last.database_bytes),
            ),
            (grown > MOST_GROWTH_BYTES, format!("memory grew by {grown} bytes")),
            (last.events > (first.events * factor).max(few), format!("{} events are kept", last.events)),
            (last.sent <= first.sent, "nothing was sent".to_owned()),
            (last.promises_broken > 0.0, format!("{} promises were broken", last.promises_broken)),
        ] {
            if is_wrong {
                self.wrongs.push(what);
            }
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "   day     RSS  database     log   events  messages     sent  promises broken")?;
        for Figures { at, rss_bytes, database_bytes, wal_bytes, events, messages, sent, promises_broken } in
            &self.figures
        {
            let mb = |bytes: u64| format!("{}.{} MB", bytes / 1_000_000, bytes / 100_000 % 10);
            let (rss, database, log) = (mb(*rss_bytes), mb(*database_bytes), mb(*wal_bytes));
            let day = (at.as_secs() + 9 * 3600) / 86_400;
            writeln!(
                f,
                "{day:>6}  {rss:>8}  {database:>8}  {log:>8}  {events:>6}  {messages:>8}  {sent:>6}  {promises_broken:>15}"
            )?;
        }
        writeln!(f, "{} events were delivered to receivers", self.delivered)?;
        for (name, at) in &self.fired {
            let minutes = at.as_secs() / 60 + 9 * 60;
            let (day, hour, minute) = (minutes / 1440, minutes / 60 % 24, minutes % 60);
            writeln!(f, "day {day:>2}, {hour:02}:{minute:02}  {name} fired")?;
        }
        self.wrongs.iter().try_for_each(|wrong| writeln!(f, "WRONG: {wrong}"))
    }
}
