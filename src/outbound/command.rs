//! An event on the standard input of a program, as one JSON object.
//!
//! The program gets no secret of the daemon: of the environment only what a shell needs. Its output is discarded, because
//! it may hold a text of a message (P8).

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;

use crate::clock::Clock;
use crate::domain::hook::Undelivered;
use crate::types::event::Event;

/// What the program finds in its environment.
const PASSED_ON: [&str; 6] = ["PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR"];

/// A program that receives events.
pub struct Command {
    /// The program and its arguments; never empty.
    pub run: Vec<String>,
    /// How long one run may take.
    pub timeout: Duration,
}

impl Command {
    /// Runs the program with an event; the exit code 0 is success.
    pub(super) async fn deliver(&self, event: &Event, clock: &Arc<dyn Clock>) -> Result<(), Undelivered> {
        let Some((program, arguments)) = self.run.split_first() else { return Ok(()) };
        let passed_on = PASSED_ON.iter().filter_map(|name| Some((*name, std::env::var_os(name)?)));
        let child = tokio::process::Command::new(program)
            .args(arguments)
            .env_clear()
            .envs(passed_on)
            .env("OUTBOXD_EVENT", &event.kind)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn();
        let mut child = child.map_err(|error| Undelivered::new(format!("did not start: {error}")))?;
        let input = child.stdin.take();
        let body = serde_json::to_string(event).unwrap_or_default();
        let run = async {
            if let Some(mut input) = input {
                // A program need not read its input.
                let _closed_early = input.write_all(body.as_bytes()).await;
            }
            child.wait().await
        };
        tokio::select! {
            ended = run => match ended {
                Ok(status) if status.success() => Ok(()),
                Ok(status) => Err(Undelivered::new(status.to_string())),
                Err(error) => Err(Undelivered::new(format!("was lost: {error}"))),
            },
            () = clock.sleep(self.timeout) => {
                Err(Undelivered::new(format!("did not end within {} s", self.timeout.as_secs_f64())))
            }
        }
    }
}
