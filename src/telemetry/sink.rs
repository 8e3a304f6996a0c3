//! The destination of log lines: a bounded buffer, and a thread that may block on its reader.
//!
//! Lines that do not fit into the buffer are dropped and counted.

use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use libsystemd::logging::{Priority, journal_send};
use serde_json::{Map, Value};
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder};
use tracing_subscriber::fmt::MakeWriter;

/// Capacity of the buffer in lines, about 2 MB.
const LINES: usize = 8192;
/// Polling interval of [`Buffered::flush`].
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);
/// The socket on which journald accepts structured entries.
const JOURNAL: &str = "/run/systemd/journal/socket";

/// The final destination of the lines.
pub(super) enum Target {
    Stderr,
    Journal(Journal),
}

/// The system's journal. A line is a JSON object as `tracing_subscriber` writes it; its keys become fields.
pub(super) struct Journal(());

impl Journal {
    /// Checks whether the journal can be reached.
    pub(super) fn connect() -> io::Result<Self> {
        UnixDatagram::unbound()?.connect(JOURNAL).map(|()| Self(()))
    }

    fn send(line: &[u8]) -> io::Result<()> {
        let fields: Map<String, Value> = serde_json::from_slice(line)?;
        let mut priority = Priority::Notice;
        let mut message = String::new();
        let mut shown = vec![("SYSLOG_IDENTIFIER".to_owned(), "outboxd".to_owned())];
        for (name, value) in fields {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            match name.as_str() {
                "level" => priority = priority_of(&text),
                "message" => message = text,
                "target" => shown.push(("TARGET".to_owned(), text)),
                // The journal has its own timestamp.
                "timestamp" => {}
                name => shown.push((field(name), text)),
            }
        }
        journal_send(priority, &message, shown.into_iter()).map_err(io::Error::other)
    }
}

/// Returns the journal's name for a field: `OUTBOXD_ACCOUNT_ID`.
fn field(name: &str) -> String {
    let letters = name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' });
    format!("OUTBOXD_{}", letters.collect::<String>())
}

fn priority_of(level: &str) -> Priority {
    match level {
        "ERROR" => Priority::Error,
        "WARN" => Priority::Warning,
        "INFO" => Priority::Notice,
        "DEBUG" => Priority::Info,
        _ => Priority::Debug,
    }
}

/// Numbers of lines by result.
#[derive(Debug, Default)]
struct Counts {
    offered: AtomicU64,
    written: AtomicU64,
    failed: AtomicU64,
}

/// Writes lines on the thread of the buffer, and counts them.
struct Sink {
    target: Target,
    counts: Arc<Counts>,
}

impl Write for Sink {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let written = match &mut self.target {
            Target::Stderr => io::stderr().lock().write_all(line),
            Target::Journal(_) => Journal::send(line),
        };
        let count = if written.is_ok() { &self.counts.written } else { &self.counts.failed };
        count.fetch_add(1, Ordering::Relaxed);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The buffer. Clones share it.
#[derive(Clone)]
pub(super) struct Buffered {
    writer: NonBlocking,
    refused: ErrorCounter,
    counts: Arc<Counts>,
}

impl Buffered {
    /// Starts the writing thread.
    pub(super) fn start(target: Target) -> Self {
        let counts = Arc::new(Counts::default());
        let sink = Sink { target, counts: Arc::clone(&counts) };
        let builder =
            NonBlockingBuilder::default().lossy(true).buffered_lines_limit(LINES).thread_name("log");
        let (writer, guard) = builder.finish(sink);
        // Dropping the guard could block on a stalled reader. `flush` waits for a bounded time instead.
        std::mem::forget(guard);
        Self { refused: writer.error_counter(), writer, counts }
    }

    /// Returns the number of lines that did not fit into the buffer or could not be written.
    pub(super) fn dropped(&self) -> u64 {
        self.refused.dropped_lines() as u64 + self.counts.failed.load(Ordering::Relaxed)
    }

    /// Waits until all lines so far are written or dropped, for at most `limit`.
    #[expect(clippy::disallowed_methods, reason = "the process ends; no runtime is left to sleep on")]
    pub(super) fn flush(&self, limit: Duration) {
        let looks = limit.as_millis() / BETWEEN_LOOKS.as_millis();
        for _ in 0..looks {
            let done = self.counts.written.load(Ordering::Relaxed) + self.dropped();
            if done >= self.counts.offered.load(Ordering::Relaxed) {
                return;
            }
            std::thread::sleep(BETWEEN_LOOKS);
        }
    }
}

impl<'a> MakeWriter<'a> for Buffered {
    type Writer = NonBlocking;

    fn make_writer(&'a self) -> NonBlocking {
        // Each event requests a writer once and writes one line.
        self.counts.offered.fetch_add(1, Ordering::Relaxed);
        self.writer.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_have_the_names_that_the_journal_takes() {
        assert_eq!(field("account_id"), "OUTBOXD_ACCOUNT_ID");
        assert_eq!(field("log.target"), "OUTBOXD_LOG_TARGET");
    }
}
