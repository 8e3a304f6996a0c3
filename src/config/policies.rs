//! The policies of all accounts: `[policy.default]`, with the overrides of each `[account."acc_…"]` table.
//!
//! An account inherits each value separately, so a table that sets only `gap.min` keeps the default's `gap.max`.
//! Conflicts between values are reported under the account's key.

use std::sync::Arc;
use std::time::Duration;

use config::ValueKind;
use serde_json::{Map, Value};

use super::keys::{Key, Keys, Kind, POLICY, join};
use super::layers::{Layers, Leaf};
use super::problem::Problem;
use super::read::Reader;
use super::{limits, presets};
use crate::domain::ids;
use crate::domain::message::{AccountId, InboxId};
use crate::domain::policy::{
    Absent, Gap, InMail, Policies, Policy, ReconcilePolicy, ReplyPolicy, Retry, Route, Typing,
};
use crate::domain::reply_patterns::ReplyPatterns;

/// Shortest pause that needs no explicit consent. Unipile's guide: "at least 10-20 s".
pub(super) const SHORTEST_GAP: Duration = Duration::from_secs(10);

/// Maximum spread of the beginnings of accounts with the same hours; a shorter gap lowers it.
const LONGEST_SPREAD: Duration = Duration::from_secs(60);

/// Reads the policy of every account.
pub(super) fn read(reader: &mut Reader<'_>) -> Policies {
    let default = Arc::new(policy(reader, None));
    let ids: Vec<&String> = reader.layers.accounts.keys().collect();
    let own = |id: &String| (AccountId::new(id), Arc::new(policy(reader, Some(id))));
    let accounts = ids.into_iter().map(own).collect();
    Policies { default, accounts }
}

fn policy(reader: &mut Reader<'_>, account: Option<&str>) -> Policy {
    let rhythm = limits::rhythm(reader, account);
    let caps = limits::caps(reader, account, rhythm.spread);
    let (mut calendar, zone) = limits::calendar(reader, account, &caps);
    let gap = gap(reader, account);
    if let Some(calendar) = &mut calendar {
        calendar.spread = gap.max.min(LONGEST_SPREAD);
    }
    Policy {
        gap,
        rhythm,
        caps,
        calendar,
        warm_up: limits::warm_up(reader, account),
        cooldown: limits::cooldown(reader, account),
        order: limits::order(reader, account),
        typing: typing(reader, account),
        retry: retry(reader, account),
        reconcile: reconcile(reader, account),
        inbox_id: inbox_id(reader, account),
        route: route(reader, account),
        inmail: inmail(reader, account),
        reply: reply(reader, account),
        reply_patterns: reply_patterns(reader, account),
        zone,
    }
}

/// The one key outside `[policy]` that is part of each policy.
const KEEP_BODIES: &str = "inbound.keep_bodies";

/// The configured rules, kept to compute the policy of an account whose rules are changed while the daemon runs.
#[derive(Clone)]
pub struct PolicyBook {
    layers: Layers,
}

impl std::fmt::Debug for PolicyBook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PolicyBook")
    }
}

impl PolicyBook {
    /// Copies what the layers say about policies and nothing else; in particular not the API key.
    pub(super) fn new(layers: &Layers) -> Self {
        let concerns_policies = |path: &str| path.starts_with("policy.") || path == KEEP_BODIES;
        let leaves = layers.leaves.iter().filter(|(path, _)| concerns_policies(path));
        let leaves = leaves.map(|(path, leaf)| (path.clone(), leaf.clone())).collect();
        Self { layers: Layers { leaves, accounts: layers.accounts.clone(), outbound: None } }
    }

    /// Returns the policy of `account` with `values` in place of those in its table; each key is a path below
    /// `policy.default`, such as `gap.min`.
    ///
    /// # Errors
    /// Returns every problem, each with its key.
    pub fn policy(&self, account: &AccountId, values: &Map<String, Value>) -> Result<Policy, Vec<Problem>> {
        let keys = Keys::built_in();
        let mut problems = Vec::new();
        let mut layers = self.layers.clone();
        let table = layers.accounts.entry(account.as_str().to_owned()).or_default();
        for (path, value) in values {
            match leaf(&keys, path, value) {
                Ok(leaf) => {
                    table.insert(path.clone(), leaf);
                }
                Err(problem) => problems.push(problem),
            }
        }
        presets::expand_account(table);
        let mut reader = Reader { layers: &layers, problems };
        let policy = policy(&mut reader, Some(account.as_str()));
        if reader.problems.is_empty() { Ok(policy) } else { Err(reader.problems) }
    }
}

/// Converts a value of a request to a leaf of the layers.
fn leaf(keys: &Keys, path: &str, value: &Value) -> Result<Leaf, Problem> {
    let Some(key) = keys.get(&join(POLICY, path)) else {
        return Err(Problem::unknown_key(path, "the request", &keys.hint_below(path)));
    };
    let kind = match (key.kind, value) {
        (Kind::Text, Value::String(text)) => Some(ValueKind::String(text.clone())),
        (Kind::Whole, Value::Number(number)) => number.as_i64().map(ValueKind::I64),
        (Kind::Flag, Value::Bool(flag)) => Some(ValueKind::Boolean(*flag)),
        _ => None,
    };
    let wrong = |key: &Key| {
        let what = format!("expected {}, got {value}", key.kind.expected());
        Problem::value(path, "", &what, &format!("write it as in: {}", key.example()))
    };
    let value = kind.ok_or_else(|| wrong(key))?;
    Ok(Leaf { key: path.to_owned(), place: Some("the request".to_owned()), value })
}

fn gap(reader: &mut Reader<'_>, account: Option<&str>) -> Gap {
    let (low, high) = (reader.of(account, "gap.min"), reader.of(account, "gap.max"));
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
    let enabled = reader.flag(reader.of(account, "typing.enabled"));
    let base = reader.duration(reader.of(account, "typing.base"));
    let [slow, fast] = ["typing.per_char_max", "typing.per_char_min"].map(|path| reader.of(account, path));
    let (per_char_min, per_char_max) = (reader.duration(fast), reader.duration(slow));
    reader.ordered((fast, per_char_min), (slow, per_char_max));
    let [low, high] = ["typing.min", "typing.max"].map(|path| reader.of(account, path));
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
    let max_retries = reader.count(reader.of(account, "retry.max_retries"), 0..=1000);
    let factor = reader.count(reader.of(account, "retry.factor"), 1..=100);
    let [low, high] = ["retry.base", "retry.max"].map(|path| reader.of(account, path));
    let (base, max) = (reader.positive_duration(low), reader.positive_duration(high));
    reader.ordered((low, base), (high, max));
    Retry { max_retries, base: base.unwrap_or_default(), factor, max: max.unwrap_or_default() }
}

fn reconcile(reader: &mut Reader<'_>, account: Option<&str>) -> ReconcilePolicy {
    let after = reader.durations(reader.of(account, "reconcile.after"));
    let absent = reader.of(account, "reconcile.absent");
    let absent = match reader.text(absent) {
        Some("resend") => Absent::Resend,
        Some("review") | None => Absent::Review,
        Some(other) => {
            let what = format!("{other:?} is not known");
            reader.add(absent, &what, "use \"review\" or \"resend\"");
            Absent::Review
        }
    };
    ReconcilePolicy { after, absent }
}

fn route(reader: &mut Reader<'_>, account: Option<&str>) -> Route {
    let leaf = reader.of(account, "route");
    match reader.text(leaf) {
        None | Some("new chat") => Route::NewChat,
        Some("existing chat") => Route::ExistingChat,
        Some(other) => {
            reader.add(leaf, &format!("{other:?} is not a route"), "write \"new chat\" or \"existing chat\"");
            Route::NewChat
        }
    }
}

fn reply(reader: &mut Reader<'_>, account: Option<&str>) -> ReplyPolicy {
    let check = reader.flag(reader.of(account, "reply.check"));
    let leaf = reader.of(account, "reply.scope");
    let everywhere = match reader.text(leaf) {
        None | Some("account") => false,
        Some("everywhere") => true,
        Some(other) => {
            reader.add(leaf, &format!("{other:?} is not a scope"), "write \"account\" or \"everywhere\"");
            false
        }
    };
    let owner_wrote = reader.duration(reader.of(account, "reply.owner_wrote"));
    let out_of_office = reader.positive_duration(reader.of(account, "reply.out_of_office"));
    ReplyPolicy {
        check,
        everywhere,
        owner_wrote: owner_wrote.unwrap_or_default(),
        out_of_office: out_of_office.unwrap_or_default(),
        keep_bodies: reader.flag(reader.leaf(KEEP_BODIES)),
    }
}

fn reply_patterns(reader: &mut Reader<'_>, account: Option<&str>) -> ReplyPatterns {
    let mut pattern = |path: &str, example: &str| {
        let leaf = reader.of(account, path);
        limits::regex(reader, leaf, true, example)
    };
    ReplyPatterns {
        opt_out: pattern("reply.opt_out_texts", r"\bno more (of this|mails)\b"),
        out_of_office: pattern("reply.out_of_office_texts", r"^\W*automatic message\b"),
        answer: pattern("reply.answer_texts", r"^stop by\b"),
    }
}

fn inmail(reader: &mut Reader<'_>, account: Option<&str>) -> InMail {
    let reserve = reader.count(reader.of(account, "inmail.reserve"), 0..=100_000);
    let recheck = reader.positive_duration(reader.of(account, "inmail.recheck"));
    InMail { reserve, recheck: recheck.unwrap_or_default() }
}

fn inbox_id(reader: &mut Reader<'_>, account: Option<&str>) -> Option<InboxId> {
    let leaf = reader.of(account, "inbox_id");
    let id = reader.text(leaf)?;
    let problem = match ids::inbox("inbox_id", id) {
        _ if id.is_empty() => None,
        Err(refusal) => Some(refusal.problem),
        Ok(trimmed) => (trimmed != id).then(|| "has white space around it".to_owned()),
    };
    if let Some(problem) = problem {
        let fix = "give the id of an inbox, such as \"CLASSIC_PRIMARY\", or \"\" for none";
        reader.add(leaf, &problem, fix);
    }
    Some(id).filter(|id| !id.is_empty()).map(InboxId::new)
}
