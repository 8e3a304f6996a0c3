//! Messages that need a decision by a person: everything known about one, and the decision.
//!
//! A dry run (`dry_run`) describes what a decision will do, in the same words as the decision itself.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::body::{Id, Options};
use super::error::{ApiError, Missing};
use super::messages::{detail, find, parse};
use super::{Answer, App, AppState, wire};
use crate::domain::field_error::{FieldError, FieldErrorCode};
use crate::domain::message::AccountId;
use crate::domain::reason::Reason;
use crate::domain::state::StateName;
use crate::store::{Decision, MessageView, Reviewed, Which};
use crate::types::message::MessageDetail;
use crate::types::review::{Choice, Decided, DecisionForAllRequest, DecisionRequest};

/// Maximum length of a decision's note, in characters.
const NOTE_CHARS: usize = 500;

pub(super) async fn show(State(state): App, Id(id): Id) -> Answer<MessageDetail> {
    let message = find(&state, &id).await?;
    let choice = |decision: &Decision| Choice {
        decision: decision.as_str().to_owned(),
        will: will(*decision, &message, &state),
    };
    let possible = if message.state == StateName::Review { &Decision::ALL[..] } else { &[] };
    let choices = Some(possible.iter().map(choice).collect());
    Ok(Json(MessageDetail { choices, ..detail(&state, message).await? }))
}

pub(super) async fn decide(State(state): App, Id(id): Id, Options(body): Options) -> Answer<Decided> {
    let DecisionRequest { decision, note, dry_run } = wire::options(&body)?;
    let (decision, note) = (checked_decision(decision)?, checked_note(note)?);
    let dry_run = dry_run.unwrap_or(false);
    let message = find(&state, &id).await?;
    let will = will(decision, &message, &state);
    if message.state != StateName::Review {
        return Err(ApiError::wrong_state(message.state, "not in review"));
    }
    let answer = |state: StateName| {
        Json(Decided {
            id: Some(id.clone()),
            decision: decision.as_str().to_owned(),
            state: Some(state.as_str().to_owned()),
            messages: None,
            dry_run,
            will,
        })
    };
    if dry_run {
        return Ok(answer(StateName::Review));
    }
    let message_id = parse(&id)?;
    let work = Arc::clone(&state);
    let reviewed = state
        .spawn_detached(async move {
            let (now, _dating) = work.engine.settled().await;
            let reviewed = work.store.review(message_id, decision, note, now).await?;
            if let Reviewed::Done { account_id } = &reviewed {
                work.engine.wake(account_id.clone());
            }
            Ok(reviewed)
        })
        .await?;
    match reviewed {
        Reviewed::Done { .. } => Ok(answer(decision.becomes())),
        Reviewed::Unknown => Err(ApiError::not_found(Missing::Message, &id)),
        Reviewed::NotInReview(state) => Err(ApiError::wrong_state(state, "not in review")),
    }
}

/// Applies the same decision to every message that is in review for one reason.
pub(super) async fn decide_all(State(state): App, Options(body): Options) -> Answer<Decided> {
    let asked: DecisionForAllRequest = wire::options(&body)?;
    let (decision, note) = (checked_decision(asked.decision)?, checked_note(asked.note)?);
    let dry_run = asked.dry_run.unwrap_or(false);
    let which = Which {
        reason: checked_reason(asked.reason)?,
        account_id: asked.account_id.clone().map(AccountId::new),
        campaign: asked.campaign.as_deref().map(|label| label.trim().to_owned()),
    };
    let word = which.reason.as_str();
    let of =
        [(" of the campaign ", asked.campaign.as_deref()), (" of the account ", asked.account_id.as_deref())];
    let of: String =
        of.iter().flat_map(|(of, name)| name.map(|name| format!("{of}{}", name.trim()))).collect();
    let answer = |messages: u64| {
        let what = if messages == 1 { "message" } else { "messages" };
        let are = if messages == 1 { "is" } else { "are" };
        let will = will_of_all(decision, messages == 1);
        let will = format!("{messages} {what}{of} that {are} in review as `{word}` {will}");
        let decision = decision.as_str().to_owned();
        Json(Decided { id: None, decision, state: None, messages: Some(messages), dry_run, will })
    };
    if dry_run {
        return Ok(answer(state.store.in_review(&which).await?));
    }
    let (work, meant) = (Arc::clone(&state), which.clone());
    let settled = state.spawn_detached(async move {
        let (now, _dating) = work.engine.settled().await;
        let (settled, accounts) = work.store.review_all(meant, decision, note, now).await?;
        work.engine.wake_at(accounts.into_iter().map(|account| (account, now)));
        Ok(settled)
    });
    Ok(answer(settled.await?))
}

/// Returns what a decision will do with messages, or with the only one.
fn will_of_all(decision: Decision, is_one: bool) -> &'static str {
    match (decision, is_one) {
        (Decision::Sent, false) => {
            "become `sent`: you have seen them with their recipients. They are never sent again."
        }
        (Decision::Sent, true) => {
            "becomes `sent`: you have seen it with its recipient. It is never sent again."
        }
        (Decision::Resend, false) => {
            "go back into the queue and are sent in their turn, at the pace of their accounts. Those that had reached \
             their recipients already reach them twice."
        }
        (Decision::Resend, true) => {
            "goes back into the queue and is sent in its turn, at the pace of its account. If it had reached its recipient \
             already, it reaches them twice."
        }
        (Decision::Drop, false) => "become `cancelled`: they are not sent (again).",
        (Decision::Drop, true) => "becomes `cancelled`: it is not sent (again).",
    }
}

/// Every reason for which a message can be in review.
pub(super) const REASONS: [Reason; 6] = [
    Reason::Stale,
    Reason::OutcomeUnknown,
    Reason::NotInChat,
    Reason::PartlyInChat,
    Reason::CannotTell,
    Reason::ChatUnreadable,
];

fn checked_reason(word: Option<String>) -> Result<Reason, ApiError> {
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

pub(super) fn checked_note(note: Option<String>) -> Result<Option<String>, ApiError> {
    if note.as_ref().is_some_and(|note| note.chars().count() > NOTE_CHARS) {
        let problem = format!("holds more than {NOTE_CHARS} characters");
        return Err(unprocessable(FieldError::new(FieldErrorCode::TooLong, "note", problem, "shorten it")));
    }
    Ok(note)
}

fn checked_decision(word: Option<String>) -> Result<Decision, ApiError> {
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
