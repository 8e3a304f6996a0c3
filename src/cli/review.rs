//! `outboxd review`: what needs a person, with everything that is known, and the decision.
//!
//! The sentences are the daemon's own: what a decision will do is asked with `dry_run`, shown, and only then done.

use std::io::{IsTerminal, Write};

use clap::Args;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde_json::{Value, json};

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
outboxd review ID drop      leave it\n\nFor all that are in review for one reason: outboxd review --reason stale resend"
)]
pub(super) struct Review {
    /// The message, and what you decide: sent, resend or drop. Without a decision all that is known is shown, without a
    /// message all that wait are listed
    #[arg(value_name = "ID [DECISION]", value_parser = parse_id, num_args = 0..=2)]
    words: Vec<String>,
    /// Decide about every message that is in review for this reason: stale, not_in_chat, …
    #[arg(long, value_name = "REASON")]
    reason: Option<String>,
    /// With --reason: only of this account
    #[arg(long, value_name = "ID", requires = "reason")]
    account: Option<String>,
    /// With --reason: only with this label
    #[arg(long, value_name = "LABEL", requires = "reason")]
    campaign: Option<String>,
    /// Why, for whoever looks later
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    /// Do it without asking
    #[arg(long)]
    yes: bool,
    /// Only say what it would do
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    #[command(flatten)]
    json: Json,
}

#[derive(Deserialize)]
struct Known {
    zone: Option<String>,
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
    state: Option<String>,
    will: String,
}

/// Lists, shows or settles.
pub(super) async fn review(client: &Client, review: Review) -> Result<Exit, Failure> {
    let words: Vec<&str> = review.words.iter().map(String::as_str).collect();
    match (&review.reason, words.as_slice()) {
        (Some(reason), [decision]) => {
            let (account, campaign) = (&review.account, &review.campaign);
            let asked = json!({ "decision": decision, "reason": reason, "account_id": account, "campaign": campaign });
            decide(client, &review, "/v1/review", asked).await
        }
        (Some(_), _) => {
            Err(Failure::usage("with --reason say one decision: sent, resend or drop".to_owned()))
        }
        (None, [] | [_]) if review.yes || review.dry_run || review.note.is_some() => {
            let told = "--note, --yes and --dry-run go with a message and a decision: sent, resend or drop";
            Err(Failure::usage(told.to_owned()))
        }
        (None, []) => read::list(client, read::List::in_review(review.json)).await,
        (None, [id]) => show(client, id, review.json).await,
        (None, [id, decision, ..]) => {
            let path = format!("/v1/messages/{}/review", segment(id));
            decide(client, &review, &path, json!({ "decision": decision })).await
        }
    }
}

async fn show(client: &Client, id: &str, json: Json) -> Result<Exit, Failure> {
    let answer = client.get(&format!("/v1/messages/{}/review", segment(id)), &[]).await?;
    if json.json {
        return answer.pass_on();
    }
    let known: Known = answer.read()?;
    let zone = times::zone(known.zone.as_deref());
    let mut shown = read::shown(&answer)?;
    shown += if known.evidence.is_empty() { "\nread back: never\n" } else { "\nread back:\n" };
    for evidence in &known.evidence {
        shown += &render::text(&evidence.line(&zone));
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
    fn line(&self, zone: &TimeZone) -> String {
        let detail = self.detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default();
        let who = if self.source == "person" { "a person said " } else { "" };
        render::line(&format!(
            "{}  attempt {}, {who}{}{detail}",
            times::full_in(self.at, zone),
            self.attempt,
            self.finding
        ))
    }
}

async fn decide(client: &Client, review: &Review, path: &str, mut asked: Value) -> Result<Exit, Failure> {
    if !review.yes {
        asked["dry_run"] = json!(true);
        let answer = client.post(path, &given(asked.clone())).await?;
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
    asked["dry_run"] = Value::Null;
    asked["note"] = json!(review.note);
    let answer = client.post(path, &given(asked)).await?;
    if review.json.json {
        return answer.pass_on();
    }
    let decided: Decided = answer.read()?;
    let state = decided.state.map(|state| format!("It is {} now.\n", render::line(&state)));
    render::print(&format!("{}\n{}", render::line(&decided.will), state.unwrap_or_default()))?;
    Ok(Exit::Done)
}

/// What was not said is left out.
fn given(mut asked: Value) -> Value {
    if let Some(object) = asked.as_object_mut() {
        object.retain(|_, value| !value.is_null());
    }
    asked
}

/// Says what will happen and asks; a script must say `--yes`.
fn confirmed(will: &str) -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage(format!(
            "nothing was changed, because there is nobody to ask: add --yes to do it. It would do this: {}",
            render::line(will)
        )));
    }
    let mut answer = String::new();
    render::print(&format!("{}\nDo it? [y/N] ", render::line(will)))?;
    let asked = std::io::stdout().flush().and_then(|()| std::io::stdin().read_line(&mut answer));
    asked.map_err(|error| Failure::unexpected(anyhow::Error::new(error).context("cannot ask")))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
