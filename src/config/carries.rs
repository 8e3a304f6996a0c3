//! The capacity of a request rate: how many accounts can send continuously at the pace of `policy.default`.
//!
//! `outboxd check` shows it.

use std::time::Duration;

use super::Settings;
use crate::domain::policy::{Policy, Route};

/// Returns the maximum number of API requests per message, and a list of them.
fn requests(policy: &Policy) -> (u32, String) {
    let mut parts = vec!["the send"];
    if policy.typing.enabled {
        parts.push("typing");
    }
    // A first message looks up its chat; an InMail reads its credits in the same place.
    parts.push(if policy.route == Route::ExistingChat { "the look-up of its chat" } else { "a look-up" });
    let count = u32::try_from(parts.len()).unwrap_or(u32::MAX);
    (count, parts.join(", "))
}

/// Returns the mean pause between two messages, without breaks.
fn mean_gap(policy: &Policy) -> Duration {
    ((policy.gap.min + policy.gap.max) / 2).max(Duration::from_millis(1))
}

/// Returns the number of accounts that can send continuously without waiting for `rate` requests a second.
fn accounts(rate: u32, policy: &Policy) -> u64 {
    let a_message = f64::from(requests(policy).0);
    // Rounded down; casts saturate.
    (f64::from(rate) * mean_gap(policy).as_secs_f64() / a_message) as u64
}

pub(super) fn sentence(settings: &Settings) -> String {
    let policy = &settings.policies.default;
    let rate = settings.unipile.requests_per_second.get();
    let (count, parts) = requests(policy);
    let gap = mean_gap(policy).as_secs_f64();
    format!(
        "unipile.requests_per_second = {rate} carries about {} accounts that send all the time: \
         a gap of {gap:.1} s on average, {count} requests a message ({parts})",
        accounts(rate, policy)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::policy::Gap;

    /// S4: the defaults are enough for 500 accounts at the pace of Unipile's guide.
    #[test]
    fn a_hundred_requests_a_second_carry_five_hundred_accounts_at_the_pace_of_the_guide() {
        let gap = Gap { min: Duration::from_secs(10), max: Duration::from_secs(20) };
        let mut policy = Policy { gap, ..Policy::unlimited() };
        policy.typing.enabled = true;
        assert_eq!(accounts(100, &policy), 500);
        policy.typing.enabled = false;
        assert_eq!(accounts(10, &policy), 75);
    }
}
