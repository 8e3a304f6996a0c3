//! `outboxd review`: lists and shows messages that need a decision, and makes the decision.
//!
//! The sentences come from the daemon: the command requests the effect of a decision with `dry_run`, shows it, and
//! only then makes the decision.

use std::io::{IsTerminal, Write};

use clap::Args;
use jiff::tz::TimeZone;

use super::Json;
use super::client::{Answer, Client, parse_id, segment};
use super::exit::{Exit, Failure};
use super::label::parse_label;
use super::{read, render, times};
use crate::types::message::{Evidence, MessageDetail};
use crate::types::review::{Choice, Decided, DecisionForAllRequest};

/// `outboxd review`.
#[derive(Debug, Args)]
pub(super) struct Review {
    /// Message and decision: sent, resend or drop. Without a decision, show all that is known; without a message,
    /// list all that wait
    #[arg(value_name = "ID [DECISION]", value_parser = parse_id, num_args = 0..=2)]
    words: Vec<String>,
    /// Decide about every message in review for this reason: stale, not_in_chat, …
    #[arg(long, value_name = "REASON")]
    reason: Option<String>,
    /// With --reason: only messages of this account
    #[arg(long, value_name = "ID", requires = "reason")]
    account: Option<String>,
    /// With --reason: only messages with this label
    #[arg(long, value_name = "LABEL", value_parser = parse_label, requires = "reason")]
    campaign: Option<String>,
    /// Note on the decision, recorded with it
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    /// Decide without asking for confirmation
    #[arg(long)]
    yes: bool,
    /// Only show what the decision would do
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    #[command(flatten)]
    json: Json,
}

/// Lists, shows or settles messages in review.
pub(super) async fn review(client: &Client, review: Review) -> Result<Exit, Failure> {
    let words: Vec<&str> = review.words.iter().map(String::as_str).collect();
    match (&review.reason, words.as_slice()) {
        (Some(reason), [decision]) => {
            let asked = DecisionForAllRequest {
                decision: Some((*decision).to_owned()),
                reason: Some(reason.clone()),
                account_id: review.account.clone(),
                campaign: review.campaign.clone(),
                ..DecisionForAllRequest::default()
            };
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
            let path = format!("/v1/messages/{}/review", segment(&client.whole_id(id).await?));
            let decision = Some((*decision).to_owned());
            // Without the fields that choose among messages, it is the request about one.
            let asked = DecisionForAllRequest { decision, ..DecisionForAllRequest::default() };
            decide(client, &review, &path, asked).await
        }
    }
}

async fn show(client: &Client, id: &str, json: Json) -> Result<Exit, Failure> {
    let id = client.whole_id(id).await?;
    let answer = client.get(&format!("/v1/messages/{}/review", segment(&id)), &[]).await?;
    answer.show(json, |known| shown(&id, &known))
}

/// Formats a message in review, what was read back, and what a person can say.
fn shown(id: &str, known: &MessageDetail) -> String {
    let zone = times::zone(known.zone.as_deref());
    let mut shown = read::shown(known);
    shown += if known.evidence.is_empty() { "\nread back: never\n" } else { "\nread back:\n" };
    for evidence in &known.evidence {
        shown += &render::text(&evidence.line(&zone));
    }
    let choices = known.choices.as_deref().unwrap_or_default();
    if !choices.is_empty() {
        shown += "\nyou can say:\n";
    }
    for Choice { decision, will } in choices {
        shown += &render::text(&format!("outboxd review {id} {decision}"));
        shown += &render::text(&format!("    {will}"));
    }
    shown
}

impl Evidence {
    fn line(&self, zone: &TimeZone) -> String {
        let detail = self.detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default();
        let who = if self.source == "person" { "a person said " } else { "" };
        render::line(&format!(
            "{}  attempt {}, {who}{}{detail}",
            times::full_in(Some(self.at), zone),
            self.attempt,
            self.finding
        ))
    }
}

async fn decide(
    client: &Client,
    review: &Review,
    path: &str,
    mut asked: DecisionForAllRequest,
) -> Result<Exit, Failure> {
    if !review.yes {
        asked.dry_run = Some(true);
        let answer = client.post(path, &asked).await?;
        knows(client, review, &answer).await?;
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
    (asked.dry_run, asked.note) = (None, review.note.clone());
    let answer = client.post(path, &asked).await?;
    if review.yes {
        knows(client, review, &answer).await?;
    }
    answer.show(review.json, |decided: Decided| {
        let state = decided.state.map(|state| format!("It is {} now.\n", render::line(&state)));
        format!("{}\n{}", render::line(&decided.will), state.unwrap_or_default())
    })
}

/// Checks that the campaign and the account exist, if no message was found.
async fn knows(client: &Client, review: &Review, answer: &Answer) -> Result<(), Failure> {
    match answer.read::<Decided>() {
        Ok(Decided { messages: Some(0), .. }) => {
            client.knows(review.campaign.as_deref(), review.account.as_deref()).await
        }
        _ => Ok(()),
    }
}

/// Shows the effect and asks for confirmation; a script must pass `--yes`.
fn confirmed(will: &str) -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage(format!(
            "nothing was changed, because this is not a terminal and nothing can be asked: add --yes to do it. It would do this: {}",
            render::line(will)
        )));
    }
    let mut answer = String::new();
    render::print(&format!("{}\nDo it? [y/N] ", render::line(will)))?;
    let asked = std::io::stdout().flush().and_then(|()| std::io::stdin().read_line(&mut answer));
    asked.map_err(|error| Failure::unexpected(anyhow::Error::new(error).context("cannot ask")))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
