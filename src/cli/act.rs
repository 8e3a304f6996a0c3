//! Commands that act on the queue: `cancel`, `pause`, `resume`.
//!
//! Each reports what it did and the state before, so that a repetition is harmless and visible. The scope is always
//! explicit: `pause` and `resume` without an account only ask for one, because a forgotten argument must not mean
//! "everything".

use clap::Args;
use jiff::Span;
use serde_json::json;

use super::client::{Client, parse_id, segment};
use super::exit::{Exit, Failure};
use super::times::{self, Typed};
use super::{Globals, Json, render};
use crate::types::account::{PauseRequest, Paused, ResumeRequest, Resumed};
use crate::types::message::Cancelled;

/// The scope of a pause or a resumption.
#[derive(Debug, Args)]
struct Whom {
    /// Id of the account
    #[arg(value_name = "ACCOUNT", value_parser = parse_id, conflicts_with = "all")]
    account: Option<String>,
    /// All sending of this daemon
    #[arg(long)]
    all: bool,
}

/// `outboxd pause`.
#[derive(Debug, Args)]
pub(super) struct Pause {
    #[command(flatten)]
    whom: Whom,
    #[command(flatten)]
    term: Term,
    #[command(flatten)]
    json: Json,
}

/// How long a pause or a stop lasts, and why.
#[derive(Debug, Args)]
pub(super) struct Term {
    /// End: 2026-11-22T09:00:00Z, or "2026-11-22 09:00", 09:00, "tomorrow 09:00" in the account's zone (without an
    /// account: this machine's zone); default: until it is lifted
    #[arg(long, value_name = "TIME", value_parser = times::parse_end)]
    pub(super) until: Option<Typed>,
    /// Length: 30m, 2h, 1d
    #[arg(long = "for", value_name = "LENGTH", value_parser = times::parse_length, conflicts_with = "until")]
    pub(super) length: Option<Span>,
    /// Reason; `outboxd status` and `outboxd stop --list` show it
    #[arg(long, value_name = "TEXT")]
    pub(super) note: Option<String>,
}

/// `outboxd resume`.
#[derive(Debug, Args)]
pub(super) struct Resume {
    #[command(flatten)]
    whom: Whom,
    /// Also end a forced rest, such as the one after LinkedIn answered "too many requests"
    #[arg(long)]
    lift_hold: bool,
    /// With --all: release a queue that is held because it is a copy or was restored from a backup
    #[arg(long, requires = "all")]
    restored: bool,
    #[command(flatten)]
    json: Json,
}

/// Cancels messages one by one: a failure for one does not affect the others. The first failure determines the exit
/// code.
pub(super) async fn cancel(client: &Client, ids: &[String], json: Json) -> Result<Exit, Failure> {
    let mut first = Exit::Done;
    for id in &client.whole_ids(ids).await? {
        let answer = client.post(&format!("/v1/messages/{}/cancel", segment(id)), &json!({})).await?;
        if json.json {
            render::json(&answer.body)?;
        }
        match answer.read::<Cancelled>() {
            Ok(_) if json.json => {}
            Ok(cancelled) => render::print(&cancelled.line())?,
            Err(failure) => {
                let failure = failure.about(&render::line(id));
                failure.report();
                first = if first == Exit::Done { failure.exit() } else { first };
            }
        }
    }
    Ok(first)
}

impl Cancelled {
    fn line(&self) -> String {
        let id = render::line(&self.id);
        match self.was.as_deref() {
            _ if self.already_cancelled => format!("{id} was cancelled already\n"),
            Some("review") => {
                format!("{id} is cancelled; it was in review, so it may have reached the recipient\n")
            }
            Some(was) => format!("{id} is cancelled (it was {})\n", render::line(was)),
            None => format!("{id} is cancelled\n"),
        }
    }
}

impl Pause {
    /// Returns the pause of an account, or of everything.
    pub(super) fn of(account: Option<String>, term: Term, json: Json) -> Self {
        let all = account.is_none();
        Self { whom: Whom { account, all }, term, json }
    }
}

impl Resume {
    /// Returns the resumption of an account, or of everything.
    pub(super) fn of(account: Option<String>, json: Json) -> Self {
        let all = account.is_none();
        Self { whom: Whom { account, all }, lift_hold: false, restored: false, json }
    }
}

impl Term {
    /// Returns the end and the length, as the API takes them. The daemon computes the end of a length by its own clock,
    /// so it is right even if this machine's clock is wrong.
    pub(super) async fn end(
        &self,
        client: &Client,
        account: Option<&str>,
    ) -> Result<(Option<String>, Option<String>), Failure> {
        let until = match &self.until {
            Some(typed) => Some(times::wire(typed.resolve(client, account).await?)),
            None => None,
        };
        Ok((until, self.length.map(|span| span.to_string())))
    }
}

/// Pauses sending.
pub(super) async fn pause(globals: &Globals, pause: Pause) -> Result<Exit, Failure> {
    let path = pause.whom.path("pause")?;
    let client = globals.client()?;
    let account = pause.whom.account.as_deref();
    let (until, length) = pause.term.end(&client, account).await?;
    let body = PauseRequest { until, length, note: pause.term.note };
    let answer = client.post(&path, &body).await?;
    answer.show(pause.json, |paused: Paused| {
        let already = if paused.already_paused { " (it was paused already)" } else { "" };
        let until = match paused.until {
            Some(at) => times::full_in(Some(at), &times::zone(paused.zone.as_deref())),
            None => format!("`outboxd resume {}`", pause.whom.argument()),
        };
        format!("{} is paused until {until}{already}\n", pause.whom.name())
    })
}

/// Resumes sending.
pub(super) async fn resume(globals: &Globals, resume: Resume) -> Result<Exit, Failure> {
    let path = resume.whom.path("resume")?;
    let body = ResumeRequest {
        lift_hold: resume.lift_hold.then_some(true),
        restored: resume.restored.then_some(true),
    };
    let answer = globals.client()?.post(&path, &body).await?;
    answer.show(resume.json, |resumed: Resumed| {
        if resumed.restored.flatten().is_some() {
            return "still held as a copy that was restored: see docs/operations.md, then add --restored\n"
                .to_owned();
        }
        let before = if resumed.was_paused { "" } else { " (it was not paused; what was fixed is retried)" };
        format!("{} goes on{before}\n", resume.whom.name())
    })
}

impl Whom {
    /// Returns the path of `verb`, for one account or for everything.
    fn path(&self, verb: &str) -> Result<String, Failure> {
        match &self.account {
            Some(account) => Ok(format!("/v1/accounts/{}/{verb}", segment(account))),
            None if self.all => Ok(format!("/v1/{verb}")),
            None => Err(Failure::usage(format!(
                "say what to {verb}: `outboxd {verb} acc_…` for one account, `outboxd {verb} --all` for everything"
            ))),
        }
    }

    /// Returns the name of the scope in a sentence.
    fn name(&self) -> String {
        self.account.as_deref().map_or_else(|| "everything".to_owned(), render::line)
    }

    /// Returns the argument that selects the scope.
    fn argument(&self) -> String {
        self.account.as_deref().map_or_else(|| "--all".to_owned(), render::line)
    }
}
