//! Unipile's last known view of an account, as `outboxd status <account>` shows it.
//!
//! Every time is shown in the account's zone.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;

use super::{render, times};
use crate::types::Time;
use crate::types::account::{AccountSnapshot, Inbox};

impl AccountSnapshot {
    /// Returns a row for each known part, with its times in the account's `zone`.
    pub(super) fn rows(&self, zone: &TimeZone) -> Vec<(&'static str, String)> {
        let read = |at: Option<Time>| at.map(|at| format!(" (read {})", times::full_in(Some(at), zone)));
        let inboxes = self.inboxes.as_ref().map(|inboxes| {
            let shown: Vec<String> = inboxes.iter().map(Inbox::text).collect();
            if shown.is_empty() { "none".to_owned() } else { shown.join(", ") }
        });
        let credits = self.credits.as_ref().map(|credits| {
            let shown = pairs(credits);
            let shown = if shown.is_empty() { "no product has any".to_owned() } else { shown };
            format!("{shown}{}", read(self.credits_read_at).unwrap_or_default())
        });
        let problem = self.problem.as_ref().map(|problem| {
            let at = self.tried_at.map(|at| format!(" at {}", times::full_in(Some(at), zone)));
            format!("could not be read{}: {problem}", at.unwrap_or_default())
        });
        let age = if self.read_at.is_some() { "what is known is old" } else { "not read yet" };
        let old = (problem.is_none() && self.is_old).then(|| age.to_owned());
        let rows = [
            ("unipile", self.account().map(|text| text + &read(self.read_at).unwrap_or_default())),
            ("inboxes", inboxes),
            ("inmails", credits),
            ("reading", problem.or(old)),
        ];
        render::known(rows)
    }

    /// Returns identity and status.
    fn account(&self) -> Option<String> {
        let status = self.status.as_ref()?;
        let name = self.name.as_ref().map(|name| format!("{name}, "));
        let provider = self.provider.as_ref().map(|provider| format!("{provider}, "));
        let locked = if self.is_locked == Some(true) { ", locked by Unipile" } else { "" };
        let products = self.products.as_ref().map(pairs).filter(|products| !products.is_empty());
        let products = products.map(|products| format!("; {products}"));
        Some(format!(
            "{}{}{status}{locked}{}",
            name.unwrap_or_default(),
            provider.unwrap_or_default(),
            products.unwrap_or_default()
        ))
    }
}

impl Inbox {
    fn text(&self) -> String {
        if self.disabled { format!("{} (disabled)", self.id) } else { self.id.clone() }
    }
}

/// Formats a map as `classic running, company errored`.
fn pairs<T: std::fmt::Display>(map: &BTreeMap<String, T>) -> String {
    map.iter().map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>().join(", ")
}
