//! Checks of the queue: its file, lock, log, permissions, disk and integrity; and of the files with secrets.

use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Finding;
use crate::clock::{Clock, SystemClock};
use crate::store::Inspection;

/// How long the check of the database may take.
const CHECK_WITHIN: Duration = Duration::from_secs(20);
/// Writes that measure the disk.
const WRITES: usize = 8;
/// A commit that takes longer delays calls.
const SLOW: Duration = Duration::from_millis(50);
/// Less free space than this is reported.
const LOW_BYTES: u64 = 1_000_000_000;
/// A longer write-ahead log is reported.
const LONG_LOG_BYTES: u64 = 64 << 20;

/// Returns a warning if the queue of the running daemon is not the one that is configured here.
pub(super) fn other_than_configured(configured: &Path, running: &Path) -> Option<Finding> {
    let real = |path: &Path| std::fs::canonicalize(path).or_else(|_| std::path::absolute(path)).ok();
    if real(configured) == real(running) {
        return None;
    }
    let (configured, running) = (configured.display(), running.display());
    let what = format!("store.path is {configured} here, and the daemon has the queue {running}");
    Some(Finding::warn("configuration", what, format!("set store.path = \"{running}\" in the file")))
}

/// Examines the queue of the `running` daemon, or without one the queue that is `configured`; and the files with secrets, and
/// whether another secret is known to be readable.
pub(super) async fn examine(
    configured: &Path,
    running: Option<&Path>,
    secrets: (&[PathBuf], bool),
) -> Vec<Finding> {
    if let Some(running) = running.filter(|running| !running.exists()) {
        let what =
            format!("the daemon has {}, which this user does not see: not examined", running.display());
        let to_do = "run doctor where the daemon runs, as its user or as root";
        return vec![Finding::warn("database", what, to_do)];
    }
    let queue = match Inspection::of(running.unwrap_or(configured)) {
        Ok(queue) => queue,
        Err(error) => {
            return vec![Finding::fail("database", error.chain(), "correct store.path, or its permissions")];
        }
    };
    let place = queue.path.display();
    let warning = |warning: &String| Finding::warn("database", warning, "");
    let mut found: Vec<Finding> = queue.warnings.iter().map(warning).collect();
    match queue.exists {
        true => found.push(integrity(&queue).await),
        false => found.push(Finding::warn(
            "database",
            format!("there is no queue {place} yet"),
            "`outboxd serve` makes a new, empty one; if there should be one, correct store.path",
        )),
    }
    found.push(match &queue.held_by {
        Some(pid) => Finding::ok("lock", format!("process {pid} holds it")),
        None => Finding::ok("lock", "free: no daemon has the queue open"),
    });
    found.push(log(&queue));
    found.extend(permissions(secrets, &queue));
    found.extend(disk(&queue));
    found
}

async fn integrity(queue: &Inspection) -> Finding {
    let size = queue.bytes >> 20;
    let place = queue.path.display();
    let checked = tokio::select! {
        checked = queue.quick_check() => checked,
        () = SystemClock::new().sleep(CHECK_WITHIN) => {
            let what = format!("{place} ({size} MB): the check did not end within {} s", CHECK_WITHIN.as_secs());
            return Finding::warn("database", what, "run it when there is time: sqlite3 FILE 'PRAGMA ignore_check_constraints = ON; PRAGMA quick_check'");
        }
    };
    let to_do = "stop the daemon and restore a backup: docs/operations.md";
    match checked {
        Ok(None) => Finding::ok("database", format!("{place} ({size} MB) passes SQLite's quick_check")),
        Ok(Some(problem)) => Finding::fail("database", format!("{place} is damaged: {problem}"), to_do),
        Err(error) => Finding::fail("database", format!("{place} cannot be read: {}", error.chain()), to_do),
    }
}

fn log(queue: &Inspection) -> Finding {
    let what = format!("{} MB", queue.wal_bytes >> 20);
    if queue.wal_bytes > LONG_LOG_BYTES {
        let to_do = "`outboxd status` names the program that keeps a read transaction open; end that";
        return Finding::warn("write-ahead log", what, to_do);
    }
    Finding::ok("write-ahead log", what)
}

/// Returns whether `outboxd webhook register` has kept a secret in the queue; false if that cannot be read.
pub(super) async fn has_webhook_secret(configured: &Path, running: Option<&Path>) -> bool {
    match Inspection::of(running.unwrap_or(configured)) {
        Ok(queue) if queue.exists => queue.has_webhook_secret().await.unwrap_or(false),
        Ok(_) | Err(_) => false,
    }
}

/// Reports files that other users can read, or that this user cannot; `is_exposed`: a warning about the configuration has
/// named such a secret already.
fn permissions((secrets, is_exposed): (&[PathBuf], bool), queue: &Inspection) -> Vec<Finding> {
    let secrets = secrets.iter().map(|path| (path.as_path(), 0o077));
    let files = secrets.chain(queue.exists.then_some((queue.path.as_path(), 0o007)));
    let mut found: Vec<Finding> = files.filter_map(|(path, others)| open_to(path, others)).collect();
    if found.is_empty() {
        let what = match is_exposed {
            true => {
                "no other user can read the queue; of the secrets see the warnings about the configuration"
            }
            false => "no other user can read the queue or a secret",
        };
        found.push(Finding::ok("permissions", what));
    }
    found
}

fn open_to(path: &Path, others: u32) -> Option<Finding> {
    let place = path.display();
    let mode = match std::fs::metadata(path) {
        Ok(found) => found.mode() & 0o777,
        Err(error) => {
            let what = format!("{place} cannot be read: {error}");
            return Some(Finding::fail(
                "permissions",
                what,
                "run as the user of the daemon, or correct its mode",
            ));
        }
    };
    let what = format!("other users can read {place} (mode {mode:04o})");
    let right = mode & !others;
    (mode & others & 0o444 != 0)
        .then(|| Finding::warn("permissions", what, format!("chmod {right:04o} {place}")))
}

fn disk(queue: &Inspection) -> Vec<Finding> {
    let folder = queue.path.parent().unwrap_or(Path::new("."));
    let space = queue.free_bytes.map(|free| {
        let what = format!("{} MB are free", free / 1_000_000);
        if free < LOW_BYTES {
            Finding::warn("disk", what, "make room on it")
        } else {
            Finding::ok("disk", what)
        }
    });
    let speed = match slowest_write(folder) {
        Ok(slowest) => {
            let what = format!("the slowest of {WRITES} synced writes took {} ms", slowest.as_millis());
            match slowest > SLOW {
                true => Finding::warn("disk", what, "look for other load on it, or use a local disk"),
                false => Finding::ok("disk", what),
            }
        }
        Err(error) => {
            let what = format!("{} cannot be written: {error}", folder.display());
            Finding::fail("disk", what, "make room on it, or let the user of the daemon write to the folder")
        }
    };
    space.into_iter().chain([speed]).collect()
}

/// Writes a small file into `folder` as a commit does, and removes it.
fn slowest_write(folder: &Path) -> std::io::Result<Duration> {
    let clock = SystemClock::new();
    let mut file = tempfile::tempfile_in(folder)?;
    let mut slowest = Duration::ZERO;
    for _ in 0..WRITES {
        let began = clock.monotonic();
        file.write_all(&[0; 4096])?;
        file.sync_data()?;
        slowest = slowest.max(clock.monotonic().saturating_sub(began));
    }
    Ok(slowest)
}
