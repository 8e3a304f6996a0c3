//! People who write by hand while a call is on its way: nearly the same, so that only a close look tells it from what
//! the call sends; and what is written into a chat after a step arrived there. Nothing that they write is a delivery.

use std::time::Duration;

use jiff::Timestamp;
use outboxd::provider::{Call, CallTarget, Recipients};
use outboxd::sandbox::{Attachment, ByHand, ForwardSource, World};

use crate::engine_pace::time::seconds;

/// What a person writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hand {
    /// The same, so many seconds before the call.
    Before(u64),
    /// The same, deleted.
    Deleted,
    /// Nearly the same: the quote, the file, the forwarded message or the members of the group are missing or
    /// different.
    NotQuite,
}

/// What is written into a chat after a step arrived there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Says {
    /// The person answers.
    Reply,
    /// The person answers automatically; no date says for how long.
    OutOfOffice,
    /// The person does not want to be written to again.
    OptOut,
    /// The owner of the account writes.
    Owner,
}

/// Something that is written, or was.
#[derive(Debug, Clone)]
pub(crate) struct Reaction {
    /// When, by the monotonic clock.
    pub(crate) at: Duration,
    pub(crate) says: Says,
    pub(crate) account: String,
    pub(crate) chat_id: String,
    /// Text of the step that arrived.
    pub(crate) to: String,
}

/// Writes a reaction into its chat. Reads show it at once.
pub(super) fn react(world: &World, reaction: &Reaction, number: usize, now: Timestamp) {
    let text = match reaction.says {
        Says::Reply => "Yes, call me on Tuesday",
        Says::OutOfOffice => "Automatic reply: I am out of office",
        Says::OptOut => "Please stop writing to me",
        Says::Owner => "I saw your talk yesterday",
    };
    let message = ByHand {
        id: format!("reaction {number}"),
        text: text.to_owned(),
        is_sender: reaction.says == Says::Owner,
        at: Some(now),
        ..ByHand::default()
    };
    world.write_by_hand(&reaction.account, &reaction.chat_id, message);
}

/// Writes as the account, by hand, a message like `call`, which begins at `now`; returns whether there was a place
/// for it.
pub(super) fn write(world: &World, call: &Call, hand: Hand, number: u64, now: Timestamp) -> bool {
    let account = call.account_id.as_str();
    let id = format!("by hand {number}");
    let chat_id = match &call.target {
        CallTarget::Chat { chat_id, .. } | CallTarget::Forward { chat_id, .. } => chat_id.to_string(),
        CallTarget::Start { recipients: Recipients::Group { users_ids, .. }, .. } => {
            let chat_id = format!("group by hand {number}");
            let mut users: Vec<&str> = users_ids.iter().map(|user| user.as_str()).collect();
            if hand == Hand::NotQuite {
                // One member more, one less, or another one.
                match number % 3 {
                    0 => users.push("somebody else"),
                    1 => _ = users.pop(),
                    _ => users[0] = "somebody else",
                }
            }
            world.add_group(account, &chat_id, &users, None);
            chat_id
        }
        CallTarget::Start { recipients: Recipients::One(_), .. } => return false,
    };
    let same = ByHand {
        id,
        text: call.text.clone(),
        is_sender: true,
        at: Some(now),
        attachments: call.attachments.iter().map(|file| file_like(file, "")).collect(),
        quote_id: quote(call),
        source: source(call, ""),
        ..ByHand::default()
    };
    let message = match hand {
        Hand::Before(before) => ByHand { at: Some(now - seconds(before)), ..same },
        Hand::Deleted => ByHand { is_deleted: true, ..same },
        Hand::NotQuite => match &call.target {
            CallTarget::Forward { .. } => ByHand { source: source(call, " not"), ..same },
            CallTarget::Start { .. } => same,
            CallTarget::Chat { .. } if !call.attachments.is_empty() => {
                let others = call.attachments.iter().map(|file| file_like(file, "other "));
                ByHand { attachments: others.collect(), ..same }
            }
            CallTarget::Chat { quote_id: Some(_), .. } => ByHand { quote_id: None, ..same },
            CallTarget::Chat { quote_id: None, .. } => {
                ByHand { text: format!("{}, by the way", same.text), ..same }
            }
        },
    };
    world.write_by_hand(account, &chat_id, message);
    true
}

fn quote(call: &Call) -> Option<String> {
    match &call.target {
        CallTarget::Chat { quote_id, .. } => quote_id.clone(),
        CallTarget::Start { .. } | CallTarget::Forward { .. } => None,
    }
}

fn source(call: &Call, other: &str) -> Option<ForwardSource> {
    match &call.target {
        CallTarget::Forward { source_chat_id, source_message_id, .. } => Some(ForwardSource {
            chat_id: source_chat_id.to_string(),
            message_id: format!("{source_message_id}{other}"),
        }),
        CallTarget::Chat { .. } | CallTarget::Start { .. } => None,
    }
}

/// Returns a file of the same size; with `other` it has another name.
fn file_like(file: &outboxd::provider::CallAttachment, other: &str) -> Attachment {
    let size = usize::try_from(file.attachment.size).expect("a small file");
    let name = format!("{other}{}", file.attachment.filename);
    Attachment::new(&name, &file.attachment.content_type, &vec![0; size])
}
