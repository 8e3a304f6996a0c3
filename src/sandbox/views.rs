//! The answers to reads, in the formats of the API's description.
//!
//! Called by `state` with the data. Fields that the description calls optional are left out where the sandbox has
//! nothing to say, so that a client which relies on them is caught.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::account::{Account, Credits};
use super::attachment::{Attachment, SendMode};
use super::chat::{Chat, Message};
use super::endpoint::Target;
use super::reads::{self, AccountsQuery, ChatsQuery, MessagesQuery, Read};

pub(super) fn account(id: &str, account: &Account) -> Value {
    json!({
        "object": "Account",
        "id": id,
        "application_id": "app_sandbox",
        "user_id": account.user_id,
        "name": account.name,
        "created_at": time(account.created_at),
        "provider": account.provider,
        "status": account.status,
        "is_locked": account.is_locked,
        "metadata": { "products_connection_status": account.products },
        "initial_sync": { "status": "completed" },
    })
}

/// Returns the answer to a read of one account that may be cached.
pub(super) fn of_account(account: &mut Account, target: &Target, read: &Read, now: Timestamp) -> String {
    if let Some(chat_id) = &target.chat_id {
        account.use_chat(chat_id, now);
    }
    let (account, chat) = (&*account, || &account.chats[target.chat()]);
    let view = match read {
        Read::Inboxes => inboxes(account),
        Read::InmailCredits { service } => credits(account, service.as_deref()),
        Read::UserChat => user_chat(account, target.user()),
        Read::Chats(query) => chats(account, target.inbox_id.as_deref(), query),
        Read::Chat => self::chat(account, target.chat(), chat()),
        Read::Messages(query) => messages(account, target.chat(), chat(), query),
        Read::Message => {
            let id = target.message_id.as_deref().unwrap_or_default();
            let message = chat().message(id).expect("it was there when the request was admitted");
            self::message(account, target.chat(), chat(), message)
        }
        Read::Accounts(_) | Read::Account | Read::User => unreachable!("those are answered elsewhere"),
    };
    view.to_string()
}

/// Returns the page of `all` that `query` selects, sorted by name.
pub(super) fn accounts<'a>(
    all: impl Iterator<Item = (&'a String, &'a Account)>,
    query: &AccountsQuery,
) -> Value {
    let equal = |wanted: &Option<String>, value: &str| wanted.as_deref().is_none_or(|wanted| wanted == value);
    let found = all.filter(|(id, account)| {
        let search = |part: &String| account.name.to_lowercase().contains(part) || id.contains(part);
        equal(&query.status, &account.status)
            && equal(&query.provider, &account.provider)
            && equal(&query.account_scope_id, "none")
            && query.search.as_ref().is_none_or(search)
    });
    let mut found: Vec<_> = found.collect();
    found.sort_by_key(|(id, account)| (&account.name, *id));
    let end = query.offset.saturating_add(query.limit);
    let page = found.iter().skip(query.offset).take(query.limit);
    let data: Vec<Value> = page.map(|(id, one)| self::account(id, one)).collect();
    json!({ "object": "Accounts", "data": data, "has_more": found.len() > end })
}

pub(super) fn inboxes(account: &Account) -> Value {
    let inboxes = account.inboxes.iter();
    let data: Vec<Value> = inboxes
        .map(|inbox| json!({ "object": "Inbox", "id": inbox.id, "disabled": inbox.disabled }))
        .collect();
    json!({ "total_count": data.len(), "data": data })
}

/// Returns the credits of `service`, or of all products.
pub(super) fn credits(account: &Account, service: Option<&str>) -> Value {
    let all = account.credits;
    let credits = match service {
        None => all,
        Some("classic") => Credits { classic: all.classic, ..Credits::default() },
        Some("sales_navigator") => Credits { sales_navigator: all.sales_navigator, ..Credits::default() },
        Some(_) => Credits { recruiter: all.recruiter, ..Credits::default() },
    };
    json!({ "object": "InmailCredits", "credits": credits })
}

/// Returns the chats with `user`, latest first.
pub(super) fn user_chat(account: &Account, user: &str) -> Value {
    let chats = account.chats_with(user).iter().rev().filter_map(|id| Some((id, account.chats.get(id)?)));
    let data: Vec<Value> = chats
        .map(|(id, chat)| {
            json!({ "chat_id": id, "inbox_id": chat.inbox_id, "has_history": !chat.messages.is_empty() })
        })
        .collect();
    json!({ "object": "ChatLookup", "data": data })
}

pub(super) fn chat(account: &Account, id: &str, chat: &Chat) -> Value {
    let user = chat.users.first().filter(|_| !chat.is_group);
    let mut view = json!({
        "object": "Chat",
        "id": id,
        "name": chat.name.as_ref().or(user).map_or(id, String::as_str),
        "type": chat.kind(),
        "is_group": chat.is_group,
        "is_1to1": !chat.is_group,
        "is_channel": false,
        "is_pinned": false,
        "is_readonly": chat.readonly,
        "is_archived": chat.is_archived(),
        "muted_until": null,
        "restrictions": if chat.readonly { vec!["send_message"] } else { Vec::new() },
        "created_at": time(chat.created_at),
        "unread_count": chat.unread(),
        "folders": [chat.inbox_id],
        "provider": account.provider,
    });
    if chat.is_group {
        let others = chat.users.iter().map(|user| participant(user, user, false));
        let all: Vec<Value> =
            [participant(&account.user_id, &account.name, true)].into_iter().chain(others).collect();
        view["participants_count"] = json!(all.len());
        view["participants"] = all.into();
    }
    if let Some(user) = user {
        view["user_id"] = json!(user);
    }
    if let Some(last) = chat.messages.last() {
        view["last_message_timestamp"] = json!(time(last.timestamp));
        view["updated_at"] = json!(time(last.timestamp));
        let (id, text) = (&last.id, &last.text);
        view["last_message"] =
            json!({ "object": "MessagePreview", "id": id, "text": text, "is_sender": last.is_sender });
    }
    view
}

fn participant(id: &str, name: &str, is_self: bool) -> Value {
    let user = json!({ "object": "User", "id": id, "type": "individual", "display_name": name });
    json!({ "object": "GroupParticipant", "is_self": is_self, "is_admin": is_self, "user": user })
}

/// Returns a page of the chats of `account`, of one inbox if it is named, newest message first.
pub(super) fn chats(account: &Account, inbox_id: Option<&str>, query: &ChatsQuery) -> Value {
    let (found, cursor) = account.page_of_chats(inbox_id, query);
    let data: Vec<Value> = found.into_iter().map(|(id, chat)| self::chat(account, id, chat)).collect();
    let mut view = json!({ "data": data });
    if let Some(cursor) = cursor {
        view["next_cursor"] = json!(cursor);
    }
    view
}

/// Returns a page of the messages of `chat`, newest first.
pub(super) fn messages(account: &Account, chat_id: &str, chat: &Chat, query: &MessagesQuery) -> Value {
    let (found, below) = chat.page(query, &account.user_id);
    let data: Vec<Value> =
        found.into_iter().map(|message| self::message(account, chat_id, chat, message)).collect();
    let mut view = json!({ "data": data });
    if let Some(place) = below {
        view["next_cursor"] = json!(reads::cursor(place));
    }
    view
}

pub(super) fn message(account: &Account, chat_id: &str, chat: &Chat, message: &Message) -> Value {
    let mut view = json!({
        "object": "Message",
        "id": message.id,
        "text": message.text,
        "sender_id": chat.sender(message, &account.user_id),
        "chat_id": chat_id,
        "timestamp": time(message.timestamp),
        "is_sender": message.is_sender,
        "is_seen": !message.seen_by.is_empty(),
        "is_delivered": !message.is_pending,
        "is_hidden": false,
        "is_deleted": message.is_deleted,
        "is_edited": message.is_edited,
        "is_pinned": false,
        "is_event": false,
        "is_mentionned": false,
        "reactions_counter": [],
        "provider": account.provider,
        "attachments": attachments(message),
    });
    if let Some(id) = &message.quote_id {
        view["quoted"] = other_message("QuotedMessage", id, chat.message(id));
    }
    if let Some(source) = &message.source {
        let there = account.chats.get(&source.chat_id).and_then(|chat| chat.message(&source.message_id));
        view["forwarded"] = other_message("ForwardedMessage", &source.message_id, there);
    }
    if let Some(subject) = &message.subject {
        view["specifics"] = json!({ "subject": subject });
    }
    view
}

/// Returns a message within another; its text is left out if the message is unknown.
fn other_message(object: &str, id: &str, message: Option<&Message>) -> Value {
    let mut view =
        json!({ "object": object, "id": id, "attachments": message.map_or_else(Vec::new, attachments) });
    if let Some(message) = message {
        view["text"] = json!(message.text);
    }
    view
}

fn attachments(message: &Message) -> Vec<Value> {
    let numbered = message.attachments.iter().enumerate();
    numbered.map(|(index, file)| attachment(&format!("{}-{index}", message.id), file)).collect()
}

fn attachment(id: &str, file: &Attachment) -> Value {
    let kind = match file.content_type.split('/').next() {
        _ if file.send_mode == Some(SendMode::File) => "file",
        Some("image") => "img",
        Some("audio") => "audio",
        Some("video") => "video",
        _ => "file",
    };
    let mut view = Map::new();
    view.insert("object".into(), json!("Attachment"));
    view.insert("id".into(), json!(id));
    view.insert("type".into(), json!(kind));
    view.insert("mimetype".into(), json!(file.content_type));
    view.insert("file_size".into(), json!(file.bytes));
    view.insert("is_inline".into(), json!(false));
    view.insert("url".into(), json!(format!("att://{id}")));
    match kind {
        "file" => _ = view.insert("filename".into(), json!(file.filename)),
        "audio" => _ = view.insert("voice_note".into(), json!(file.voice_note.unwrap_or(false))),
        "img" => _ = view.insert("sticker".into(), json!(false)),
        _ => {
            view.insert("gif".into(), json!(false));
            // A constant: the sandbox does not decode videos.
            view.insert("size".into(), json!({ "height": 720, "width": 1280 }));
        }
    }
    if let Some(duration) = file.duration.as_ref().filter(|_| matches!(kind, "audio" | "video")) {
        view.insert("duration".into(), json!(duration));
    }
    Value::Object(view)
}

/// Formats a time as the API does: UTC with milliseconds.
fn time(time: jiff::Timestamp) -> String {
    format!("{time:.3}")
}
