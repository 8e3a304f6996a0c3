//! The cap that binds an account, as tables and `outboxd status ACCOUNT` show it.
//!
//! It is the field `cap` of an account in the API.

use jiff::tz::TimeZone;

use super::times;
use crate::types::account::Cap;

impl Cap {
    /// Formats the cap as `40/40 new_chat 24h`, or `no cap`.
    pub(super) fn text(cap: Option<&Self>) -> String {
        cap.map_or_else(|| "no cap".to_owned(), Self::short)
    }

    fn short(&self) -> String {
        let Self { cap, window, limit, used, .. } = self;
        match cap.as_str() {
            "all" => format!("{used}/{limit} {window}"),
            kind => format!("{used}/{limit} {kind} {window}"),
        }
    }

    /// Adds the time at which there is room again, if there is none now.
    pub(super) fn full(&self, zone: &TimeZone) -> String {
        let frees_at = self.frees_at.filter(|_| self.used >= self.limit);
        let frees_at =
            frees_at.map(|at| format!(", room for one again at {}", times::full_in(Some(at), zone)));
        format!("{}{}", self.short(), frees_at.unwrap_or_default())
    }
}
