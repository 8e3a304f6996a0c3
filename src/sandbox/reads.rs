//! The reads of the API and their queries.
//!
//! Parsed from a request by `methods`, answered by `views`. The API says only that `limit` is a ceiling and that a
//! page may be shorter; the pages here are small, so that a client which reads only one page is caught.

use jiff::Timestamp;

use super::endpoint::Endpoint;
use super::query::Query;
use super::strict::Invalid;

/// A read with its parsed query.
#[derive(Debug)]
pub(super) enum Read {
    Inboxes,
    /// Credits of one product if it is named, otherwise of all.
    InmailCredits {
        service: Option<String>,
    },
    Accounts(AccountsQuery),
    Account,
    User,
    UserChat,
    Chats(ChatsQuery),
    Chat,
    Messages(MessagesQuery),
    Message,
}

/// Query of the list of accounts.
#[derive(Debug)]
pub(super) struct AccountsQuery {
    pub(super) status: Option<String>,
    pub(super) provider: Option<String>,
    /// Part of a name or an id.
    pub(super) search: Option<String>,
    /// Accounts of the sandbox have no scope, so that only `none` matches any.
    pub(super) account_scope_id: Option<String>,
    pub(super) offset: usize,
    pub(super) limit: usize,
}

/// Query of the messages of a chat.
#[derive(Debug)]
pub(super) struct MessagesQuery {
    pub(super) before: Option<Timestamp>,
    pub(super) after: Option<Timestamp>,
    /// Only messages of this sender.
    pub(super) user_id: Option<String>,
    /// Only messages older than the one at this position of the chat.
    pub(super) below: Option<usize>,
    pub(super) limit: usize,
    /// Whether an offset was given, which LinkedIn does not support.
    pub(super) has_offset: bool,
}

/// Query of the chats of an account.
#[derive(Debug)]
pub(super) struct ChatsQuery {
    /// `1to1`, `group` or `channel`.
    pub(super) kind: Option<String>,
    pub(super) before: Option<Timestamp>,
    pub(super) after: Option<Timestamp>,
    pub(super) is_archived: Option<bool>,
    pub(super) is_unread: Option<bool>,
    /// Only chats that come after this one: the time of its last message, and its id.
    pub(super) below: Option<(Timestamp, String)>,
    pub(super) limit: usize,
    /// Whether an offset was given, which LinkedIn does not support.
    pub(super) has_offset: bool,
}

/// Prefix of every cursor of the sandbox.
const CURSOR: &str = "cur_";

/// Returns the cursor of the page below the message at `place` of its chat.
pub(super) fn cursor(place: usize) -> String {
    format!("{CURSOR}{place}")
}

/// Returns the cursor of the page below the chat `id`, whose last message was written at `at`.
pub(super) fn chats_cursor(at: Timestamp, id: &str) -> String {
    format!("{CURSOR}{}:{id}", at.as_nanosecond())
}

impl Read {
    /// Parses `query`, as sent to `endpoint`, which is a read.
    pub(super) fn of(endpoint: Endpoint, query: &str) -> Result<Self, Invalid> {
        if endpoint == Endpoint::GetInmailCredits {
            return credits(&Query::of(query, &["service"])?);
        }
        if endpoint == Endpoint::ListAccounts {
            let known = ["status", "provider", "search", "account_scope_id", "offset", "limit"];
            return accounts(&Query::of(query, &known)?);
        }
        if endpoint == Endpoint::ListMessages {
            let known = ["before", "after", "user_id", "offset", "limit", "cursor"];
            return messages(&Query::of(query, &known)?);
        }
        if endpoint == Endpoint::ListChats {
            let known = ["offset", "limit", "cursor", "type", "before", "after", "is_archived", "is_unread"];
            return chats(&Query::of(query, &known)?);
        }
        if endpoint == Endpoint::GetUser {
            Query::of(query, &["with_sections", "variant"])?;
            return Ok(Self::User);
        }
        Query::of(query, &[])?;
        Ok(match endpoint {
            Endpoint::ListInboxes => Self::Inboxes,
            Endpoint::GetAccount => Self::Account,
            Endpoint::GetUserChat => Self::UserChat,
            Endpoint::GetChat => Self::Chat,
            _ => Self::Message,
        })
    }
}

fn credits(query: &Query) -> Result<Read, Invalid> {
    match query.get("service") {
        None | Some("") => Ok(Read::InmailCredits { service: None }),
        Some("classic" | "sales_navigator" | "recruiter") => {
            Ok(Read::InmailCredits { service: query.text("service") })
        }
        Some(other) => {
            Err(Invalid(format!("service must be one of classic, sales_navigator, recruiter, not {other:?}")))
        }
    }
}

fn accounts(query: &Query) -> Result<Read, Invalid> {
    Ok(Read::Accounts(AccountsQuery {
        status: query.text("status"),
        provider: query.text("provider"),
        search: query.text("search").map(|text| text.to_lowercase()),
        account_scope_id: query.text("account_scope_id"),
        offset: query.number("offset", 0)?.unwrap_or(0),
        limit: query.number("limit", 1)?.unwrap_or(50).min(100),
    }))
}

fn messages(query: &Query) -> Result<Read, Invalid> {
    let below = match query.get("cursor") {
        None => None,
        Some(text) => {
            let place = text.strip_prefix(CURSOR).and_then(|place| place.parse().ok());
            Some(place.ok_or_else(|| no_cursor(text))?)
        }
    };
    Ok(Read::Messages(MessagesQuery {
        before: query.time("before")?,
        after: query.time("after")?,
        user_id: query.text("user_id"),
        below,
        limit: query.number("limit", 1)?.unwrap_or(20).min(100),
        has_offset: query.number("offset", 0)?.is_some(),
    }))
}

fn chats(query: &Query) -> Result<Read, Invalid> {
    let kind = query.text("type");
    if let Some(other) = kind.as_deref().filter(|kind| !["1to1", "group", "channel"].contains(kind)) {
        return Err(Invalid(format!("type must be one of 1to1, group, channel, not {other:?}")));
    }
    let below = match query.get("cursor") {
        None => None,
        Some(text) => {
            let place = text.strip_prefix(CURSOR).and_then(|place| place.split_once(':'));
            let place = place.and_then(|(at, id)| {
                Some((Timestamp::from_nanosecond(at.parse().ok()?).ok()?, id.to_owned()))
            });
            Some(place.ok_or_else(|| no_cursor(text))?)
        }
    };
    Ok(Read::Chats(ChatsQuery {
        kind,
        before: query.time("before")?,
        after: query.time("after")?,
        is_archived: query.flag("is_archived")?,
        is_unread: query.flag("is_unread")?,
        below,
        limit: query.number("limit", 1)?.unwrap_or(20).min(100),
        has_offset: query.number("offset", 0)?.is_some(),
    }))
}

fn no_cursor(text: &str) -> Invalid {
    Invalid(format!("cursor must be a next_cursor of an answer, not {text:?}"))
}
