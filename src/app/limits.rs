//! Account rules that were changed at run time: applied at the start, and validated for the API.
//!
//! The store keeps the changes; `config` computes the resulting policies.

use std::sync::Arc;

use anyhow::Context;
use jiff::Timestamp;

use crate::config::{PolicyBook, Problem, Settings};
use crate::domain::field_error::{FieldError, FieldErrorCode};
use crate::domain::policy::Policies;
use crate::http::PolicyResolver;
use crate::store::{PauseRequest, Scope, Store};

/// Returns the function that computes a policy from changed rules.
pub(super) fn policy_resolver(book: &PolicyBook) -> PolicyResolver {
    let book = book.clone();
    Arc::new(move |account, values| {
        book.policy(account, values).map_err(|problems| problems.into_iter().map(refusal).collect())
    })
}

fn refusal(problem: Problem) -> FieldError {
    FieldError::new(FieldErrorCode::InvalidValue, problem.key, problem.what, problem.fix)
}

/// Returns the policies in force: those of the configuration, with the changes of former runs. If the changes of an
/// account no longer fit the configuration, the account is paused: neither the old rules nor the new ones are
/// intended.
pub(super) async fn in_force(store: &Store, settings: &Settings, now: Timestamp) -> anyhow::Result<Policies> {
    let mut policies = settings.policies.clone();
    let changed = store.all_rules().await.context("cannot read the changed rules of the accounts")?;
    for (account, values) in changed {
        match settings.policy_book.policy(&account, &values) {
            Ok(policy) => {
                policies.accounts.insert(account, Arc::new(policy));
            }
            Err(problems) => {
                let problem = problems.first().map(|problem| problem.message.clone()).unwrap_or_default();
                tracing::error!(account_id = %account, problem, "its changed rules do not fit the configuration; it is paused");
                let note = format!("its changed rules do not fit the configuration: {problem}");
                let actor = "daemon".to_owned();
                let request = PauseRequest { until: None, has_length: false, note: Some(note), actor };
                store.pause(Scope::Account(account), request, now).await?;
            }
        }
    }
    Ok(policies)
}
