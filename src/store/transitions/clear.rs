//! What must be clear before a message is stored, as a condition in SQL: a single message that nothing keeps out is checked
//! and written with one statement, because each further statement is one more call to SQLite's thread. If it writes nothing,
//! its caller looks for the reason (`repeats.rs`, `suppressed.rs`, the `dedupe_key`) statement by statement, as for many
//! messages.

use std::sync::{Arc, LazyLock};

use sqlx::AssertSqlSafe;

use super::repeats::{REPEATS, REPEATS_OF_PERSON, Sought};
use super::suppressed::{ANY_PLAIN, Recipients, SUPPRESSED};
use crate::domain::message::{NewMessage, RepeatScope};

/// A statement for each [`RepeatScope`]: of the account, of the person.
pub(in crate::store) type StatementsByScope = LazyLock<[Arc<str>; 2]>;

/// Builds the statement with the condition; its parameters `recipients` and `sought` are those of a [`Check`].
pub(super) fn by_scope(recipients: &str, sought: &str, statement: impl Fn(&str) -> String) -> [Arc<str>; 2] {
    [REPEATS, REPEATS_OF_PERSON].map(|repeats| {
        let suppressed = SUPPRESSED.replace("?1", recipients);
        let repeats = repeats.replace("?1", sought);
        // With a salt there are hashes to compare, which SQL cannot compute.
        let clear = format!(
            "(SELECT erase_salt FROM daemon WHERE id = 1) IS NULL AND (NOT {ANY_PLAIN} OR NOT EXISTS ({suppressed})) \
             AND NOT EXISTS ({repeats})"
        );
        statement(&clear).into()
    })
}

/// What the condition depends on.
pub(super) struct Check {
    scope: RepeatScope,
    pub(super) recipients: String,
    pub(super) sought: String,
}

impl Check {
    /// Returns the check of a message; `None` if it is a step, which depends on the one before it.
    pub(super) fn of(message: &NewMessage, scope: RepeatScope) -> Option<Self> {
        if message.step.is_some() {
            return None;
        }
        let sought = Sought::of(message, scope).map_or_else(|| "[]".to_owned(), |sought| sought.alone());
        Some(Self { scope, recipients: Recipients::of(message).alone().to_string(), sought })
    }

    pub(super) fn of_scope(&self, statements: &StatementsByScope) -> AssertSqlSafe<Arc<str>> {
        // Built from constants; every value is bound.
        AssertSqlSafe(Arc::clone(&statements[usize::from(self.scope == RepeatScope::Person)]))
    }
}
