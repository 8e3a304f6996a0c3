//! What a first message waits for before it may go.

use super::field_error::{FieldError, FieldErrorCode};

words! {
    /// What a first message waits for.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Need {
        /// The person is a connection of the account.
        Connection = "connection",
    }
}

impl Need {
    /// Validates what a message needs (P7); `is_to_one`: it is a first message to one person.
    pub(super) fn checked(needs: Option<String>, is_to_one: bool) -> Result<Option<Self>, FieldError> {
        let Some(word) = needs else { return Ok(None) };
        let Some(need) = Self::parse(&word) else {
            let (problem, fix) = (format!("is {word:?}"), "write \"connection\", or leave it out");
            return Err(FieldError::new(FieldErrorCode::InvalidValue, "needs", problem, fix));
        };
        if is_to_one {
            return Ok(Some(need));
        }
        let problem = "is for a first message to one person";
        let fix = "leave it out, or name one person in `users_ids`";
        Err(FieldError::new(FieldErrorCode::Contradiction, "needs", problem, fix))
    }
}
