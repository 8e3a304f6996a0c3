//! The endpoint that a message needs, and the inbox that it starts from.
//!
//! `attempt.rs` builds the call with it; `preflight.rs` and `chats.rs` use the inbox.

use crate::domain::message::{Extras, Inbox, InboxId, Target};
use crate::domain::policy::Policy;
use crate::domain::specifics::{Product, Specifics};
use crate::provider::{CallTarget, Recipients};
use crate::store::Candidate;

/// Returns the endpoint and the recipient of a message.
pub(super) fn call_target(candidate: &Candidate, policy: &Policy) -> CallTarget {
    let extras = &candidate.extras;
    let start = |recipients: Recipients| CallTarget::Start {
        recipients,
        inbox_id: inbox_of(&candidate.target, extras, policy),
        specifics: extras.specifics.as_ref().map(|specifics| specifics.tree().clone()),
    };
    match &candidate.target {
        Target::Chat(chat_id) => {
            CallTarget::Chat { chat_id: chat_id.clone(), quote_id: extras.quote_id.clone() }
        }
        Target::User { user_id, .. } => start(Recipients::One(user_id.clone())),
        Target::Group { users_ids, .. } => {
            start(Recipients::Group { users_ids: users_ids.clone(), name: extras.name.clone() })
        }
        Target::Forward { source_chat_id, source_message_id, chat_id } => CallTarget::Forward {
            source_chat_id: source_chat_id.clone(),
            source_message_id: source_message_id.clone(),
            chat_id: chat_id.clone(),
        },
    }
}

/// Returns the inbox from which a chat is started; `None` without one, or for a message in a chat.
pub(super) fn inbox_of(target: &Target, extras: &Extras, policy: &Policy) -> Option<InboxId> {
    let inbox = match target {
        Target::User { inbox, .. } | Target::Group { inbox, .. } => inbox,
        Target::Chat(_) | Target::Forward { .. } => return None,
    };
    match inbox {
        // Only a product's own inbox may start its chats.
        Inbox::OfPolicy => {
            match extras.specifics.as_ref().map(Specifics::product).and_then(Product::inbox_id) {
                Some(inbox_id) => Some(InboxId::new(inbox_id)),
                None => policy.inbox_id.clone(),
            }
        }
        Inbox::Named(inbox_id) => Some(inbox_id.clone()),
        Inbox::Without => None,
    }
}
