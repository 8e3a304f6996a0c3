//! The messages that were queued before with other contents or another wait than the import gives them now.
//!
//! `mod.rs` and `rehearse.rs` call it. Without `--update` they are named. With it, those that wait get the new text by the
//! edit of `outboxd edit` (`POST /v1/messages/bulk`), one at a time, with its checks and its event; the others are named with
//! the reason. An edit changes neither files, specifics nor a wait.

use serde::Serialize;
use serde_json::json;

use super::super::client::{Client, problem};
use super::super::exit::Failure;
use super::super::render;
use super::SHOWN;
use super::progress::Progress;
use crate::import::{Differing, Table, kept};
use crate::types::command::{BulkAnswer, BulkRequest};
use crate::types::counted;

/// A message that was queued before, as `--json` prints it.
#[derive(Debug, Serialize)]
pub(super) struct Kept {
    line: u64,
    step: usize,
    id: String,
    state: String,
    /// The fields that differ.
    fields: Vec<String>,
    /// With `--update`: whether its text was changed, or would be.
    #[serde(skip_serializing_if = "Option::is_none")]
    changed: Option<bool>,
    /// With `--update`: why it, or its wait, stays as it was queued.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

/// What became of them.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) kept: Vec<Kept>,
    /// How many have the new text, and how many stay as they were queued; only with `--update`.
    counts: Option<(usize, usize)>,
    /// Whether one that waits is not what the import gives it.
    pub(super) is_refused: bool,
}

/// What an update does to a message, and why not all of it.
enum Verdict {
    /// It gets the new text, but keeps its wait.
    Changed(Option<String>),
    /// It has ended, or its call was made.
    TooLate(String),
    Refused(String),
}

impl Outcome {
    /// Returns what was done, for the line with the counts.
    pub(super) fn text(&self, is_dry_run: bool) -> String {
        match (self.counts, is_dry_run) {
            (None | Some((0, 0)), _) => String::new(),
            (Some((changed, same)), false) => {
                format!(", of which {} changed and {same} could not be", counted(changed, "was", "were"))
            }
            (Some((changed, same)), true) => {
                format!(", of which {changed} would be changed and {same} could not be")
            }
        }
    }
}

/// Names the messages; changes none.
pub(super) fn name(table: &Table, differing: &[Differing]) -> Outcome {
    for one in differing.iter().take(SHOWN) {
        let Differing { step, id, state, .. } = one;
        render::note(&render::line(&format!(
            "line {}, step {step}: was queued before with other contents or another wait, as message {id}, which is {state}",
            line_of(table, one)
        )));
    }
    if differing.len() > SHOWN {
        render::note(&format!("… and {} more that say something else", differing.len() - SHOWN));
    }
    if let Some(kept) = kept(differing) {
        render::note(&render::line(&kept));
    }
    let kept = differing.iter().map(|one| Kept::of(table, one)).collect();
    Outcome { kept, ..Outcome::default() }
}

/// Gives those that wait the new text, and names those that stay as they were queued.
pub(super) async fn update(
    client: &Client,
    table: &Table,
    differing: &[Differing],
    is_dry_run: bool,
) -> Result<Outcome, Failure> {
    let mut outcome = Outcome::default();
    let (mut changed, mut told) = (0, 0);
    let progress = Progress::new(differing.len(), "messages that differ");
    for (place, one) in differing.iter().enumerate() {
        progress.at(place);
        let verdict = verdict(client, one, is_dry_run).await;
        let verdict =
            verdict.map_err(|failure| interrupted(failure, changed, differing.len(), is_dry_run))?;
        let (has_changed, is_refused, why) = match verdict {
            Verdict::Changed(why) => (true, why.is_some(), why),
            Verdict::TooLate(why) => (false, false, Some(why)),
            Verdict::Refused(why) => (false, true, Some(why)),
        };
        changed += usize::from(has_changed);
        outcome.is_refused |= is_refused;
        if let Some(why) = &why {
            told += 1;
            if told <= SHOWN {
                progress.clear();
                let at = format!("line {}, step {}: message {}", line_of(table, one), one.step, one.id);
                render::note(&render::line(&format!("{at} {why}")));
            }
        }
        outcome.kept.push(Kept { changed: Some(has_changed), why, ..Kept::of(table, one) });
    }
    drop(progress);
    if told > SHOWN {
        let more = told - SHOWN;
        render::note(&format!("… and {more} more that stay as they were queued; --json names all of them"));
    }
    outcome.counts = Some((changed, differing.len() - changed));
    Ok(outcome)
}

/// Changes the text of a message if it waits and nothing but its text and its wait differ.
async fn verdict(client: &Client, one: &Differing, is_dry_run: bool) -> Result<Verdict, Failure> {
    if let Some(why) = one.too_late() {
        return Ok(Verdict::TooLate(why));
    }
    let has = |name: &str| one.fields.iter().any(|field| field == name);
    if has("attachments") || has("specifics") {
        let what = if has("attachments") { "files" } else { "specifics" };
        return Ok(Verdict::Refused(format!(
            "was not changed: its {what} differ, and an edit changes only the text; `outboxd cancel {}` keeps it from being sent",
            one.id
        )));
    }
    if !has("text") {
        return Ok(Verdict::Refused(format!("was not changed: {}", wait_stays(&one.id))));
    }
    let request = BulkRequest {
        command: Some("edit".to_owned()),
        ids: Some(vec![one.id.clone()]),
        edit: Some(json!({ "text": one.text })),
        note: Some("import --update".to_owned()),
        dry_run: is_dry_run.then_some(true),
        ..BulkRequest::default()
    };
    let answer: BulkAnswer = client.post_at_length("/v1/messages/bulk", &request).await?.read()?;
    let errors = answer.results.iter().flat_map(|result| match (&result.errors, &result.error) {
        (Some(errors), _) => errors.as_slice(),
        (None, error) => error.as_slice(),
    });
    let errors: Vec<String> = errors.map(problem).collect();
    if answer.refused > 0 || !errors.is_empty() {
        return Ok(Verdict::Refused(format!("was not changed: {}", errors.join(" / "))));
    }
    Ok(Verdict::Changed(has("wait").then(|| format!("gets the new text only: {}", wait_stays(&one.id)))))
}

fn wait_stays(id: &str) -> String {
    format!(
        "an edit does not change the wait after the step before; `outboxd edit {id} --not-before TIME` lets it go later"
    )
}

/// Says how far the changes came.
fn interrupted(failure: Failure, changed: usize, all: usize, is_dry_run: bool) -> Failure {
    if is_dry_run {
        return failure;
    }
    failure.and(format!(
        "the rows of the table are in the queue, and of the {all} that differ {} changed; run the same command again: what was \
         changed stays so",
        counted(changed, "was", "were")
    ))
}

fn line_of(table: &Table, one: &Differing) -> u64 {
    table.sheet.rows[one.row].line
}

impl Kept {
    fn of(table: &Table, one: &Differing) -> Self {
        let Differing { step, id, state, fields, .. } = one;
        let (id, state, fields) = (id.clone(), state.clone(), fields.clone());
        Self { line: line_of(table, one), step: *step, id, state, fields, changed: None, why: None }
    }
}
