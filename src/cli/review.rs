//! `outboxd review`: what needs a person, with everything that is known, and the decision.
//!
//! The sentences are the daemon's own: what a decision will do is asked with `dry_run`, shown, and only then done.

use std::io::{IsTerminal, Write};

use clap::{Args, ValueEnum};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

use super::Json;
use super::client::{Client, parse_id, segment};
use super::exit::{Exit, Failure};
use super::{read, render, times};

/// `outboxd review`.
#[derive(Debug, Args)]
#[command(
    after_help = "A message is in review when its call may have reached the recipient and reading the chat back did not \
settle it.\n\n  outboxd review              what waits\n  outboxd review ID           all that is known of one\n  \
outboxd review ID sent      you see it in the chat\n  outboxd review ID resend    it is not there: send it once more\n  \
outboxd review ID drop      leave it"
)]
pub(super) struct Review {
    /// The message; without it all that wait are listed
    #[arg(value_name = "ID", value_parser = parse_id)]
    id: Option<String>,
    /// What you decide; without it all that is known is shown
    #[arg(value_name = "DECISION", requires = "id")]
    decision: Option<Decision>,
    /// Why, for whoever looks later
    #[arg(long, value_name = "TEXT", requires = "decision")]
    note: Option<String>,
    /// Do it without asking
    #[arg(long, requires = "decision")]
    yes: bool,
    /// Only say what it would do
    #[arg(long, requires = "decision", conflicts_with = "yes")]
    dry_run: bool,
    #[command(flatten)]
    json: Json,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Decision {
    /// It reached the recipient
    Sent,
    /// It did not: send it once more
    Resend,
    /// Leave it
    Drop,
}

impl Decision {
    fn word(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Resend => "resend",
            Self::Drop => "drop",
        }
    }
}

#[derive(Deserialize)]
struct Known {
    #[serde(default)]
    evidence: Vec<Evidence>,
    #[serde(default)]
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Evidence {
    attempt: u64,
    at: Option<Timestamp>,
    source: String,
    finding: String,
    detail: Option<String>,
}

#[derive(Deserialize)]
struct Choice {
    decision: String,
    will: String,
}

#[derive(Deserialize)]
struct Decided {
    state: String,
    will: String,
}

/// Lists, shows or settles.
pub(super) async fn review(client: &Client, review: Review) -> Result<Exit, Failure> {
    match (&review.id, review.decision) {
        (None, _) => read::list(client, read::List::in_review(review.json)).await,
        (Some(id), None) => show(client, id, review.json).await,
        (Some(id), Some(decision)) => decide(client, &review, id, decision).await,
    }
}

async fn show(client: &Client, id: &str, json: Json) -> Result<Exit, Failure> {
    let answer = client.get(&format!("/v1/messages/{}/review", segment(id)), &[]).await?;
    if json.json {
        return answer.pass_on();
    }
    let known: Known = answer.read()?;
    let mut shown = read::shown(&answer)?;
    shown += if known.evidence.is_empty() { "\nread back: never\n" } else { "\nread back:\n" };
    for evidence in &known.evidence {
        shown += &render::text(&evidence.line());
    }
    if !known.choices.is_empty() {
        shown += "\nyou can say:\n";
    }
    for Choice { decision, will } in &known.choices {
        shown += &render::text(&format!("outboxd review {id} {decision}"));
        shown += &render::text(&format!("    {will}"));
    }
    render::print(&shown)?;
    Ok(Exit::Done)
}

impl Evidence {
    fn line(&self) -> String {
        let detail = self.detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default();
        let who = if self.source == "person" { "a person said " } else { "" };
        render::line(&format!(
            "{}  attempt {}, {who}{}{detail}",
            times::full(self.at),
            self.attempt,
            self.finding
        ))
    }
}

async fn decide(client: &Client, review: &Review, id: &str, decision: Decision) -> Result<Exit, Failure> {
    let path = format!("/v1/messages/{}/review", segment(id));
    let word = decision.word();
    if !review.yes {
        let answer = client.post(&path, &json!({ "decision": word, "dry_run": true })).await?;
        if review.dry_run && review.json.json {
            return answer.pass_on();
        }
        let told: Decided = answer.read()?;
        if review.dry_run {
            render::print(&format!("{}\n", render::line(&told.will)))?;
            return Ok(Exit::Done);
        }
        if !confirmed(&told.will)? {
            render::note("nothing was changed");
            return Ok(Exit::Refused);
        }
    }
    let answer = client.post(&path, &json!({ "decision": word, "note": review.note })).await?;
    if review.json.json {
        return answer.pass_on();
    }
    let decided: Decided = answer.read()?;
    render::print(&format!(
        "{}\nIt is {} now.\n",
        render::line(&decided.will),
        render::line(&decided.state)
    ))?;
    Ok(Exit::Done)
}

/// Says what will happen and asks; a script must say `--yes`.
fn confirmed(will: &str) -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage(format!(
            "{}\nThere is nobody to ask: add --yes to do it, or --dry-run to be told only",
            render::line(will)
        )));
    }
    let mut answer = String::new();
    render::print(&format!("{}\nDo it? [y/N] ", render::line(will)))?;
    let asked = std::io::stdout().flush().and_then(|()| std::io::stdin().read_line(&mut answer));
    asked.map_err(|error| Failure::unexpected(anyhow::Error::new(error).context("cannot ask")))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
