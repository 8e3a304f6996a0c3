//! Converts between columns and domain types.
//!
//! No other module knows how each type is stored.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Number, Value, json};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::domain::account::{Account, AccountHold, Daemon, Down, History, Pause, Restored};
use crate::domain::attachment::{Attachment, SendMode};
use crate::domain::lane::Precedence;
use crate::domain::message::{AccountId, ChatId, Extras, Inbox, InboxId, MessageId, Target, UserId};
use crate::domain::need::Need;
use crate::domain::outcome::DownCause;
use crate::domain::parse_time;
use crate::domain::reason::Reason;
use crate::domain::specifics::Specifics;
use crate::domain::state::StateName;
use crate::domain::step::{Step, StepWait, StepWaiting};
use crate::domain::stop::{FOREVER, StopReason, StoppedBy};
use crate::store::StoreError;

pub(in crate::store) type Result<T> = std::result::Result<T, StoreError>;

pub(in crate::store) fn corrupt(what: &'static str, value: impl Into<String>) -> StoreError {
    StoreError::Corrupt { what, value: value.into() }
}

pub(in crate::store) fn time(row: &SqliteRow, column: &'static str) -> Result<Option<Timestamp>> {
    let text: Option<&str> = row.try_get(column)?;
    text.map(|text| stored_time(text).ok_or_else(|| corrupt(column, text))).transpose()
}

/// Parses a stored time. The CHECKs compare a time with what `strftime` makes of it, and `strftime` leaves a 31st day of
/// any month and an hour 24 as they are; SQLite counts both into the next month or day, and so does this.
pub(in crate::store) fn stored_time(text: &str) -> Option<Timestamp> {
    parse_time(text).or_else(|| {
        let number = |place: std::ops::Range<usize>| text.get(place)?.parse::<i64>().ok();
        let (days, hours) = (number(8..10)? - 1, number(11..13)?);
        let month = parse_time(&format!("{}01T00{}", text.get(..8)?, text.get(13..)?))?;
        let is_counted_on = (0..31).contains(&days) && (0..=24).contains(&hours);
        month.checked_add(SignedDuration::from_hours(days * 24 + hours)).ok().filter(|_| is_counted_on)
    })
}

pub(in crate::store) fn required_time(row: &SqliteRow, column: &'static str) -> Result<Timestamp> {
    time(row, column)?.ok_or_else(|| corrupt(column, "NULL"))
}

pub(in crate::store) fn state(row: &SqliteRow) -> Result<StateName> {
    let word: &str = row.try_get("state")?;
    StateName::parse(word).ok_or_else(|| corrupt("state", word))
}

pub(in crate::store) fn reason(row: &SqliteRow, column: &'static str) -> Result<Option<Reason>> {
    let code: Option<&str> = row.try_get(column)?;
    code.map(|code| Reason::parse(code).ok_or_else(|| corrupt(column, code))).transpose()
}

pub(in crate::store) fn message_id(row: &SqliteRow, column: &'static str) -> Result<MessageId> {
    let text: &str = row.try_get(column)?;
    text.parse().map_err(|_| corrupt(column, text))
}

pub(in crate::store) fn account_id(row: &SqliteRow) -> Result<AccountId> {
    Ok(AccountId::new(row.try_get::<String, _>("account_id")?))
}

pub(in crate::store) fn count(row: &SqliteRow, column: &'static str) -> Result<u32> {
    let number: i64 = row.try_get(column)?;
    u32::try_from(number).map_err(|_| corrupt(column, number.to_string()))
}

/// Parses `users_ids`: a JSON array, or one bare id (which may look like a number).
pub(in crate::store) fn parse_users_ids(text: &str) -> Option<Vec<String>> {
    if text.trim_start().starts_with('[') {
        serde_json::from_str(text).ok()
    } else {
        Some(vec![text.to_owned()])
    }
}

/// The columns of [`target`] and [`extras`].
pub(in crate::store) const TARGET_COLUMNS: &str = "m.chat_id, m.users_ids, m.inbox_id, m.name, m.specifics, m.options, m.quote_id, m.forward, m.attachments";

/// Reads the target of a stored message. If `users_ids` is set too, `chat_id` is the chat that was started.
pub(in crate::store) fn target(row: &SqliteRow) -> Result<Target> {
    let chat_id: Option<String> = row.try_get("chat_id")?;
    let users_ids: Option<&str> = row.try_get("users_ids")?;
    let Some(users_ids) = users_ids else {
        let chat_id = ChatId::new(chat_id.ok_or_else(|| corrupt("chat_id", "NULL"))?);
        return match json(row, "forward")? {
            None => Ok(Target::Chat(chat_id)),
            Some(source) => {
                let part = |name: &str| source.get(name).and_then(Value::as_str);
                let source_chat_id =
                    part("chat_id").ok_or_else(|| unreadable("forward", &source.to_string()))?;
                let source_message_id =
                    part("message_id").ok_or_else(|| unreadable("forward", &source.to_string()))?;
                Ok(Target::Forward {
                    source_chat_id: ChatId::new(source_chat_id),
                    source_message_id: source_message_id.to_owned(),
                    chat_id,
                })
            }
        };
    };
    let inbox_id: Option<String> = row.try_get("inbox_id")?;
    let inbox = match inbox_id {
        None => Inbox::OfPolicy,
        Some(id) if id.is_empty() => Inbox::Without,
        Some(id) => Inbox::Named(InboxId::new(id)),
    };
    let mut ids = parse_users_ids(users_ids).ok_or_else(|| unreadable("users_ids", users_ids))?;
    if ids.len() > 1 {
        return Ok(Target::Group { users_ids: ids.into_iter().map(UserId::new).collect(), inbox });
    }
    let user_id = ids.pop().ok_or_else(|| unreadable("users_ids", users_ids))?;
    Ok(Target::User { user_id: UserId::new(user_id), inbox })
}

/// Reads the content of a stored message besides its text.
pub(in crate::store) fn extras(row: &SqliteRow) -> Result<Extras> {
    let tree = match json(row, "specifics")? {
        Some(tree) => Some(tree),
        None => json(row, "options")?,
    };
    let checked = tree.map(|tree| {
        let text = tree.to_string();
        Specifics::parse("specifics", tree).map_err(|_| unreadable("specifics", &text))
    });
    let attachments = json(row, "attachments")?.map(|files| attachments_from_json(&files)).transpose()?;
    Ok(Extras {
        name: row.try_get("name")?,
        specifics: checked.transpose()?,
        quote_id: row.try_get("quote_id")?,
        attachments: attachments.unwrap_or_default(),
    })
}

/// Reads what lets a message go before others.
pub(in crate::store) fn precedence(row: &SqliteRow) -> Result<Precedence> {
    let flag = |column| row.try_get::<Option<bool>, _>(column).map(Option::unwrap_or_default);
    let priority: Option<i64> = row.try_get("priority")?;
    let number = priority.unwrap_or_default();
    Ok(Precedence {
        priority: i8::try_from(number).map_err(|_| corrupt("priority", number.to_string()))?,
        urgent: flag("urgent")?,
        ignore_hours: flag("ignore_hours")?,
        allow_repeat: flag("allow_repeat")?,
    })
}

/// Reads the wait of a step.
pub(in crate::store) fn step_wait(row: &SqliteRow) -> Result<Option<StepWait>> {
    let text: Option<&str> = row.try_get("wait")?;
    text.map(|text| StepWait::parse(text).map_err(|_| corrupt("wait", text))).transpose()
}

/// Reads what a queued step waits for.
pub(in crate::store) fn step_waiting(row: &SqliteRow) -> Result<Option<StepWaiting>> {
    Ok(match (step_wait(row)?, time(row, "wait_until")?) {
        (None, _) => None,
        (Some(_), Some(until)) => Some(StepWaiting::Until(rest_of_wait(row)?.unwrap_or(until))),
        (Some(wait), None) => Some(StepWaiting::Before(wait)),
    })
}

/// Reads when the wait of a step ends that a stop with an end has interrupted: after that, as long as it lacked.
fn rest_of_wait(row: &SqliteRow) -> Result<Option<Timestamp>> {
    let is_stopped = reason(row, "reason")?.is_some_and(Reason::is_stop);
    if !is_stopped || row.try_get::<Option<&str>, _>("wait_held_at")?.is_none() {
        return Ok(None);
    }
    Ok(time(row, "retry_at")?.filter(|at| *at < FOREVER))
}

/// Reads the place of a message in its campaign.
pub(in crate::store) fn step(row: &SqliteRow) -> Result<Option<Step>> {
    let number: Option<i64> = row.try_get("step")?;
    let Some(number) = number else { return Ok(None) };
    let number = u8::try_from(number).map_err(|_| corrupt("step", number.to_string()))?;
    Ok(Some(Step { number, wait: step_wait(row)? }))
}

/// Reads what a message waits for.
pub(in crate::store) fn needs(row: &SqliteRow) -> Result<Option<Need>> {
    let word: Option<&str> = row.try_get("needs")?;
    word.map(|word| Need::parse(word).ok_or_else(|| corrupt("needs", word))).transpose()
}

/// Reads a producer's text for display; invalid UTF-8 is replaced.
pub(in crate::store) fn shown_text(row: &SqliteRow, column: &'static str) -> Result<Option<String>> {
    let bytes: Option<&[u8]> = row.try_get_unchecked(column)?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned()))
}

/// Reads a producer's JSON for display; invalid JSON is shown as text.
pub(in crate::store) fn shown_json(row: &SqliteRow, column: &'static str) -> Result<Option<Value>> {
    let text = shown_text(row, column)?;
    Ok(text.map(|text| serde_json::from_str(&text).unwrap_or(Value::String(text))))
}

/// Builds the error for an unreadable value. It does not repeat the value, which may be a private message (P8).
fn unreadable(column: &'static str, text: &str) -> StoreError {
    corrupt(column, format!("{} bytes", text.len()))
}

/// Reads a column that holds JSON.
pub(in crate::store) fn json(row: &SqliteRow, column: &'static str) -> Result<Option<Value>> {
    let text: Option<&str> = row.try_get(column)?;
    text.map(|text| serde_json::from_str(text).map_err(|_| unreadable(column, text))).transpose()
}

/// The columns of [`account`], for a query that has `accounts` as `a`.
pub(in crate::store) const ACCOUNT_COLUMNS: &str = "a.id AS account_id, (SELECT json_array(p.at, p.until, p.note) FROM stops p WHERE p.scope = 'account' AND p.key = a.id) AS pause, \
     a.down_cause, a.down_at, a.down_problem, a.hold_reason, a.hold_until, a.last_call_at, a.next_call_at, \
     a.last_gap_ms, a.first_call_at, a.warm_up_again_at, a.throttled_at, a.throttles, a.half_caps_until, a.failures, \
     a.break_left, a.on_break, \
     EXISTS (SELECT 1 FROM messages f INDEXED BY messages_in_flight WHERE f.account_id = a.id AND f.state = 'sending') AS in_flight";

pub(in crate::store) fn account(row: &SqliteRow) -> Result<Account> {
    let down = match row.try_get::<Option<&str>, _>("down_cause")? {
        None => None,
        Some(word) => Some(Down {
            cause: DownCause::parse(word).ok_or_else(|| corrupt("down_cause", word))?,
            since: required_time(row, "down_at")?,
            problem: row.try_get::<Option<String>, _>("down_problem")?.unwrap_or_default(),
        }),
    };
    let hold = match (reason(row, "hold_reason")?, time(row, "hold_until")?) {
        (Some(reason), Some(until)) => Some(AccountHold { reason, until }),
        _ => None,
    };
    Ok(Account {
        id: account_id(row)?,
        pause: pause(row, "pause")?,
        down,
        hold,
        last_call_at: time(row, "last_call_at")?,
        next_call_at: time(row, "next_call_at")?,
        in_flight: row.try_get("in_flight")?,
        history: history(row)?,
    })
}

fn history(row: &SqliteRow) -> Result<History> {
    let optional = |column: &'static str| -> Result<Option<u64>> {
        let number: Option<i64> = row.try_get(column)?;
        number
            .map(|number| u64::try_from(number).map_err(|_| corrupt(column, number.to_string())))
            .transpose()
    };
    Ok(History {
        first_call_at: time(row, "first_call_at")?,
        warm_up_again_at: time(row, "warm_up_again_at")?,
        throttled_at: time(row, "throttled_at")?,
        throttles: count(row, "throttles")?,
        half_caps_until: time(row, "half_caps_until")?,
        failures: count(row, "failures")?,
        break_left: optional("break_left")?.and_then(|left| u32::try_from(left).ok()),
        on_break: row.try_get("on_break")?,
        last_gap: optional("last_gap_ms")?.map(Duration::from_millis),
    })
}

/// The columns of [`daemon`], for a query that has `daemon` as `d`.
pub(in crate::store) const DAEMON_COLUMNS: &str = "(SELECT json_array(p.at, p.until, p.note) FROM stops p WHERE p.scope = 'all') AS daemon_pause, \
     d.key_refused_at, d.key_problem, d.restored_at, d.restored_why";

pub(in crate::store) fn daemon(row: &SqliteRow) -> Result<Daemon> {
    let key_refused = match time(row, "key_refused_at")? {
        None => None,
        Some(since) => Some(Down {
            cause: DownCause::Key,
            since,
            problem: row.try_get::<Option<String>, _>("key_problem")?.unwrap_or_default(),
        }),
    };
    let pause = pause(row, "daemon_pause")?;
    let restored = match time(row, "restored_at")? {
        None => None,
        Some(since) => Some(Restored {
            since,
            why: row.try_get::<Option<String>, _>("restored_why")?.unwrap_or_default(),
        }),
    };
    Ok(Daemon { pause, key_refused, restored })
}

fn pause(row: &SqliteRow, column: &'static str) -> Result<Option<Pause>> {
    let Some(pause) = json(row, column)? else { return Ok(None) };
    let at = |place: usize| {
        let text = pause[place].as_str();
        text.map(|text| stored_time(text).ok_or_else(|| corrupt(column, text))).transpose()
    };
    let since = at(0)?.ok_or_else(|| corrupt(column, "NULL"))?;
    Ok(Some(Pause { since, until: at(1)?, note: pause[2].as_str().map(str::to_owned) }))
}

/// Encodes accepted attachments for `messages.attachments`, without their bytes.
pub(in crate::store) fn attachments_to_json(attachments: &[Attachment]) -> Option<Value> {
    let one = |attachment: &Attachment| {
        let mut row = json!({
            "filename": attachment.filename,
            "content_type": attachment.content_type,
            "size": attachment.size,
            "sha256": attachment.sha256,
        });
        if let Some(mode) = attachment.send_mode {
            row["send_mode"] = json!(mode.as_str());
        }
        if attachment.voice_note {
            row["voice_note"] = json!(true);
        }
        if let Some(duration) = &attachment.duration {
            row["duration"] = json!(duration);
        }
        row
    };
    (!attachments.is_empty()).then(|| attachments.iter().map(one).collect())
}

/// Decodes what [`attachments_to_json`] encoded.
fn attachments_from_json(value: &Value) -> Result<Vec<Attachment>> {
    let one = |row: &Value| {
        let text = |name: &str| row.get(name).and_then(Value::as_str).map(str::to_owned);
        let duration: Option<Number> = row.get("duration").and_then(|number| number.as_number().cloned());
        Some(Attachment {
            filename: text("filename")?,
            content_type: text("content_type")?,
            send_mode: text("send_mode").as_deref().and_then(SendMode::parse),
            voice_note: row.get("voice_note").is_some_and(|yes| yes == true),
            duration,
            size: row.get("size").and_then(Value::as_u64)?,
            sha256: text("sha256")?,
        })
    };
    let rows = value.as_array().ok_or_else(|| corrupt("attachments", "no array"))?;
    rows.iter()
        .map(|row| one(row).ok_or_else(|| corrupt("attachments", "a file that lacks a field")))
        .collect()
}

/// Builds the column that names the stop which holds message `m` longest, at the time of the parameter `now`.
pub(in crate::store) fn longest_stop(now: &str) -> String {
    format!(
        "(SELECT {LONGEST_STOP} FROM stopping x WHERE x.seq = m.seq AND (x.until IS NULL OR x.until > {now}))"
    )
}

/// The stop of several that holds a message longest, as [`stopped_by`] reads it.
pub(in crate::store) const LONGEST_STOP: &str = "max(CASE WHEN x.reason = 'suppressed' THEN 'z' ELSE coalesce(x.until, 'y') END \
     || ' ' || x.id || ' ' || x.reason || ' ' || coalesce(x.until, ''))";

/// Reads the column `stop` built by [`longest_stop`].
pub(in crate::store) fn stopped_by(row: &SqliteRow) -> Result<Option<StoppedBy>> {
    let Some(text) = row.try_get::<Option<&str>, _>("stop")? else { return Ok(None) };
    let mut parts = text.splitn(4, ' ').skip(1);
    let mut part = || parts.next().unwrap_or_default();
    let (Ok(id), Some(reason), until) = (part().parse(), StopReason::parse(part()), part()) else {
        return Err(corrupt("stop", text));
    };
    let until = match until {
        "" => None,
        until => Some(stored_time(until).ok_or_else(|| corrupt("until", until))?),
    };
    Ok(Some(StoppedBy { id, reason, until }))
}
