//! Messages that need a decision by a person: everything known about one, and the decision.
//!
//! A dry run (`dry_run`) describes what a decision will do, in the same words as the decision itself.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde_json::{Map, Value, json};

use super::error::ApiError;
use super::messages::{find, parse};
use super::{AppState, render, wire};
use crate::domain::field_error::{FieldError, FieldErrorCode};
use crate::domain::message::AccountId;
use crate::domain::reason::Reason;
use crate::domain::state::StateName;
use crate::store::{Decision, MessageView, Reviewed, Which};

/// Maximum length of a decision's note, in characters.
const NOTE_CHARS: usize = 500;

pub(super) async fn show(
    State(state): State<Arc<AppState>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let message = find(&state, &id).await?;
    let attempts = state.store.attempts(message.seq).await?;
    let evidence = state.store.evidence(message.seq).await?;
    let mut shown = render::message(&message, state.engine.explain(&message).await?.wait_status);
    shown["text"] = json!(message.text);
    shown["zone"] = json!(render::zone(&state.engine.policy(&message.account.id).zone));
    shown["attempts"] = attempts.iter().map(|attempt| render::attempt(attempt, &evidence)).collect();
    shown["evidence"] = evidence.iter().map(render::evidence).collect();
    shown["choices"] = match message.state {
        StateName::Review => Decision::ALL
            .iter()
            .map(|decision| json!({ "decision": decision.as_str(), "will": will(*decision, &message, &state) }))
            .collect(),
        StateName::New
        | StateName::Queued
        | StateName::Sending
        | StateName::Uncertain
        | StateName::Sent
        | StateName::Failed
        | StateName::Cancelled
        | StateName::Expired
        | StateName::Rejected => json!([]),
    };
    Ok(Json(shown))
}

pub(super) async fn decide(
    State(state): State<Arc<AppState>>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    let mut options = wire::options(&body, &["decision", "note", "dry_run"])?;
    let (decision, note) = decision_and_note(&mut options)?;
    let dry_run = wire::option_boolean(&mut options, "dry_run")?.unwrap_or(false);
    let message = find(&state, &id).await?;
    let will = will(decision, &message, &state);
    if message.state != StateName::Review {
        return Err(ApiError::wrong_state(message.state, "not in review"));
    }
    let answer = |state: StateName| {
        Json(
            json!({ "id": id, "decision": decision.as_str(), "state": state.as_str(), "dry_run": dry_run, "will": will }),
        )
    };
    if dry_run {
        return Ok(answer(StateName::Review));
    }
    let message_id = parse(&id)?;
    let work = Arc::clone(&state);
    let reviewed = state
        .spawn_detached(async move {
            let reviewed = work.store.review(message_id, decision, note, work.engine.now()).await?;
            if let Reviewed::Done { account_id } = &reviewed {
                work.engine.wake(account_id.clone());
            }
            Ok(reviewed)
        })
        .await?;
    match reviewed {
        Reviewed::Done { .. } => Ok(answer(decision.becomes())),
        Reviewed::Unknown => Err(ApiError::not_found("message", &id)),
        Reviewed::NotInReview(state) => Err(ApiError::wrong_state(state, "not in review")),
    }
}

/// Applies the same decision to every message that is in review for one reason.
pub(super) async fn decide_all(
    State(state): State<Arc<AppState>>,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    let known = ["decision", "note", "dry_run", "reason", "account_id", "campaign"];
    let mut options = wire::options(&body, &known)?;
    let (decision, note) = decision_and_note(&mut options)?;
    let dry_run = wire::option_boolean(&mut options, "dry_run")?.unwrap_or(false);
    let which = Which {
        reason: reason(wire::option_string(&mut options, "reason")?)?,
        account_id: wire::option_string(&mut options, "account_id")?.map(AccountId::new),
        campaign: wire::option_string(&mut options, "campaign")?,
    };
    let word = which.reason.as_str();
    let answer = |messages: u64| {
        let will = match decision {
            Decision::Sent => {
                "become `sent`: you have seen them with their recipients. They are never sent again."
            }
            Decision::Resend => {
                "go back into the queue and are sent in their turn, at the pace of their accounts. Those that had reached \
                 their recipients already reach them twice."
            }
            Decision::Drop => "become `cancelled`: they are not sent (again).",
        };
        let will = format!("{messages} messages that are in review as `{word}` {will}");
        Json(json!({ "decision": decision.as_str(), "messages": messages, "dry_run": dry_run, "will": will }))
    };
    if dry_run {
        return Ok(answer(state.store.in_review(&which).await?));
    }
    let (work, meant) = (Arc::clone(&state), which.clone());
    let settled = state.spawn_detached(async move {
        let now = work.engine.now();
        let (settled, accounts) = work.store.review_all(meant, decision, note, now).await?;
        work.engine.wake_at(accounts.into_iter().map(|account| (account, now)));
        Ok(settled)
    });
    Ok(answer(settled.await?))
}

/// Every reason for which a message can be in review.
const REASONS: [Reason; 6] = [
    Reason::Stale,
    Reason::OutcomeUnknown,
    Reason::NotInChat,
    Reason::PartlyInChat,
    Reason::CannotTell,
    Reason::ChatUnreadable,
];

fn reason(word: Option<String>) -> Result<Reason, ApiError> {
    let fix = format!("give one of: {}", REASONS.map(Reason::as_str).join(", "));
    let Some(word) = word else {
        return Err(unprocessable(FieldError::new(
            FieldErrorCode::MissingField,
            "reason",
            "is missing",
            fix,
        )));
    };
    REASONS.into_iter().find(|reason| reason.as_str() == word).ok_or_else(|| {
        let problem = format!("is {word:?}, for which no message is in review");
        unprocessable(FieldError::new(FieldErrorCode::InvalidValue, "reason", problem, fix))
    })
}

fn decision_and_note(options: &mut Map<String, Value>) -> Result<(Decision, Option<String>), ApiError> {
    let decision = decision(wire::option_string(options, "decision")?)?;
    let note = wire::option_string(options, "note")?;
    if note.as_ref().is_some_and(|note| note.chars().count() > NOTE_CHARS) {
        let problem = format!("holds more than {NOTE_CHARS} characters");
        return Err(unprocessable(FieldError::new(FieldErrorCode::TooLong, "note", problem, "shorten it")));
    }
    Ok((decision, note))
}

fn decision(word: Option<String>) -> Result<Decision, ApiError> {
    let fix = "give one of: sent, resend, drop";
    let Some(word) = word else {
        return Err(unprocessable(FieldError::new(
            FieldErrorCode::MissingField,
            "decision",
            "is missing",
            fix,
        )));
    };
    Decision::parse(&word).ok_or_else(|| {
        let problem = format!("is {word:?}");
        unprocessable(FieldError::new(FieldErrorCode::InvalidValue, "decision", problem, fix))
    })
}

fn unprocessable(refusal: FieldError) -> ApiError {
    ApiError::one(StatusCode::UNPROCESSABLE_ENTITY, refusal)
}

/// Returns a sentence that describes what a decision does.
fn will(decision: Decision, message: &MessageView, state: &AppState) -> String {
    let to = match (&message.chat_id, &message.users_ids) {
        (Some(chat_id), _) => format!("chat {chat_id}"),
        (None, Some(users)) => format!("user {}", users.join(", ")),
        (None, None) => "its recipient".to_owned(),
    };
    let id = message.id;
    let (once_more, twice, again, unknown) = match message.attempts {
        0 => ("", "", "", String::new()),
        _ => {
            let twice = " If the earlier attempt did reach them, they get it twice.";
            (" once more", twice, " again", format!(", and whether it reached {to} stays unknown"))
        }
    };
    let goes_on = "later messages to the same recipient go on";
    match decision {
        Decision::Sent => format!(
            "Message {id} becomes `sent`: you say that {to} has it. It is never sent{again}; {goes_on}."
        ),
        Decision::Resend => {
            let now = state.engine.now();
            let expired = message.expires_at.is_some_and(|at| at <= now);
            let expires = if expired { " Its expires_at has passed, so it will expire instead." } else { "" };
            format!(
                "Message {id} goes back into the queue and is sent to {to}{once_more}, in its turn and at the account's \
                 pace.{twice}{expires}"
            )
        }
        Decision::Drop => {
            format!("Message {id} becomes `cancelled`: it is not sent{again}{unknown}; {goes_on}.")
        }
    }
}
