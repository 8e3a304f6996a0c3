//! The rules of one account: what is left of its caps, and changes of its rules at run time.
//!
//! A change is validated like the configuration and stored with an event before it is acknowledged; it applies from
//! the account's next step on. A refused change has no effect.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Map, Value};

use super::body::{Id, Options};
use super::error::{ApiError, Missing};
use super::{Answer, App, AppState, render, wire};
use crate::domain::account::Account;
use crate::domain::field_error::{FieldError, FieldErrorCode};
use crate::domain::message::AccountId;
use crate::domain::policy::Policy;
use crate::engine::{Budget, Hours};
use crate::types::policy::AccountPolicy;
use crate::types::{self, Time};

/// Computes the policy of an account from values that override its configuration; `app` provides it. The keys are
/// paths below `policy.default`.
pub type PolicyResolver =
    Arc<dyn Fn(&AccountId, &Map<String, Value>) -> Result<Policy, Vec<FieldError>> + Send + Sync>;

pub(super) async fn budget(State(state): App, Id(id): Id) -> Answer<types::policy::Budget> {
    let account = find(&state, &id).await?;
    let (budgets, hours) = state.engine.budget(&account).await?;
    let of_profiles = state.engine.profile_budget(&account).await?;
    let named = |budget| types::account::Cap { cap: "profile".to_owned(), ..render::cap(budget) };
    let (open, until, opens_at) = match hours {
        Hours::Always => (true, None, None),
        Hours::Open { until } => (true, Some(until), None),
        Hours::Closed { opens_at } => (false, None, opens_at),
    };
    Ok(Json(types::policy::Budget {
        account_id: id,
        now: state.engine.now().into(),
        zone: render::zone(&state.engine.policy(&account.id).zone).to_owned(),
        caps: budgets.iter().map(render::cap).chain(of_profiles.iter().map(named)).collect(),
        hours: types::policy::Hours { open, until: until.map(Time), opens_at: opens_at.map(Time) },
        warm_up: state
            .engine
            .warm_up(&account)
            .filter(|(day, percent)| *day < percent.len())
            .map(|(day, percent)| types::policy::WarmUp { day: day + 1, percent }),
    }))
}

pub(super) async fn show(State(state): App, Id(id): Id) -> Answer<AccountPolicy> {
    let account = find(&state, &id).await?;
    let policy = state.store.rules(&account.id).await?.into_iter().collect();
    Ok(Json(AccountPolicy { account_id: id, policy }))
}

pub(super) async fn change(State(state): App, Id(id): Id, Options(body): Options) -> Answer<AccountPolicy> {
    let Value::Object(changes) = wire::json(&body)? else {
        let fix =
            "send an object of keys and values, such as {\"gap.min\": \"30s\"}; null takes a change back";
        let refusal = FieldError::new(FieldErrorCode::WrongType, "", "the body is not a JSON object", fix);
        return Err(ApiError::bad_request(refusal));
    };
    let work = Arc::clone(&state);
    let account_id = id.clone();
    // Detached, so that stored rules are always applied, even if the client hangs up.
    let rules = state.spawn_detached(async move { put_in_force(&work, &account_id, changes).await }).await?;
    Ok(Json(AccountPolicy { account_id: id, policy: rules.into_iter().collect() }))
}

/// Applies changes to the stored rules, and puts the result in force. Changes are serialized: two concurrent ones
/// would both start from the same rules, and one would be lost.
async fn put_in_force(
    state: &AppState,
    id: &str,
    changes: Map<String, Value>,
) -> Result<Map<String, Value>, ApiError> {
    let _turn = state.policy_turn().await;
    let account = find(state, id).await?;
    let mut rules = state.store.rules(&account.id).await?;
    for (key, value) in &changes {
        match value {
            Value::Null => {
                rules.remove(key);
            }
            value => {
                rules.insert(key.clone(), value.clone());
            }
        }
    }
    let unprocessable = |refusals| ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, refusals);
    let policy = state.policy_resolver()(&account.id, &rules).map_err(unprocessable)?;
    let above = above_today(state, &account, &policy).await?;
    if !above.is_empty() {
        return Err(unprocessable(above));
    }
    let (now, _dating) = state.engine.settled().await;
    state.store.set_rules(account.id.clone(), rules.clone(), Value::Object(changes), now).await?;
    state.engine.set_policy(account.id, policy);
    Ok(rules)
}

/// Returns an error for each new cap that the sends in its window already exceed: it would stop the account at once,
/// which is what `pause` is for.
async fn above_today(
    state: &AppState,
    account: &Account,
    policy: &Policy,
) -> Result<Vec<FieldError>, ApiError> {
    let (before, _) = state.engine.budget(account).await?;
    let (after, _) = state.engine.budget_with(account, policy).await?;
    let was = |budget: &Budget| before.iter().any(|old| old.cap == budget.cap);
    let refuse = |budget: &Budget| {
        let problem = format!(
            "{}/{} is below the {} that were sent in this window already",
            budget.cap.most,
            budget.cap.window.as_str(),
            budget.used
        );
        let fix = "wait, give a higher cap, or pause the account";
        FieldError::new(FieldErrorCode::InvalidValue, format!("caps.{}", budget.cap.name()), problem, fix)
    };
    Ok(after.iter().filter(|budget| !was(budget) && budget.used > budget.cap.most).map(refuse).collect())
}

async fn find(state: &AppState, id: &str) -> Result<Account, ApiError> {
    let view = state.store.account(&AccountId::new(id)).await?;
    view.map(|view| view.account).ok_or_else(|| ApiError::not_found(Missing::Account, id))
}
