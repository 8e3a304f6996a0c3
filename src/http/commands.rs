//! Commands about stored messages: edit one with PATCH, cancel one, or one command about many.
//!
//! `domain/command.rs` says which state allows which command, `store/transitions/commands.rs` carries it out.

use std::collections::HashSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Map, Value};

use super::body::{Id, Options};
use super::error::{ApiError, Missing};
use super::messages::parse;
use super::review::checked_note;
use super::socket::Actor;
use super::{Answer, App, AppState, people, query, wire};
use crate::domain::command::{Change, Command, Edit, Instruction};
use crate::domain::field_error::{FieldError, FieldErrorCode};
use crate::domain::message::{AccountId, MessageId};
use crate::domain::state::StateName;
use crate::store::{self, MessageFilter};
use crate::types::command::{BulkAnswer, BulkRequest, Commanded, MessageEdit};
use crate::types::message::Cancelled;

/// Maximum number of ids in one request, and of results of a filter.
const AT_ONCE: usize = 1000;

/// Messages that are read and changed at a time.
const PAGE: u32 = 500;

pub(super) async fn cancel(State(state): App, Actor(actor): Actor, Id(id): Id) -> Answer<Cancelled> {
    let instruction = Instruction { command: Command::Cancel, actor, note: None };
    let done = |was: StateName, already_cancelled| {
        let (state, was) = ("cancelled".to_owned(), Some(was.as_str().to_owned()));
        Json(Cancelled { id: id.clone(), state, was, already_cancelled })
    };
    match one(state, parse(&id)?, instruction).await? {
        store::Commanded::Done { was, .. } => Ok(done(was, false)),
        store::Commanded::Unchanged(state) => Ok(done(state, true)),
        store::Commanded::Unknown => Err(ApiError::not_found(Missing::Message, &id)),
        store::Commanded::Refused { state, .. } => {
            Err(ApiError::wrong_state(state, "cannot be cancelled any more"))
        }
    }
}

pub(super) async fn edit(
    State(state): App,
    Actor(actor): Actor,
    Id(id): Id,
    Options(body): Options,
) -> Answer<Commanded> {
    let message_id = parse(&id)?;
    let (edit, note) = edit_of(wire::json(&body)?).map_err(unprocessable)?;
    let instruction =
        Instruction { command: Command::Edit(Box::new(edit)), actor, note: checked_note(note)? };
    let command = instruction.command.clone();
    match one(state, message_id, instruction).await? {
        store::Commanded::Unknown => Err(ApiError::not_found(Missing::Message, &id)),
        store::Commanded::Refused { errors, existing, .. } => {
            Err(ApiError::of_command(errors, existing.map(|id| id.to_string())))
        }
        result => Ok(Json(shown(id, &command, result))),
    }
}

/// Carries out a command about one message.
async fn one(
    state: Arc<AppState>,
    id: MessageId,
    instruction: Instruction,
) -> Result<store::Commanded, ApiError> {
    let work = Arc::clone(&state);
    let results = state.spawn_detached(async move { carry_out(&work, &[id], &instruction, false).await });
    results.await?.pop().ok_or_else(ApiError::internal)
}

/// Carries out a command about messages and wakes their accounts.
async fn carry_out(
    state: &AppState,
    ids: &[MessageId],
    instruction: &Instruction,
    dry_run: bool,
) -> Result<Vec<store::Commanded>, ApiError> {
    let (now, _dating) = state.engine.settled().await;
    let results = state.store.command(ids, instruction, &state.limits(), dry_run, now).await?;
    let changed = results.iter().filter(|_| !dry_run).filter_map(|result| match result {
        store::Commanded::Done { accounts, .. } => Some(accounts),
        _ => None,
    });
    state.engine.wake_at(changed.flatten().map(|account| (account.clone(), now)));
    Ok(results)
}

/// The messages that a command is about.
enum Selected {
    /// These, in this order; an id that is none stays as it was given.
    Ids(Vec<(String, Option<MessageId>)>),
    /// Those that the filter selects.
    Filter(Box<MessageFilter>),
}

pub(super) async fn bulk(
    State(state): App,
    Actor(actor): Actor,
    Options(body): Options,
) -> Answer<BulkAnswer> {
    let Value::Object(mut object) = wire::json(&body)? else {
        let fix = "give the command and the messages; see docs/http.md";
        let refusal = FieldError::new(FieldErrorCode::WrongType, "", "the body is not a JSON object", fix);
        return Err(unprocessable(vec![refusal]));
    };
    let edit = object.remove("edit").filter(|edit| !edit.is_null());
    let request: BulkRequest = wire::fields(Value::Object(object)).map_err(unprocessable)?;
    let (command, note_of_edit) = command(request.command.as_deref(), edit).map_err(unprocessable)?;
    let selected = selected(&state, &request, &command).await?;
    let note = checked_note(request.note.or(note_of_edit))?;
    let instruction = Instruction { command, actor, note };
    let dry_run = request.dry_run.unwrap_or(false);
    let work = Arc::clone(&state);
    let answer = state
        .spawn_detached(async move {
            match selected {
                Selected::Ids(ids) => of_ids(&work, ids, &instruction, dry_run).await,
                Selected::Filter(filter) => of_filter(&work, *filter, &instruction, dry_run).await,
            }
        })
        .await?;
    Ok(Json(answer))
}

async fn of_ids(
    state: &AppState,
    ids: Vec<(String, Option<MessageId>)>,
    instruction: &Instruction,
    dry_run: bool,
) -> Result<BulkAnswer, ApiError> {
    let known: Vec<MessageId> = ids.iter().filter_map(|(_, id)| *id).collect();
    let results = carry_out(state, &known, instruction, dry_run).await?;
    let mut answer = Answered::new(instruction, dry_run);
    answer.note_others(&results);
    let mut results = results.into_iter();
    for (text, id) in ids {
        let result = id.and_then(|_| results.next()).unwrap_or(store::Commanded::Unknown);
        answer.add(text, id, &instruction.command, result);
    }
    Ok(answer.bulk)
}

async fn of_filter(
    state: &AppState,
    mut filter: MessageFilter,
    instruction: &Instruction,
    dry_run: bool,
) -> Result<BulkAnswer, ApiError> {
    let mut answer = Answered::new(instruction, dry_run);
    let mut ids = Vec::new();
    loop {
        let (page, next) = state.store.message_ids(&filter).await?;
        ids.extend(page);
        filter.before = next;
        // The steps of a person are retried in their order and moved together, so all of them must be known.
        if next.is_some() && changes_other_steps(&instruction.command) {
            continue;
        }
        let results = carry_out(state, &ids, instruction, dry_run).await?;
        answer.note_others(&results);
        for (id, result) in ids.drain(..).zip(results) {
            answer.add(id.to_string(), Some(id), &instruction.command, result);
        }
        if next.is_none() {
            return Ok(answer.bulk);
        }
    }
}

/// Returns whether a command about a step also changes other steps of its person.
fn changes_other_steps(command: &Command) -> bool {
    match command {
        Command::Retry => true,
        Command::Edit(edit) => edit.account_id.is_some(),
        Command::Cancel | Command::Hold | Command::Release => false,
    }
}

/// The answer to a command about many messages, as far as it was carried out.
struct Answered {
    bulk: BulkAnswer,
    /// Messages that changed with another one of the request, as steps of a person do.
    with_others: HashSet<MessageId>,
}

impl Answered {
    fn new(instruction: &Instruction, dry_run: bool) -> Self {
        let command = instruction.command.as_str().to_owned();
        let bulk = BulkAnswer { command, dry_run, ..BulkAnswer::default() };
        Self { bulk, with_others: HashSet::new() }
    }

    /// Notes which messages changed with another one.
    fn note_others(&mut self, results: &[store::Commanded]) {
        for result in results {
            if let store::Commanded::Done { others, .. } = result {
                self.with_others.extend(others);
            }
        }
    }

    fn add(&mut self, text: String, id: Option<MessageId>, command: &Command, result: store::Commanded) {
        let has_changed = matches!(result, store::Commanded::Unchanged(_))
            && id.is_some_and(|id| self.with_others.contains(&id));
        let mut result = shown(text, command, result);
        if has_changed {
            result.changed = true;
            result.answer = Some(command.answer(true).to_owned());
        }
        let answer = &mut self.bulk;
        answer.messages += 1;
        let count = match (&result.error, result.changed) {
            (Some(_), _) => &mut answer.refused,
            (None, true) => &mut answer.changed,
            (None, false) => &mut answer.unchanged,
        };
        *count += 1;
        match answer.results.len() < AT_ONCE {
            true => answer.results.push(result),
            false => answer.is_cut = true,
        }
    }
}

/// Renders the result of a command about one message.
fn shown(id: String, command: &Command, result: store::Commanded) -> Commanded {
    let word = |state: StateName| Some(state.as_str().to_owned());
    let answer = |changed| Some(command.answer(changed).to_owned());
    match result {
        store::Commanded::Done { was, state, .. } => {
            let (was, state) = (word(was), word(state));
            Commanded { id, changed: true, answer: answer(true), was, state, ..Commanded::default() }
        }
        store::Commanded::Unchanged(state) => {
            let state = word(state);
            Commanded { id, answer: answer(false), was: state.clone(), state, ..Commanded::default() }
        }
        store::Commanded::Refused { state, errors, existing } => {
            let existing_id = existing.map(|id| id.to_string());
            refused(id, word(state), &errors, existing_id)
        }
        store::Commanded::Unknown => {
            let fix = "list them with `outboxd list`";
            let refusal = FieldError::new(FieldErrorCode::NotFound, "id", "names no message", fix);
            refused(id, None, &[refusal], None)
        }
    }
}

fn refused(
    id: String,
    state: Option<String>,
    errors: &[FieldError],
    existing_id: Option<String>,
) -> Commanded {
    let errors: Vec<_> = errors.iter().map(crate::types::error::FieldError::from).collect();
    let error = errors.first().cloned();
    let was = state.clone();
    Commanded { id, was, state, error, errors: Some(errors), existing_id, ..Commanded::default() }
}

/// Reads a command and, for an edit, the note that came with its fields.
fn command(word: Option<&str>, edit: Option<Value>) -> Result<(Command, Option<String>), Vec<FieldError>> {
    let fix = "use cancel, hold, release, retry or edit";
    let refuse =
        |code, field: &str, problem: String, fix: &str| Err(vec![FieldError::new(code, field, problem, fix)]);
    let command = match (word, edit) {
        (Some("edit"), Some(edit)) => {
            return edit_of(edit)
                .map(|(edit, note)| (Command::Edit(Box::new(edit)), note))
                .map_err(|errors| errors.into_iter().map(within_edit).collect());
        }
        (Some("edit"), None) => {
            let fix = "give the fields to change, such as {\"priority\": 5}";
            return refuse(FieldErrorCode::MissingField, "edit", "is missing".to_owned(), fix);
        }
        (Some(_), Some(_)) => {
            let problem = "goes with the command `edit`".to_owned();
            return refuse(FieldErrorCode::Contradiction, "edit", problem, "leave it out");
        }
        (Some("cancel"), None) => Command::Cancel,
        (Some("hold"), None) => Command::Hold,
        (Some("release"), None) => Command::Release,
        (Some("retry"), None) => Command::Retry,
        (Some(other), None) => {
            return refuse(FieldErrorCode::InvalidValue, "command", format!("is {other:?}"), fix);
        }
        (None, _) => return refuse(FieldErrorCode::MissingField, "command", "is missing".to_owned(), fix),
    };
    Ok((command, None))
}

fn within_edit(error: FieldError) -> FieldError {
    let field = if error.field.is_empty() { "edit".to_owned() } else { format!("edit.{}", error.field) };
    FieldError { field, ..error }
}

/// Reads the fields of an edit and its note. Null removes a value that may be absent.
fn edit_of(value: Value) -> Result<(Edit, Option<String>), Vec<FieldError>> {
    let removed: Vec<String> = match &value {
        Value::Object(object) => nulls(object),
        _ => Vec::new(),
    };
    let fields: MessageEdit = wire::fields(value)?;
    let required = removed.iter().find(|name| ["text", "account_id"].contains(&name.as_str()));
    if let Some(name) = required {
        let fix = "leave it out to keep it";
        return Err(vec![FieldError::new(FieldErrorCode::WrongType, name, "cannot be removed", fix)]);
    }
    let is_removed = |name: &str| removed.iter().any(|removed| removed == name);
    let change = |name: &str, value: Option<String>| match value {
        Some(value) => Change::Set(value),
        None if is_removed(name) => Change::Remove,
        None => Change::Keep,
    };
    let edit = Edit {
        account_id: fields.account_id,
        text: fields.text,
        priority: fields.priority.or(is_removed("priority").then_some(0)),
        not_before: change("not_before", fields.not_before),
        expires_at: change("expires_at", fields.expires_at),
        campaign: change("campaign", fields.campaign),
        allow_placeholders: fields.allow_placeholders.unwrap_or(false),
    };
    if edit.is_empty() {
        let fix = "give at least one of text, priority, not_before, expires_at, campaign and account_id";
        return Err(vec![FieldError::new(FieldErrorCode::MissingField, "", "nothing is to be changed", fix)]);
    }
    Ok((edit, fields.note))
}

fn nulls(object: &Map<String, Value>) -> Vec<String> {
    object.iter().filter(|(_, value)| value.is_null()).map(|(name, _)| name.clone()).collect()
}

/// Reads which messages a command is about: ids, or a filter that names at least one thing.
async fn selected(state: &AppState, request: &BulkRequest, command: &Command) -> Result<Selected, ApiError> {
    let BulkRequest { ids, account_id, campaign, chat_id, person, state: states, reason, .. } = request;
    let filters = [account_id, campaign, chat_id, person, states, reason];
    let filters = filters.into_iter().any(Option::is_some);
    let refuse =
        |code, problem: &str, fix: &str| Err(unprocessable(vec![FieldError::new(code, "ids", problem, fix)]));
    match ids {
        Some(_) if filters => {
            refuse(FieldErrorCode::Contradiction, "cannot be combined with a filter", "give one of them")
        }
        Some(ids) if ids.len() > AT_ONCE => {
            let refusal = FieldError::new(
                FieldErrorCode::TooLong,
                "ids",
                format!("holds {} ids, {AT_ONCE} are allowed", ids.len()),
                "send them in parts",
            );
            Err(ApiError::one(StatusCode::PAYLOAD_TOO_LARGE, refusal))
        }
        Some(ids) => Ok(Selected::Ids(ids.iter().map(|id| (id.clone(), id.trim().parse().ok())).collect())),
        None if !filters => {
            let fix =
                "give `ids`, or at least one of account_id, campaign, chat_id, person, state and reason";
            refuse(FieldErrorCode::MissingField, "and the filter are both missing", fix)
        }
        None => {
            let states = states.as_deref().map(query::states).transpose()?;
            let person = match person {
                Some(person) => Some(people::keys(state, person).await?),
                None => None,
            };
            Ok(Selected::Filter(Box::new(MessageFilter {
                account_id: account_id.clone().map(AccountId::new),
                campaign: campaign.as_deref().map(|label| label.trim().to_owned()),
                chat_id: chat_id.clone(),
                person,
                reason: reason.as_deref().map(query::reason).transpose()?,
                states: states.unwrap_or_else(|| command.selects().to_vec()),
                limit: PAGE,
                ..MessageFilter::default()
            })))
        }
    }
}

fn unprocessable(errors: Vec<FieldError>) -> ApiError {
    ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, errors)
}
