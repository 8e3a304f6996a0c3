//! The rules of every account: `[policy.default]`, and what each `[account."acc_…"]` table changes in it.
//!
//! An account inherits value by value, so a table that sets only `gap.min` keeps the default's `gap.max`; what does
//! not fit together is told with the account's key.

use std::time::Duration;

use jiff::tz::TimeZone;

use super::keys::{POLICY, join};
use super::layers::Leaf;
use super::read::Reader;
use crate::domain::message::{AccountId, InboxId};
use crate::domain::policy::{Absent, Gap, Policies, Policy, ReadBack, Retry, Typing};
use crate::domain::validate::MAX_ID_BYTES;

/// The least pause that needs no explicit consent. Unipile's guide: "at least 10-20 s".
pub(super) const SHORTEST_GAP: Duration = Duration::from_secs(10);

/// Reads the policy of every account.
pub(super) fn read(reader: &mut Reader<'_>) -> Policies {
    let default = policy(reader, None);
    let ids: Vec<&String> = reader.layers.accounts.keys().collect();
    let accounts = ids.into_iter().map(|id| (AccountId::new(id), policy(reader, Some(id)))).collect();
    Policies { default, accounts }
}

fn policy(reader: &mut Reader<'_>, account: Option<&str>) -> Policy {
    Policy {
        gap: gap(reader, account),
        typing: typing(reader, account),
        retry: retry(reader, account),
        read_back: read_back(reader, account),
        inbox_id: inbox_id(reader, account),
        zone: reader.zone(find(reader, account, "zone")).unwrap_or(TimeZone::UTC),
    }
}

/// The account's own value, else the default's.
fn find<'a>(reader: &Reader<'a>, account: Option<&str>, path: &str) -> &'a Leaf {
    let own = account.and_then(|id| reader.layers.accounts.get(id)).and_then(|table| table.get(path));
    own.unwrap_or_else(|| reader.leaf(&join(POLICY, path)))
}

fn gap(reader: &mut Reader<'_>, account: Option<&str>) -> Gap {
    let (low, high) = (find(reader, account, "gap.min"), find(reader, account, "gap.max"));
    let (min, max) = (reader.duration(low), reader.duration(high));
    reader.ordered((low, min), (high, max));
    let allowed = reader.flag(reader.leaf("policy.allow_gap_below_10s"));
    if min.is_some_and(|min| min < SHORTEST_GAP) && !allowed {
        let what = format!(
            "{} is below 10s; Unipile's guide asks for at least 10 to 20 s between messages",
            low.value
        );
        let fix = "raise it, or set policy.allow_gap_below_10s = true and risk the LinkedIn account";
        reader.add(low, &what, fix);
    }
    Gap { min: min.unwrap_or_default(), max: max.unwrap_or_default() }
}

fn typing(reader: &mut Reader<'_>, account: Option<&str>) -> Typing {
    let enabled = reader.flag(find(reader, account, "typing.enabled"));
    let base = reader.duration(find(reader, account, "typing.base"));
    let [slow, fast] = ["typing.per_char_max", "typing.per_char_min"].map(|path| find(reader, account, path));
    let (per_char_min, per_char_max) = (reader.duration(fast), reader.duration(slow));
    reader.ordered((fast, per_char_min), (slow, per_char_max));
    let [low, high] = ["typing.min", "typing.max"].map(|path| find(reader, account, path));
    let (min, max) = (reader.duration(low), reader.positive_duration(high));
    reader.ordered((low, min), (high, max));
    Typing {
        enabled,
        base: base.unwrap_or_default(),
        per_char_min: per_char_min.unwrap_or_default(),
        per_char_max: per_char_max.unwrap_or_default(),
        min: min.unwrap_or_default(),
        max: max.unwrap_or_default(),
    }
}

fn retry(reader: &mut Reader<'_>, account: Option<&str>) -> Retry {
    let max_retries = reader.count(find(reader, account, "retry.max_retries"), 0..=1000);
    let factor = reader.count(find(reader, account, "retry.factor"), 1..=100);
    let [low, high] = ["retry.base", "retry.max"].map(|path| find(reader, account, path));
    let (base, max) = (reader.positive_duration(low), reader.positive_duration(high));
    reader.ordered((low, base), (high, max));
    let cooldown = reader.positive_duration(find(reader, account, "retry.cooldown"));
    Retry {
        max_retries,
        base: base.unwrap_or_default(),
        factor,
        max: max.unwrap_or_default(),
        cooldown: cooldown.unwrap_or_default(),
    }
}

fn read_back(reader: &mut Reader<'_>, account: Option<&str>) -> ReadBack {
    let after = reader.durations(find(reader, account, "read_back.after"));
    let skew = reader.duration(find(reader, account, "read_back.skew")).unwrap_or_default();
    let absent = find(reader, account, "read_back.absent");
    let absent = match reader.text(absent) {
        Some("resend") => Absent::Resend,
        Some("review") | None => Absent::Review,
        Some(other) => {
            let what = format!("{other:?} is not known");
            reader.add(absent, &what, "use \"review\" or \"resend\"");
            Absent::Review
        }
    };
    ReadBack { after, skew, absent }
}

fn inbox_id(reader: &mut Reader<'_>, account: Option<&str>) -> Option<InboxId> {
    let leaf = find(reader, account, "inbox_id");
    let id = reader.text(leaf)?;
    if id.len() > MAX_ID_BYTES || id.chars().any(char::is_control) {
        let fix = "give the id of an inbox, such as \"CLASSIC_PRIMARY\", or \"\" for none";
        reader.add(leaf, "is too long or holds a control character", fix);
    }
    Some(id).filter(|id| !id.is_empty()).map(InboxId::new)
}
