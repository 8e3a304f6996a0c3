//! What a command reads of a message and what it changes, shared by the files of the commands (`commands.rs`).

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::domain::field_error::FieldError;
use crate::domain::message::{AccountId, MessageId, RepeatScope};
use crate::domain::state::StateName;
use crate::domain::validate::ValidationLimits;

/// A command that is refused for these reasons, and the other message that is the cause, if one is.
pub(super) type Refusal = (Vec<FieldError>, Option<MessageId>);

/// What a command writes: the transaction's run and time; and what it checks: the limits of the validation, and to which
/// messages a text is compared.
pub(super) struct Context<'a> {
    pub(super) run: i64,
    pub(super) now: Timestamp,
    pub(super) limits: &'a ValidationLimits,
    pub(super) repeats: RepeatScope,
}

/// What a command changed.
pub(super) struct Changed {
    /// The state now.
    pub(super) state: StateName,
    /// The account that it was moved to.
    pub(super) moved_to: Option<AccountId>,
    /// Other steps of the person that changed with it.
    pub(super) others: Vec<MessageId>,
    /// The values before and after, for the event.
    pub(super) old: Value,
    pub(super) new: Value,
}

/// Everything that a command may need of a message.
pub(super) const LOOK: &str = "SELECT m.seq, m.id, m.state, m.reason, m.account_id, m.chat_id, m.users_ids, m.inbox_id, m.\"group\", m.name, \
       m.specifics, m.options, m.quote_id, m.forward, m.attachments, m.text, m.typing, m.not_before, m.expires_at, m.campaign, \
       m.priority, m.urgent, m.ignore_hours, m.allow_repeat, m.allow_placeholders, m.stop_on_reply, m.needs, m.step, m.wait, m.meta, m.dedupe_key, m.created_at, \
       m.due_at, m.retry_at, m.wait_until, m.thread, m.held_at, m.attempts FROM messages m WHERE m.id = ?1";

/// Returns the state of a message as a value of an event.
pub(super) fn state_value(state: StateName) -> Value {
    json!({ "state": state.as_str() })
}
