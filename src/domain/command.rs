//! A change that a person or a program asks of a stored message: cancel, hold, release, retry or edit.
//!
//! The command line, HTTP and SQL build a [`Command`]; `store/transitions/commands.rs` carries it out in one transaction. Which
//! state allows which command is decided here alone, and so are the words of the answer.

use super::field_error::{FieldError, FieldErrorCode};
use super::message::Draft;
use super::state::StateName;

/// What is asked of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Do not send it.
    Cancel,
    /// Keep it in the queue until it is released.
    Hold,
    /// End a hold.
    Release,
    /// Queue it again under its own id.
    Retry,
    /// Change its content, its order or its account.
    Edit(Box<Edit>),
}

/// A command, who gave it and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instruction {
    /// What is asked.
    pub command: Command,
    /// Who asks: `uid 1000` for a peer of the socket, `sql` for a row of `message_commands`.
    pub actor: String,
    /// Reason, as the actor gave it.
    pub note: Option<String>,
}

/// A new value of a field that may be absent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Change {
    /// Keep the value.
    #[default]
    Keep,
    /// Remove the value.
    Remove,
    /// Replace the value.
    Set(String),
}

/// The fields to change; `None` and [`Change::Keep`] do not change a field.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edit {
    /// The account that sends it instead.
    pub account_id: Option<String>,
    /// Its new text.
    pub text: Option<String>,
    /// Its new priority.
    pub priority: Option<i64>,
    /// Not sent before this RFC 3339 time.
    pub not_before: Change,
    /// Not sent from this RFC 3339 time on.
    pub expires_at: Change,
    /// Its new label.
    pub campaign: Change,
    /// The new text may contain what looks like a placeholder.
    pub allow_placeholders: bool,
}

impl Change {
    fn apply(&self, value: &mut Option<String>) {
        match self {
            Self::Keep => {}
            Self::Remove => *value = None,
            Self::Set(new) => *value = Some(new.clone()),
        }
    }
}

impl Edit {
    /// Returns whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        let Self { account_id, text, priority, not_before, expires_at, campaign, allow_placeholders: _ } =
            self;
        let kept = [not_before, expires_at, campaign].into_iter().all(|change| *change == Change::Keep);
        kept && account_id.is_none() && text.is_none() && priority.is_none()
    }

    /// Changes the fields of `draft`.
    pub fn apply(&self, draft: &mut Draft) {
        if let Some(account_id) = &self.account_id {
            draft.account_id = Some(account_id.clone());
        }
        if let Some(text) = &self.text {
            draft.text = Some(text.clone());
            draft.allow_placeholders =
                Some(self.allow_placeholders || draft.allow_placeholders == Some(true));
        }
        if let Some(priority) = self.priority {
            draft.priority = Some(priority);
        }
        self.not_before.apply(&mut draft.not_before);
        self.expires_at.apply(&mut draft.expires_at);
        self.campaign.apply(&mut draft.campaign);
    }
}

impl Command {
    /// Returns the word used everywhere.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Cancel => "cancel",
            Self::Hold => "hold",
            Self::Release => "release",
            Self::Retry => "retry",
            Self::Edit(_) => "edit",
        }
    }

    /// Returns the states in which it changes a message, those that a filter without states selects first.
    pub fn acts_on(&self) -> &'static [StateName] {
        use StateName::{Cancelled, Expired, Failed, New, Queued, Rejected, Review};
        match self {
            Self::Cancel => &[New, Queued, Review],
            Self::Hold | Self::Release => &[Queued],
            Self::Retry => &[Failed, Cancelled, Expired, Rejected],
            Self::Edit(_) => &[Queued, Failed, Cancelled, Expired, Rejected],
        }
    }

    /// Returns the states that it selects if none are named: never a message that may have been sent, and of those
    /// that ended only what a retry is for.
    pub fn selects(&self) -> &'static [StateName] {
        match self {
            Self::Cancel => &[StateName::New, StateName::Queued],
            Self::Hold | Self::Release | Self::Edit(_) => &[StateName::Queued],
            Self::Retry => self.acts_on(),
        }
    }

    /// Returns whether a message in `state` already is what the command makes of it.
    pub fn is_done_in(&self, state: StateName) -> bool {
        match self {
            Self::Cancel => state == StateName::Cancelled,
            Self::Retry => state == StateName::Queued,
            Self::Hold | Self::Release | Self::Edit(_) => false,
        }
    }

    /// Returns why a message in `state` cannot be changed so; `None` if it can.
    pub fn refused_in(&self, state: StateName) -> Option<FieldError> {
        if self.acts_on().contains(&state) {
            return None;
        }
        let cannot = match self {
            Self::Cancel => "cannot be cancelled any more",
            Self::Hold => "cannot be held",
            Self::Release => "is not held",
            Self::Retry => "cannot be retried",
            Self::Edit(edit) if edit.account_id.is_some() => "cannot be moved any more",
            Self::Edit(_) => "cannot be edited any more",
        };
        let fix = match state {
            StateName::New => "the daemon admits it in a moment; try again then",
            StateName::Queued => "it waits; explain says for what",
            StateName::Sending => "its call is in flight; look again when it has an outcome",
            StateName::Uncertain => "its chat is being read back; look again when that is over",
            StateName::Review => "it may have been sent; decide with `outboxd review`",
            StateName::Sent => "queue a new message instead",
            StateName::Failed | StateName::Cancelled | StateName::Expired | StateName::Rejected => {
                "it has ended; retry queues it again"
            }
        };
        let problem = format!("is {} and {cannot}", state.as_str());
        Some(FieldError::new(FieldErrorCode::WrongState, "id", problem, fix))
    }

    /// Returns what was done, or that there was nothing to do.
    pub fn answer(&self, changed: bool) -> &'static str {
        match (self, changed) {
            (Self::Cancel, true) => "cancelled",
            (Self::Cancel, false) => "was cancelled already",
            (Self::Hold, true) => "held",
            (Self::Hold, false) => "was held already",
            (Self::Release, true) => "released",
            (Self::Release, false) => "was not held",
            (Self::Retry, true) => "queued again",
            (Self::Retry, false) => "is queued already",
            (Self::Edit(edit), true) if edit.account_id.is_some() => "moved",
            (Self::Edit(_), true) => "edited",
            (Self::Edit(_), false) => "was like this already",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_may_have_been_sent_is_neither_edited_nor_retried() {
        let edit = Command::Edit(Box::default());
        for state in [StateName::Sending, StateName::Uncertain, StateName::Review, StateName::Sent] {
            for command in [&edit, &Command::Retry, &Command::Hold, &Command::Release] {
                assert!(command.refused_in(state).is_some(), "{command:?} in {state:?}");
            }
        }
    }

    #[test]
    fn a_refused_move_says_that_it_is_one() {
        let account_id = Some("acc_2".to_owned());
        let moved = Command::Edit(Box::new(Edit { account_id, ..Edit::default() }));
        let problem = |command: &Command| command.refused_in(StateName::Review).map(|error| error.problem);
        assert_eq!(problem(&moved).as_deref(), Some("is review and cannot be moved any more"));
        let edit = Command::Edit(Box::default());
        assert_eq!(problem(&edit).as_deref(), Some("is review and cannot be edited any more"));
    }

    #[test]
    fn a_command_that_changes_the_state_follows_a_move_of_the_table() {
        for (command, to) in [(Command::Cancel, StateName::Cancelled), (Command::Retry, StateName::Queued)] {
            for state in StateName::ALL {
                let acts = command.acts_on().contains(&state);
                assert!(!acts || state.may_become(to), "{command:?} in {state:?}");
            }
        }
    }

    #[test]
    fn an_edit_changes_the_fields_that_it_names_and_no_other() {
        let draft = || Draft {
            text: Some("old".to_owned()),
            campaign: Some("autumn".to_owned()),
            expires_at: Some("2026-12-01T00:00:00Z".to_owned()),
            priority: Some(3),
            ..Draft::default()
        };
        let mut edited = draft();
        let edit = Edit { text: Some("new".to_owned()), campaign: Change::Remove, ..Edit::default() };
        edit.apply(&mut edited);
        let text = Some("new".to_owned());
        assert_eq!(edited, Draft { text, campaign: None, allow_placeholders: Some(false), ..draft() });
        let mut same = draft();
        Edit::default().apply(&mut same);
        assert!(Edit::default().is_empty() && !edit.is_empty());
        assert_eq!(same, draft());
    }
}
