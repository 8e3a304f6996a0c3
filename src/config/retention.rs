//! `[retention]`: how long finished messages keep their texts and files, and the queue its events.
//!
//! What a rule looks back to must still be there: a time that is shorter than the longest window of the rules is
//! refused.

use std::time::Duration;

use super::read::Reader;
use crate::domain::caps::Window;
use crate::domain::policy::{Policies, Policy};

/// `[retention]`; `None` keeps it for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RetentionSettings {
    /// How long finished messages keep their texts, names, specifics and meta.
    pub bodies: Option<Duration>,
    /// How long finished messages keep their files.
    pub files: Option<Duration>,
    /// How long events are kept.
    pub events: Option<Duration>,
}

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Longest accepted time in days: ten years.
const MOST_DAYS: u32 = 3660;

const FIX: &str = "write days or a duration, such as \"90d\" or \"36h\", or \"\" to keep it for ever";

pub(super) fn read(reader: &mut Reader<'_>, policies: &Policies) -> RetentionSettings {
    let (window, rule) = longest_window(policies);
    let [bodies, files, events] = ["bodies", "files", "events"].map(|name| {
        let leaf = reader.leaf(&format!("retention.{name}"));
        let text = reader.text(leaf)?.trim();
        if text.is_empty() {
            return None;
        }
        let days = text.strip_suffix('d').and_then(|number| number.trim().parse::<u32>().ok());
        let kept = match days {
            Some(days) if days > MOST_DAYS => {
                reader.add(leaf, &format!("{text} is longer than ten years"), FIX);
                return None;
            }
            Some(days) => DAY * days,
            None if text.ends_with('d') => {
                reader.add(leaf, &format!("{text:?} is not a time"), FIX);
                return None;
            }
            None => reader.duration(leaf)?,
        };
        if kept < window {
            let problem = format!("{text} is shorter than {rule}, which looks back {} h", hours(window));
            reader.add(leaf, &problem, "give a longer time, or shorten the rule");
            return None;
        }
        Some(kept)
    });
    RetentionSettings { bodies, files, events }
}

/// Returns the longest time that a rule of any account looks back, and its name; at least a day.
fn longest_window(policies: &Policies) -> (Duration, &'static str) {
    let all = std::iter::once(&policies.default).chain(policies.accounts.values());
    let windows = all.flat_map(|policy| windows(policy));
    windows.max_by_key(|(window, _)| *window).unwrap_or((DAY, "a day"))
}

fn windows(policy: &Policy) -> Vec<(Duration, &'static str)> {
    let cap = |window: Window| (window.rolling().unwrap_or(DAY), "the longest window of the caps");
    let caps = policy.caps.list.iter().chain(&policy.caps.profile).map(|cap_of| cap(cap_of.window));
    let reconcile = policy.reconcile.after.last().copied().unwrap_or_default();
    let others = [
        (DAY, "a day"),
        (policy.order.per_recipient, "order.per_recipient"),
        (reconcile, "the last of reconcile.after"),
    ];
    caps.chain(others).collect()
}

/// Returns the hours of a duration, rounded up.
fn hours(duration: Duration) -> u64 {
    duration.as_secs().div_ceil(3600)
}
