//! Checks the step of a draft against the rest of it. `validate.rs` calls it.

use super::field_error::{FieldError, FieldErrorCode};
use super::message::{Extras, Target};
use super::step::{LAST_STEP, Step, StepWait};

/// Checks the step of a message, with everything that it depends on.
pub(super) fn checked(
    step: Option<i64>,
    wait: Option<&str>,
    has_campaign: bool,
    target: Option<&Target>,
    extras: &Extras,
) -> Result<Option<Step>, Vec<FieldError>> {
    let mut faults = Vec::new();
    let mut add = |code, field: &str, problem: String, fix: &str| {
        faults.push(FieldError::new(code, field, problem, fix));
    };
    let Some(asked) = step else {
        if wait.is_some() {
            let fix = "say which `step` of its campaign it is, or leave it out";
            add(FieldErrorCode::Contradiction, "wait", "is for a step of a campaign".to_owned(), fix);
        }
        return if faults.is_empty() { Ok(None) } else { Err(faults) };
    };
    let number = u8::try_from(asked).ok().filter(|number| (1..=LAST_STEP).contains(number));
    if number.is_none() {
        add(FieldErrorCode::InvalidValue, "step", format!("is {asked}"), "give a whole number from 1 to 20");
    }
    if !has_campaign {
        add(
            FieldErrorCode::MissingField,
            "campaign",
            "is missing".to_owned(),
            "name the campaign of the step",
        );
    }
    let number = number.unwrap_or(1);
    if number > 1 && matches!(target, Some(Target::User { .. })) && extras.specifics.is_some() {
        let fix = "leave it out: this step goes into the chat that the step before opened";
        add(FieldErrorCode::Contradiction, "specifics", format!("does not go with step {number}"), fix);
    }
    if matches!(target, Some(Target::Group { .. })) {
        let fix = "queue one message per person";
        add(FieldErrorCode::Contradiction, "step", "is for one person, not for a group".to_owned(), fix);
    }
    let wait = match (wait, number) {
        (None, 1) => None,
        (Some(_), 1) => {
            let fix = "leave it out, or use `not_before`";
            add(
                FieldErrorCode::Contradiction,
                "wait",
                "is not for step 1, which follows nothing".to_owned(),
                fix,
            );
            None
        }
        (None, number) => {
            let fix = "say how long it waits, such as \"3 days\"";
            let problem = format!("is missing: step {number} waits after step {} was sent", number - 1);
            add(FieldErrorCode::MissingField, "wait", problem, fix);
            None
        }
        (Some(wait), _) => match StepWait::parse(wait) {
            Ok(wait) => Some(wait),
            Err(error) => {
                add(FieldErrorCode::InvalidValue, "wait", error.what, error.fix);
                None
            }
        },
    };
    if faults.is_empty() { Ok(Some(Step { number, wait })) } else { Err(faults) }
}
