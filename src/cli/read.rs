//! Commands that show messages: `list` and `show`.
//!
//! They only read. On a terminal, a list is a table with short times in the account's or this machine's zone; for a
//! program, it is one row of tab-separated cells per message, with the API's times and without a header.

use clap::Args;
use jiff::tz::TimeZone;
use serde_json::Value;

use super::Json;
use super::client::{Client, parse_id, segment};
use super::exit::{Exit, Failure};
use super::label::parse_label;
use super::render;
use super::times::{self, Times, Typed};
use crate::types::message::{Attempt, Evidence, ListedMessage, Message, MessageDetail, UsersIds};
use crate::types::{Page, Time};

/// Maximum number of messages per page of the API.
const PAGE: u64 = 500;

/// `outboxd list`.
#[derive(Debug, Args)]
pub(super) struct List {
    /// Only messages of this account
    #[arg(long, value_name = "ID")]
    account: Option<String>,
    /// Only messages in these states, separated by commas: new, queued, sending, uncertain, review, sent, failed,
    /// cancelled, expired, rejected
    #[arg(long, value_name = "STATES")]
    state: Option<String>,
    /// Only messages with this label
    #[arg(long, value_name = "LABEL", value_parser = parse_label)]
    campaign: Option<String>,
    /// Only messages to this chat
    #[arg(long, value_name = "ID")]
    chat: Option<String>,
    /// Only messages for this person: user id, public name or address of the profile
    #[arg(long, value_name = "USER")]
    person: Option<String>,
    /// Only messages that waited or stopped for this reason at their last change: refused, replied, …
    #[arg(long, value_name = "REASON")]
    reason: Option<String>,
    /// Only messages that arrived at this time or later: RFC 3339, "2026-11-22 09:00", 09:00 or "yesterday 09:00" in the
    /// account's or this machine's zone, or a length of time until now: 2h
    #[arg(long, value_name = "TIME", value_parser = times::parse_past)]
    since: Option<Typed>,
    /// Only messages that arrived before this time
    #[arg(long, value_name = "TIME", value_parser = times::parse_past)]
    until: Option<Typed>,
    /// Maximum number of messages
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
    /// Show all messages; with --json one page per line
    #[arg(long, conflicts_with = "limit")]
    all: bool,
    #[command(flatten)]
    json: Json,
}

impl List {
    /// Returns the options that list every message in review.
    pub(super) fn in_review(json: Json) -> Self {
        let state = Some("review".to_owned());
        Self {
            account: None,
            state,
            campaign: None,
            chat: None,
            person: None,
            reason: None,
            since: None,
            until: None,
            limit: u64::MAX,
            all: true,
            json,
        }
    }
}

/// `outboxd show` and `outboxd explain`.
#[derive(Debug, Args)]
pub(super) struct One {
    /// Id of the message, or its last 8 characters
    #[arg(value_name = "ID", value_parser = parse_id)]
    pub(super) id: String,
    #[command(flatten)]
    pub(super) json: Json,
}

/// Lists messages, page by page.
pub(super) async fn list(client: &Client, list: List) -> Result<Exit, Failure> {
    let terminal = render::is_terminal();
    let times = match terminal && !list.json.json {
        true => Times::of(times::zone_of(client, list.account.as_deref()).await?),
        false => Times::Exact,
    };
    let account = list.account.as_deref();
    let mut range = [None, None];
    for (at, typed) in range.iter_mut().zip([&list.since, &list.until]) {
        if let Some(typed) = typed {
            *at = Some(times::wire(typed.resolve_past(client, account).await?));
        }
    }
    let mut left = if list.all { u64::MAX } else { list.limit };
    let mut cursor: Option<String> = None;
    let (mut rows, mut brief) = (Vec::new(), Vec::new());
    let mut seen = 0_usize;
    loop {
        let limit = left.min(PAGE).to_string();
        let answer = client.get("/v1/messages", &query(&list, &range, &limit, cursor.as_deref())).await?;
        if list.json.json {
            answer.pass_on()?;
        }
        let page: Page<ListedMessage> = answer.read()?;
        seen += page.data.len();
        rows.extend(page.data.iter().map(|listed| row(&listed.message, &times)));
        brief
            .extend(page.data.iter().filter(|_| terminal).map(|listed| row(&listed.message, &times.brief())));
        if !terminal && !list.json.json {
            render::print(&render::tabbed(&std::mem::take(&mut rows)))?;
        }
        left = left.saturating_sub(page.data.len() as u64);
        cursor = page.next_cursor;
        if cursor.is_none() || left == 0 || page.data.is_empty() {
            break;
        }
    }
    if seen == 0 {
        client.knows(list.campaign.as_deref(), list.account.as_deref()).await?;
    }
    if terminal && !list.json.json && seen > 0 {
        let when = format!("when ({})", times.zone());
        let header = ["id", "account", "state", "to", "why", when.as_str()].map(str::to_owned);
        render::print(&render::table_or_brief(&header, &rows, &brief))?;
    }
    if seen == 0 && !list.json.json {
        render::note(match list.state.as_deref() {
            Some("review") => "nothing waits for a person",
            _ => "no messages; `outboxd status` shows what there is, `outboxd enqueue` adds some",
        });
    } else if cursor.is_some() {
        render::note(&format!("these are the newest {seen}; `--all` shows every one"));
    }
    Ok(Exit::Done)
}

/// Returns the filters and the size of the next page as query parameters.
fn query<'a>(
    list: &'a List,
    [since, until]: &'a [Option<String>; 2],
    limit: &'a str,
    cursor: Option<&'a str>,
) -> Vec<(&'static str, &'a str)> {
    let parameters = [
        ("account_id", list.account.as_deref()),
        ("state", list.state.as_deref()),
        ("campaign", list.campaign.as_deref()),
        ("chat_id", list.chat.as_deref()),
        ("person", list.person.as_deref()),
        ("reason", list.reason.as_deref()),
        ("since", since.as_deref()),
        ("until", until.as_deref()),
        ("limit", Some(limit)),
        ("cursor", cursor),
    ];
    render::known(parameters)
}

pub(super) fn row(message: &Message, times: &Times) -> Vec<String> {
    let Message { id, account_id, state, waits, sent_at, updated_at, .. } = message;
    let when = match state.as_str() {
        "sent" => times.show(*sent_at),
        "failed" | "cancelled" | "expired" | "rejected" => times.show(*updated_at),
        _ => times.wait(waits.until, waits.waits_for.as_deref()),
    };
    let known = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
    vec![id.clone(), known(account_id), state.clone(), message.to(), known(&waits.reason), when]
}

impl Message {
    /// Returns the recipient: the user with whom a chat is started, otherwise the chat.
    fn to(&self) -> String {
        let users = match &self.users_ids {
            Some(UsersIds::One(user)) => user.clone(),
            Some(UsersIds::Several(users)) => users.join(", "),
            None => String::new(),
        };
        match (users.as_str(), &self.chat_id) {
            ("", chat) => chat.clone().unwrap_or_else(|| "-".to_owned()),
            (users, _) => format!("user {users}"),
        }
    }
}

/// Shows one message with its text and its attempts.
pub(super) async fn show(client: &Client, one: One) -> Result<Exit, Failure> {
    let id = client.whole_id(&one.id).await?;
    let answer = client.get(&format!("/v1/messages/{}", segment(&id)), &[]).await?;
    answer.show(one.json, |detail| shown(&detail))
}

/// Formats a message with its text and its attempts for a person.
pub(super) fn shown(detail: &MessageDetail) -> String {
    let zone = times::zone(detail.zone.as_deref());
    let mut shown = facts(&detail.message, &zone);
    shown += "\ntext:\n";
    shown += &match detail.message.pruned_at {
        Some(at) => format!("removed at {}\n", times::full_in(Some(at), &zone)),
        None => render::text(detail.text.as_deref().filter(|text| !text.is_empty()).unwrap_or("-")),
    };
    let files = files(&detail.message);
    if !files.is_empty() {
        shown += &format!("\nfiles:\n{files}");
    }
    shown += if detail.attempts.is_empty() { "\nattempts: none\n" } else { "\nattempts:\n" };
    for attempt in &detail.attempts {
        shown += &render::text(&attempt.line(&zone));
    }
    shown
}

/// Formats the files of a message, one per line: `cv.pdf, application/pdf, 12345 bytes`.
fn files(message: &Message) -> String {
    let files = message.attachments.as_ref().and_then(Value::as_array);
    let file = |file: &Value| {
        let text = |name: &str| file[name].as_str().map(str::to_owned);
        let size = file["size"].as_u64().map(|size| format!("{size} bytes"));
        let voice = file["voice_note"].as_bool().filter(|is_voice| *is_voice);
        let voice = voice.map(|_| match file["duration"].as_f64() {
            Some(seconds) => format!("voice note of {seconds} s"),
            None => "voice note".to_owned(),
        });
        let parts = [text("filename"), text("content_type"), size, voice].into_iter().flatten();
        render::text(&parts.collect::<Vec<_>>().join(", "))
    };
    files.into_iter().flatten().map(file).collect()
}

/// Returns how a message starts its chat, if not as an ordinary one, and its subject.
fn product(message: &Message) -> [Option<String>; 2] {
    let linkedin = message.specifics.as_ref().map(|specifics| &specifics["linkedin"]);
    let Some(linkedin) = linkedin else { return [None, None] };
    let (name, product) = match linkedin {
        of if of["sales_navigator"].is_object() => ("Sales Navigator", &of["sales_navigator"]),
        of if of["recruiter"].is_object() => ("Recruiter", &of["recruiter"]),
        of if of["classic"]["inmail"] == true => ("InMail", &of["classic"]),
        _ => return [None, None],
    };
    [Some(name.to_owned()), product["subject"].as_str().map(str::to_owned)]
}

/// Formats the fields of a message, one per line; omits those that are not set.
fn facts(message: &Message, zone: &TimeZone) -> String {
    let time = |at: Option<Time>| at.map(|at| times::full_in(Some(at), zone));
    let settled = message.settled_by.as_deref().and_then(|by| {
        let at = time(message.settled_at)?;
        match by {
            "evidence" => Some(format!("by reading the chat back, at {at}")),
            "person" => Some(format!("by a person, at {at}")),
            _ => None,
        }
    });
    let chat = message.chat_id.clone().filter(|_| message.users_ids.is_some());
    let ids = &message.provider_message_ids;
    let [product, subject] = product(message);
    let facts = [
        ("id", Some(message.id.clone())),
        ("account", message.account_id.clone()),
        ("to", Some(message.to())),
        ("chat", chat),
        ("inbox", message.inbox_id.clone()),
        ("sent as", product),
        ("subject", subject),
        ("state", Some(message.state.clone())),
        ("why", message.waits.because()),
        ("who acts", message.waits.actor.clone().filter(|actor| actor != "none")),
        ("until", message.waits.goes_on(zone)),
        ("route", message.route.clone()),
        ("error", message.error.clone()),
        ("sent", time(message.sent_at)),
        ("delivered", time(message.delivered_at)),
        ("read", time(message.read_at)),
        ("replied", time(message.replied_at)),
        ("settled", settled),
        ("provider ids", (!ids.is_empty()).then(|| ids.join(", "))),
        ("typing", message.typing.map(|typing| if typing { "yes" } else { "no" }.to_owned())),
        ("not before", time(message.not_before)),
        ("expires", time(message.expires_at)),
        ("campaign", message.campaign.clone()),
        ("dedupe key", message.dedupe_key.clone()),
        ("created", time(message.created_at)),
        ("updated", time(message.updated_at)),
    ];
    render::pairs(&render::known(facts))
}

impl Attempt {
    /// Formats the attempt as one line, with all details that a support request needs.
    fn line(&self, zone: &TimeZone) -> String {
        let began = times::full_in(Some(self.started_at), zone);
        let outcome = self.outcome.as_deref().unwrap_or("no outcome yet");
        let mut line = format!("{}. {began}  {outcome}", self.number);
        let phase = Some(format!("phase {}", self.phase));
        let status = self.status.map(|status| format!("HTTP {status}"));
        let req_id = self.req_id.as_ref().map(|id| format!("req_id {id}"));
        let parts = [phase, status, self.kind.clone(), self.title.clone(), self.detail.clone(), req_id];
        for part in parts.into_iter().flatten() {
            line = format!("{line}; {part}");
        }
        if let Some(Evidence { at, source, finding, detail, .. }) = &self.evidence {
            let who = if source == "person" { "a person said" } else { "read back" };
            let (at, detail) = (times::full_in(Some(*at), zone), detail.as_deref().unwrap_or_default());
            let colon = if detail.is_empty() { "" } else { ": " };
            line = format!("{line}; then {who} at {at}: {}{colon}{detail}", finding.replace('_', " "));
        }
        render::line(&line)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(fields: Value) -> String {
        let mut message = json!({"id": "1", "state": "queued", "text": "", "attempts": []});
        message.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        shown(&serde_json::from_value(message).unwrap())
    }

    #[test]
    fn a_message_that_has_only_files_shows_them() {
        let shown = said(json!({"attachments": [
            {"filename": "cv.pdf", "content_type": "application/pdf", "size": 12345, "sha256": "00"},
            {"filename": "hi\u{7}.m4a", "content_type": "audio/mp4", "size": 7, "voice_note": true, "duration": 2.5}]}));
        let files = "text:\n  -\n\nfiles:\n  cv.pdf, application/pdf, 12345 bytes\n  hi .m4a, audio/mp4, 7 bytes, voice note of 2.5 s\n\nattempts";
        assert!(shown.contains(files), "{shown}");
        assert!(!said(json!({})).contains("files:"));
    }

    #[test]
    fn a_message_with_a_subject_shows_it() {
        for (specifics, lines) in [
            (
                json!({"sales_navigator": {"subject": "Our talk"}}),
                "sent as  Sales Navigator\nsubject  Our talk\n",
            ),
            (json!({"recruiter": {"subject": "A post"}}), "sent as  Recruiter\nsubject  A post\n"),
            (json!({"classic": {"inmail": true}}), "sent as  InMail\n"),
        ] {
            let shown = said(json!({"specifics": {"linkedin": specifics}}));
            assert!(shown.contains(lines), "{shown}");
        }
    }
}
