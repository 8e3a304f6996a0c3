//! `/import`: a table of people and the messages for them become a campaign, as `outboxd import` does it.
//!
//! One form, which each button posts as a whole. Checking shows what `--dry-run` shows; the page queues
//! only what it has shown. Nothing is queued before a person confirms.

mod form;
mod prepare;
mod run;
mod uploads;

use std::sync::Arc;

use askama::Template;
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::campaign::days;
use super::charts;
use super::command::{path, query};
use super::error::PageError;
use super::frame::{Frame, Markup, When, html};
use crate::domain::message::AccountId;
use crate::http::error::ApiError;
use crate::http::{App, AppState, accounts};
use crate::import::{Example, LAST_STEP, RefusedRows, States, Table, Tally, ended, kept, refused_file};
use crate::types::counted;
use crate::types::forecast::CampaignForecast;
use form::{Posted, Typed, TypedStep, step_name};
use prepare::Prepared;
use run::{Rehearsed, apart};
use uploads::{KEPT_FOR, Upload};

pub(in crate::http) use uploads::Uploads;

/// Refused rows and repeated people that are shown; all refused rows are in the file.
const SHOWN: usize = 20;
/// Accounts that are named next to the field.
const KNOWN: &str = "12";

#[derive(Template)]
#[template(path = "import.html")]
struct Page {
    frame: Frame,
    when: When,
    typed: Typed,
    upload: Option<Arc<Upload>>,
    /// What was noticed about the table.
    noticed: Option<String>,
    header: Vec<String>,
    /// The fields that may have a column, and the column that is used.
    fields: Vec<(String, Option<String>)>,
    known: Vec<String>,
    problems: Vec<String>,
    notes: Vec<String>,
    shown: Option<Shown>,
    queued: Option<Queued>,
}

/// What an import would do.
struct Shown {
    people: usize,
    /// Those that are not in the queue yet.
    messages: usize,
    refused: Refused,
    examples: Vec<Example>,
    forecast: Option<CampaignForecast>,
    days: Option<Markup>,
}

/// What an import did.
struct Queued {
    people: usize,
    accepted: usize,
    duplicates: usize,
    refused: Refused,
}

/// The first of the refused rows, each with its line and why.
struct Refused {
    count: usize,
    rows: Vec<(u64, String)>,
}

pub(super) async fn show(frame: Frame, State(state): App) -> Result<Response, PageError> {
    if frame.read_only {
        return Err(ApiError::forbidden(
            "this view is read-only".to_owned(),
            "start `outboxd ui` without --read-only",
        )
        .into());
    }
    let typed = Typed { steps: vec![TypedStep::default()], ..Typed::default() };
    Ok(html(&Page::new(frame, &state, typed, None).await?))
}

pub(super) async fn post(frame: Frame, State(state): App, mut posted: Posted) -> Result<Response, PageError> {
    let upload = upload(&state, &mut posted);
    let Posted { button, typed, seen, upload: id, .. } = posted;
    let mut page = Page::new(frame, &state, typed, upload.clone()).await?;
    let has_changed_steps = page.change_steps(&button);
    let (typed, file) = (page.typed.clone(), upload.clone());
    let prepared = apart(&state, move || {
        let file = file.as_deref().ok_or_else(|| missing(&id));
        Prepared::new(&typed, file)
    });
    let Prepared { table, fields, problems, plan } = prepared.await?;
    page.fields = fields;
    page.notice(table.as_ref());
    if has_changed_steps {
        return Ok(html(&page));
    }
    page.problems = problems;
    let (Some(table), Some(plan)) = (table, plan) else { return Ok(html(&page)) };
    page.note_unknown_accounts(&state).await?;
    if button == "queue" && seen == page.fingerprint() {
        let work = run::queue(Arc::clone(&state), table, plan);
        let (table, tally) = state.spawn_detached(work).await?;
        page.was_queued(&table, tally);
        return Ok(html(&page));
    }
    if button == "queue" {
        page.notes
            .push("Something changed since you looked, so nothing is queued yet; look again.".to_owned());
    }
    let rehearsed = run::rehearse(state, table, plan).await?;
    if button == "refused" {
        return download(&rehearsed.table, &rehearsed.found.refused);
    }
    page.would_be_queued(rehearsed);
    Ok(html(&page))
}

/// Returns the table: the one that was chosen now, or that was uploaded before.
fn upload(state: &Arc<AppState>, posted: &mut Posted) -> Option<Arc<Upload>> {
    let now = state.engine.now();
    let Some((name, bytes)) = posted.file.take() else {
        return state.uploads.find(&posted.upload, now);
    };
    let (upload, wants_timer) = state.uploads.keep(name, bytes, now);
    if wants_timer {
        let work = Arc::clone(state);
        state.tasks.spawn(async move {
            loop {
                tokio::select! {
                    () = work.engine.clock().sleep(KEPT_FOR) => {}
                    () = work.engine.stopping() => return,
                }
                if work.uploads.forget(work.engine.now()) {
                    return;
                }
            }
        });
    }
    Some(upload)
}

fn missing(id: &str) -> String {
    match id {
        "" => "choose the table of people, a CSV file whose first line names the columns".to_owned(),
        _ => "the table is not kept any more (a table is kept for an hour, and not over a restart); choose it again"
            .to_owned(),
    }
}

/// Returns the refused rows as a file.
fn download(table: &Table, refused: &RefusedRows) -> Result<Response, PageError> {
    let content = refused_file(table, refused).map_err(|_| ApiError::internal())?;
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
    let name: String = table.name.chars().map(plain).collect();
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}.refused.csv\"")),
    ];
    Ok((headers, content).into_response())
}

impl Page {
    async fn new(
        frame: Frame,
        state: &Arc<AppState>,
        typed: Typed,
        upload: Option<Arc<Upload>>,
    ) -> Result<Self, PageError> {
        let asked =
            [("limit", KNOWN), ("sort", "id")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        let known = accounts::list(State(Arc::clone(state)), Query(asked.into())).await?.0;
        Ok(Self {
            frame: frame.once(),
            when: When::new(state.engine.now(), None),
            typed,
            upload,
            noticed: None,
            header: Vec::new(),
            fields: Vec::new(),
            known: known.data.into_iter().map(|account| account.id).collect(),
            problems: Vec::new(),
            notes: Vec::new(),
            shown: None,
            queued: None,
        })
    }

    /// Adds or removes a step, if that is what the button does.
    fn change_steps(&mut self, button: &str) -> bool {
        let steps = &mut self.typed.steps;
        if button == "add" && steps.len() < usize::from(LAST_STEP) {
            steps.push(TypedStep { wait: "3 days".to_owned(), text: String::new() });
        } else if let Some(number) = button.strip_prefix("remove-").and_then(|number| number.parse().ok())
            && (2..=steps.len()).contains(&number)
        {
            steps.remove(number - 1);
        } else {
            return false;
        }
        true
    }

    fn notice(&mut self, table: Option<&Table>) {
        let Some(Table { sheet, encoding, .. }) = table else { return };
        let (rows, delimiter) = (sheet.rows.len(), sheet.delimiter_name());
        self.noticed =
            Some(format!("{encoding}, {delimiter} between cells, {}", counted(rows, "row", "rows")));
        self.header.clone_from(&sheet.header);
    }

    /// Names accounts that may be a typing error.
    async fn note_unknown_accounts(&mut self, state: &AppState) -> Result<(), PageError> {
        for account in self.typed.accounts() {
            if state.store.account(&AccountId::new(&account)).await?.is_none() {
                self.notes.push(format!(
                    "{account} has sent nothing yet and is not in the configuration: check that Unipile lists this id."
                ));
            }
        }
        Ok(())
    }

    fn was_queued(&mut self, table: &Table, tally: Tally) {
        self.note_repeats(table, &tally.repeats);
        self.notes.extend(kept(&tally.differing));
        self.notes.extend(ended(&tally.before, &self.typed.campaign));
        self.queued = Some(Queued {
            people: tally.people,
            accepted: tally.accepted,
            duplicates: tally.duplicates,
            refused: Refused::new(table, &tally.refused),
        });
    }

    fn would_be_queued(&mut self, rehearsed: Rehearsed) {
        let Rehearsed { found, forecast, table } = rehearsed;
        self.note_repeats(&table, &found.repeats);
        if let Some(line) = found.cut_at {
            self.notes.push(format!("The table is too long for one forecast: it ends before line {line}."));
        }
        self.note_before(&found.before);
        self.notes.extend(kept(&found.differing));
        // Of an import that would queue nothing, the forecast shows only other messages.
        let forecast = forecast.filter(|_| found.messages > 0);
        let by_day = forecast.as_ref().map(days).unwrap_or_default();
        let campaigns = forecast.map(|forecast| forecast.campaigns).unwrap_or_default();
        self.shown = Some(Shown {
            people: found.people,
            messages: found.messages,
            refused: Refused::new(&table, &found.refused),
            examples: found.examples,
            forecast: campaigns.into_iter().find(|of| of.campaign.is_some()),
            days: (!by_day.is_empty())
                .then(|| charts::columns(&by_day, "Planned sends by day, all messages of its accounts")),
        });
    }

    fn note_before(&mut self, before: &States) {
        let messages: usize = before.values().sum();
        if messages > 0 {
            self.notes.push(format!(
                "Queued before, and not queued again: {}.",
                counted(messages, "message", "messages")
            ));
        }
        self.notes.extend(ended(before, &self.typed.campaign));
    }

    fn note_repeats(&mut self, table: &Table, repeats: &[(usize, u64)]) {
        for (row, same_as) in repeats.iter().take(SHOWN) {
            let line = table.sheet.rows[*row].line;
            self.notes
                .push(format!("Line {line} is the same person as line {same_as}; only that line counts."));
        }
        if repeats.len() > SHOWN {
            let more = counted(repeats.len() - SHOWN, "more line repeats", "more lines repeat");
            self.notes.push(format!("{more} a person."));
        }
    }

    fn counted(&self, n: &usize, one: &str, many: &str) -> String {
        counted(*n, one, many)
    }

    /// Returns the fingerprint of the form and the file.
    fn fingerprint(&self) -> String {
        self.typed.fingerprint(self.upload.as_ref().map_or("", |upload| &upload.id))
    }

    fn command(&self) -> String {
        self.typed.command(self.upload.as_ref().map_or("people.csv", |upload| &upload.name))
    }

    fn name(&self, number: &usize) -> String {
        step_name(*number)
    }

    fn may_add(&self) -> bool {
        self.typed.steps.len() < usize::from(LAST_STEP)
    }

    /// Returns whether a person chose this column for the field.
    fn is_chosen(&self, field: &str, column: &str) -> bool {
        self.typed.columns.iter().any(|(of, chosen)| of == field && chosen == column)
    }

    fn campaign(&self) -> String {
        path("/campaigns", &[&self.typed.campaign])
    }

    fn messages(&self) -> String {
        query("/messages", &[("campaign", &self.typed.campaign), ("state", "queued")])
    }
}

impl Refused {
    fn new(table: &Table, refused: &RefusedRows) -> Self {
        let row = |(row, reasons): (&usize, &Vec<String>)| (table.sheet.rows[*row].line, reasons.join(" / "));
        Self { count: refused.len(), rows: refused.iter().take(SHOWN).map(row).collect() }
    }
}
