//! Checks the times of a draft. `validate.rs` calls it.

use jiff::Timestamp;

use super::field_error::FieldErrorCode;
use super::validate::Faults;

impl Faults {
    pub(super) fn time(&mut self, field: &str, value: Option<String>) -> Option<Timestamp> {
        let value = value?;
        match super::parse_time(&value) {
            Some(at) if (0..=253_402_300_799_999).contains(&at.as_millisecond()) => {
                Some(super::whole_milliseconds(at))
            }
            Some(_) => {
                self.add(
                    FieldErrorCode::InvalidValue,
                    field,
                    "is outside the years 1970 to 9999",
                    "give a nearer time",
                );
                None
            }
            None => {
                let problem = format!("is not a time: {:?}", shortened(&value));
                let fix = "write RFC 3339 with a zone, such as 2026-11-22T09:21:00.000Z";
                self.add(FieldErrorCode::InvalidValue, field, problem, fix);
                None
            }
        }
    }

    pub(super) fn order_of_times(
        &mut self,
        not_before: Option<Timestamp>,
        expires_at: Option<Timestamp>,
        now: Timestamp,
    ) {
        let Some(expires_at) = expires_at else { return };
        if expires_at <= now {
            let problem = format!("has passed: {}", super::time_text(expires_at));
            self.add(FieldErrorCode::InvalidValue, "expires_at", problem, "give a time in the future");
        } else if not_before.is_some_and(|from| from >= expires_at) {
            let fix = "give an expiry after `not_before`, or leave one of them out";
            self.add(FieldErrorCode::Contradiction, "expires_at", "is not after `not_before`", fix);
        }
    }
}

fn shortened(value: &str) -> String {
    value.chars().take(40).collect()
}
