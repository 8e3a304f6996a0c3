//! `outboxd budget` and `outboxd policy`: show what is left of an account's caps, and change its rules.
//!
//! The daemon validates changed rules.

use clap::Args;
use serde_json::Value;

use super::Json;
use super::client::{Client, segment};
use super::exit::{Exit, Failure};
use super::{render, times};
use crate::types::Time;
use crate::types::account::Cap;
use crate::types::policy::{self as types, AccountPolicy, PolicyChange};

/// `outboxd budget`.
#[derive(Debug, Args)]
pub(super) struct Budget {
    /// Id of the account
    #[arg(value_name = "ACCOUNT")]
    account: String,
    #[command(flatten)]
    json: Json,
}

/// `outboxd policy`.
#[derive(Debug, Args)]
pub(super) struct Policy {
    /// Id of the account
    #[arg(value_name = "ACCOUNT")]
    account: String,
    /// Rules to change, with the keys below policy.default: gap.min=30s; an empty value reverts a change
    #[arg(value_name = "KEY=VALUE", value_parser = parse_change)]
    changes: Vec<(String, Value)>,
    #[command(flatten)]
    json: Json,
}

/// Parses `KEY=VALUE`; the value is a number or a boolean if it looks like one, else text.
fn parse_change(text: &str) -> Result<(String, Value), String> {
    let (key, value) = text.split_once('=').ok_or("write a key, = and a value, such as gap.min=30s")?;
    let value = match value {
        "" => Value::Null,
        "\"\"" => Value::String(String::new()),
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        word => word.parse::<i64>().map_or_else(|_| Value::String(word.to_owned()), Value::from),
    };
    Ok((key.to_owned(), value))
}

/// Shows what is left of the caps.
pub(super) async fn budget(client: &Client, budget: Budget) -> Result<Exit, Failure> {
    let answer = client.get(&format!("/v1/accounts/{}/budget", segment(&budget.account)), &[]).await?;
    if budget.json.json {
        return answer.pass_on();
    }
    let types::Budget { zone, caps, hours, warm_up, .. } = answer.read()?;
    let zone = times::zone(Some(&zone));
    let full = |at: Option<Time>| times::full_in(at, &zone);
    let header = ["CAP", "WINDOW", "LIMIT", "USED", "LEFT", "FREES AT"].map(str::to_owned);
    let row = |cap: &Cap| {
        let limit = match &cap.lowered_by {
            Some(by) => format!("{} of {} ({by})", cap.limit, cap.configured),
            None => cap.limit.to_string(),
        };
        let frees_at = if cap.left > 0 { "-".to_owned() } else { full(cap.frees_at) };
        vec![cap.cap.clone(), cap.window.clone(), limit, cap.used.to_string(), cap.left.to_string(), frees_at]
    };
    let rows: Vec<Vec<String>> = caps.iter().map(row).collect();
    let mut shown = match render::is_terminal() {
        true => render::table(&header, &rows),
        false => render::tabbed(&rows),
    };
    shown += &match (hours.open, hours.until, hours.opens_at) {
        (true, None, _) => "always open\n".to_owned(),
        (true, until, _) => format!("open until {}\n", full(until)),
        (false, _, None) => "closed, and it does not open again\n".to_owned(),
        (false, _, opens_at) => format!("closed until {}\n", full(opens_at)),
    };
    if let Some(types::WarmUp { day, percent }) = warm_up {
        let today = percent.get(day.saturating_sub(1)).copied().unwrap_or(100);
        shown += &format!("warm-up: day {day} of {}, {today} % of each cap\n", percent.len());
    }
    render::print(&shown)?;
    Ok(Exit::Done)
}

/// Shows the changed rules, or changes some.
pub(super) async fn policy(client: &Client, policy: Policy) -> Result<Exit, Failure> {
    let path = format!("/v1/accounts/{}/policy", segment(&policy.account));
    let answer = match policy.changes.is_empty() {
        true => client.get(&path, &[]).await?,
        false => client.patch(&path, &PolicyChange(policy.changes.into_iter().collect())).await?,
    };
    if policy.json.json {
        return answer.pass_on();
    }
    let AccountPolicy { policy: rules, .. } = answer.read()?;
    if rules.is_empty() {
        render::note("its rules are those of the configuration: outboxd check");
        return Ok(Exit::Done);
    }
    let lines: String = rules.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
    render::print(&lines)?;
    Ok(Exit::Done)
}
