//! Did a call reach the recipient? Pure: compares what a chat shows with what one attempt may have sent (P2).
//!
//! Unipile has no idempotency key and a message carries no mark of ours, so an attempt is recognised by its
//! conversation (a group by its members), by its content (`likeness.rs`) and by its date: after its call on the
//! provider's own clock. An id that another message of the queue owns, or that an earlier read saw before the call,
//! is never accepted, and the same words sent twice on purpose are distinguished by counting. Any other possibility
//! is left to a person. `reconcile.rs` decides what follows from a finding. An `ObservedMessage` may come from any
//! source: a read today, a webhook later.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

use super::likeness::{Content, Gap, Likeness, likeness, same_words, unmatched};
use super::settle::after;
use crate::domain::attachment::Attachment;
use crate::domain::message::{ChatId, Target, UserId};
use crate::domain::observed::{Member, ObservedMessage, OtherAttempt};
use crate::domain::state::StateName;

/// How far back before the attempt a chat is read. A message with the same words that is dated before the attempt may
/// be it, if a date is wrong by hours. It is not proof, but nothing is sent again then.
pub const LOOK_BACK: Duration = Duration::from_secs(26 * 60 * 60);
/// How far back a chat is read if the time of the call is known only by this machine's wall clock, which may have
/// been set by days more than once while no daemon ran.
pub const LOOK_BACK_BY_WALL_CLOCK: Duration = Duration::from_secs(31 * 24 * 60 * 60);
/// A message that is dated more than this after the call may as well have been written by hand.
const LATEST: Duration = Duration::from_secs(10 * 60);

/// What one attempt may have sent.
#[derive(Debug, Clone, Copy)]
pub struct Fingerprint<'a> {
    /// When the call began on the provider's clock, or somewhat earlier; `None` if that is not known.
    pub began: Option<Timestamp>,
    /// When the call began on this machine's clock.
    pub started_at: Timestamp,
    /// Where the message goes.
    pub target: &'a Target,
    /// What the message contains.
    pub content: Content<'a>,
}

/// One chat as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatHistory {
    /// The id of the chat.
    pub chat_id: ChatId,
    /// The members, if it is a group and the provider reports all of them.
    pub members: Option<Vec<Member>>,
    /// The messages, in any order.
    pub messages: Vec<ObservedMessage>,
    /// Ids of the messages that an earlier read showed before the call began.
    pub known_before: BTreeSet<String>,
}

/// What a read says about an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// The message is in the chat.
    Found {
        /// The chat that contains it.
        chat_id: ChatId,
        /// Its ids there; several if the provider split it.
        message_ids: Vec<String>,
        /// Its date, set by the provider.
        at: Timestamp,
    },
    /// A part of the message is in the chat.
    Partly,
    /// A similar message is in the chat, but it is not certain that it is this one.
    CannotTell(Unsure),
    /// Another message with the same words is being sent just now.
    Busy,
    /// The message is not in the chat.
    Absent,
}

/// A message that may be what the attempt sent, and why that is not certain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsure {
    /// Why it is not certain.
    pub why: Why,
    /// The chat that contains it.
    pub chat_id: ChatId,
    /// The id of the message.
    pub message_id: String,
    /// Its date, set by the provider.
    pub at: Timestamp,
}

/// Why a message is not certainly what the attempt sent, in the order in which the reasons are reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// As many other messages of the queue may account for what is shown.
    Others,
    /// The time of the call is not known on the provider's clock.
    NoClock,
    /// It is dated before the call.
    Before,
    /// It is dated long after the call.
    Late,
    /// It does not match in everything.
    Gap(Gap),
    /// It is in a group that is not known to have the same members.
    Group,
}

impl Why {
    /// Returns the words that describe such a message.
    pub fn words(self) -> &'static str {
        match self {
            Self::Others => "has the same words, but another message of the queue may be behind it",
            Self::NoClock => "has the same words, but whether it is older than the call is not known",
            Self::Before => "has the same words, but is dated before the call",
            Self::Late => "has the same words, but is dated long after the call",
            Self::Gap(gap) => gap.words(),
            Self::Group => "has the same words, but is in a group that is not known to have the same members",
        }
    }
}

/// Looks for the attempt in all chats that it may have gone into.
pub fn examine(
    fingerprint: &Fingerprint<'_>,
    other_attempts: &[OtherAttempt],
    histories: &[ChatHistory],
) -> Finding {
    let looks = histories.iter().map(|history| Look::new(fingerprint, other_attempts, history).finding());
    let mut findings: Vec<Finding> = looks.collect();
    // The strongest finding comes first.
    findings.sort_by_key(|finding| match finding {
        Finding::Found { .. } => 0,
        Finding::Busy => 1,
        Finding::CannotTell(_) => 2,
        Finding::Partly => 3,
        Finding::Absent => 4,
    });
    findings.into_iter().next().unwrap_or(Finding::Absent)
}

/// Returns whether a group with these members is the one that is started with `users_ids`. Ids are opaque and people
/// have several, so a difference proves nothing.
pub fn is_group_of(users_ids: &[UserId], members: &[Member]) -> bool {
    let is = |user: &UserId, member: &Member| {
        let identifier = member.public_identifier.as_deref();
        member.id == *user || identifier.is_some_and(|name| name.eq_ignore_ascii_case(user.as_str()))
    };
    let distinct: BTreeSet<&UserId> = users_ids.iter().collect();
    distinct.len() == members.len()
        && distinct.iter().all(|user| members.iter().any(|member| is(user, member)))
}

/// The date of a message, relative to the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dated {
    Before,
    Since,
    Late,
    /// The time of the call is not known on the same clock.
    Unknown,
}

/// One chat, compared with the attempt.
struct Look<'a> {
    fingerprint: &'a Fingerprint<'a>,
    history: &'a ChatHistory,
    /// Messages that may be ours, oldest first: sent by the account, and no other message's as far as ids show.
    ours: Vec<&'a ObservedMessage>,
    /// Other messages of the queue whose ids are unknown and that may have gone into this chat.
    nameless: Vec<&'a OtherAttempt>,
}

impl<'a> Look<'a> {
    fn new(
        fingerprint: &'a Fingerprint<'a>,
        other_attempts: &'a [OtherAttempt],
        history: &'a ChatHistory,
    ) -> Self {
        let here: Vec<&OtherAttempt> =
            other_attempts.iter().filter(|other| is_here(fingerprint, other, history)).collect();
        let owned = |id: &String| here.iter().any(|other| other.message_ids.contains(id));
        let may_be_ours = |message: &&ObservedMessage| {
            message.is_sender != Some(false)
                && !owned(&message.id)
                && !history.known_before.contains(&message.id)
        };
        let mut ours: Vec<&ObservedMessage> = history.messages.iter().filter(may_be_ours).collect();
        ours.sort_by_key(|message| message.at);
        let nameless = here.into_iter().filter(|other| other.message_ids.is_empty()).collect();
        Self { fingerprint, history, ours, nameless }
    }

    fn finding(&self) -> Finding {
        let content = &self.fingerprint.content;
        let same: Vec<&ObservedMessage> =
            self.ours.iter().copied().filter(|seen| likeness(content, seen) == Likeness::Same).collect();
        // Each of them may account for one of the messages that are shown.
        let explains = |other: &&&OtherAttempt| {
            let content = Content::of(&other.target, &other.text, &other.extras);
            let is_twin = same_words(&other.text, self.fingerprint.content.text);
            is_twin
                && (same.is_empty() || same.iter().any(|seen| likeness(&content, seen) != Likeness::Other))
        };
        let twins: Vec<&OtherAttempt> = self.nameless.iter().filter(explains).copied().collect();
        let is_ours = self.is_conversation();
        if is_ours && let Some(found) = self.counted(&same, &twins) {
            return self.found(vec![found.id.clone()], found.at);
        }
        if twins.iter().any(|other| other.state == StateName::Sending) {
            return Finding::Busy;
        }
        let parts = if is_ours { self.in_parts() } else { Finding::Absent };
        match (&parts, twins.is_empty()) {
            (Finding::Found { .. }, true) => return parts,
            // The parts may belong to another message.
            (Finding::Found { message_ids, at, .. }, false) => {
                let id = message_ids.first().cloned().unwrap_or_default();
                return self.unsure(Why::Others, id, *at);
            }
            _ => {}
        }
        self.perhaps(&same, &twins).unwrap_or(parts)
    }

    /// Returns whether the chat is the conversation that the attempt goes to.
    fn is_conversation(&self) -> bool {
        match self.fingerprint.target {
            Target::Group { users_ids, .. } => {
                self.history.members.as_ref().is_some_and(|members| is_group_of(users_ids, members))
            }
            Target::Chat(_) | Target::User { .. } | Target::Forward { .. } => true,
        }
    }

    fn dated(&self, message: &ObservedMessage) -> Dated {
        let began = self.fingerprint.began.map(|began| match message.at.subsec_nanosecond() {
            // A date in whole seconds may have lost its fraction.
            0 => Timestamp::from_second(began.as_second()).unwrap_or(began),
            _ => began,
        });
        match began {
            None => Dated::Unknown,
            Some(began) if message.at < began => Dated::Before,
            Some(began) if message.at > after(began, LATEST) => Dated::Late,
            Some(_) => Dated::Since,
        }
    }

    /// Returns the message that is ours, if there are more of them than other calls can account for. The messages are
    /// in the order of the calls.
    fn counted(&self, same: &[&'a ObservedMessage], twins: &[&OtherAttempt]) -> Option<&'a ObservedMessage> {
        let began = self.fingerprint.began?;
        let provider_at = |other: &OtherAttempt| {
            let ago = other.started_at.duration_since(self.fingerprint.started_at);
            other.provider_at.or_else(|| began.checked_add(ago).ok()).unwrap_or(began)
        };
        let first = twins.iter().map(|other| provider_at(other)).min().unwrap_or(began).min(began);
        let is_since = |message: &&&ObservedMessage| self.dated(message) == Dated::Since;
        let counts = |message: &&&ObservedMessage| match self.dated(message) {
            Dated::Since => true,
            Dated::Before => message.at >= first,
            Dated::Late | Dated::Unknown => false,
        };
        let counted: Vec<&ObservedMessage> = same.iter().filter(counts).copied().collect();
        if counted.len() <= twins.len() {
            return None;
        }
        let earlier = twins.iter().filter(|other| other.started_at < self.fingerprint.started_at).count();
        let in_order = counted.iter().skip(earlier).find(is_since);
        in_order.or_else(|| counted.iter().rfind(is_since)).copied()
    }

    /// Looks for the text and the files in separate messages, because the provider may split them.
    fn in_parts(&self) -> Finding {
        let content = &self.fingerprint.content;
        if content.attachments.is_empty() || content.forwarded_id.is_some() {
            return Finding::Absent;
        }
        let words = Content { attachments: &[], ..*content };
        let untouched = |message: &&&ObservedMessage| {
            !message.is_deleted && !message.is_edited && message.forward.is_none()
        };
        let since: Vec<&ObservedMessage> = self
            .ours
            .iter()
            .filter(|message| matches!(self.dated(message), Dated::Since | Dated::Unknown))
            .filter(untouched)
            .copied()
            .collect();
        let is_words = |message: &&&ObservedMessage| {
            let bare = ObservedMessage { attachments: Vec::new(), ..(**message).clone() };
            !message.text.trim().is_empty() && likeness(&words, &bare) == Likeness::Same
        };
        let text = since.iter().find(is_words).copied();
        // The message with the text may have some of the files.
        let files = since.iter().filter(|message| message.text.trim().is_empty()).copied();
        let mut missing: Vec<&Attachment> = content.attachments.iter().collect();
        let (mut ids, mut at) = (Vec::new(), None);
        for message in text.into_iter().chain(files) {
            let before = missing.len();
            missing = unmatched(missing, &message.attachments, Likeness::Same).0;
            if missing.len() < before || text.is_some_and(|text| text.id == message.id) {
                ids.push(message.id.clone());
                at = at.max(Some(message.at));
            }
        }
        let has_text = text.is_some() || content.text.trim().is_empty();
        match (at, ids.first()) {
            (Some(at), Some(id)) if has_text && missing.is_empty() => match self.fingerprint.began {
                Some(_) => self.found(ids, at),
                None => self.unsure(Why::NoClock, id.clone(), at),
            },
            (Some(_), Some(_)) => Finding::Partly,
            _ => Finding::Absent,
        }
    }

    /// Returns the first message that may be ours but is not certainly.
    fn perhaps(&self, same: &[&ObservedMessage], twins: &[&OtherAttempt]) -> Option<Finding> {
        if !self.is_conversation() {
            return self.perhaps_of_another_group(twins);
        }
        let content = &self.fingerprint.content;
        let whole = same.first().map(|message| match self.dated(message) {
            Dated::Unknown => (Why::NoClock, *message),
            Dated::Before => (Why::Before, *message),
            Dated::Late => (Why::Late, *message),
            Dated::Since => (Why::Others, *message),
        });
        let in_part = || {
            self.ours.iter().find_map(|message| match (likeness(content, message), self.dated(message)) {
                (Likeness::Perhaps(gap), Dated::Since | Dated::Late | Dated::Unknown) => {
                    Some((Why::Gap(gap), *message))
                }
                _ => None,
            })
        };
        let (why, message) = whole.or_else(in_part)?;
        Some(self.unsure(why, message.id.clone(), message.at))
    }

    /// Returns the same in a group that may be another one. As many as calls to that very group account for are not
    /// ours.
    fn perhaps_of_another_group(&self, twins: &[&OtherAttempt]) -> Option<Finding> {
        let explained = if self.history.members.is_some() { twins.len() } else { 0 };
        let may_be = |message: &&&ObservedMessage| {
            self.dated(message) != Dated::Before
                && likeness(&self.fingerprint.content, message) != Likeness::Other
        };
        let message = self.ours.iter().filter(may_be).nth(explained)?;
        Some(self.unsure(Why::Group, message.id.clone(), message.at))
    }

    fn found(&self, message_ids: Vec<String>, at: Timestamp) -> Finding {
        Finding::Found { chat_id: self.history.chat_id.clone(), message_ids, at }
    }

    fn unsure(&self, why: Why, message_id: String, at: Timestamp) -> Finding {
        Finding::CannotTell(Unsure { why, chat_id: self.history.chat_id.clone(), message_id, at })
    }
}

/// Returns whether another message of the queue may have gone into this chat.
fn is_here(fingerprint: &Fingerprint<'_>, other: &OtherAttempt, history: &ChatHistory) -> bool {
    if let Some(chat_id) = &other.chat_id {
        return *chat_id == history.chat_id;
    }
    match (&other.target, fingerprint.target) {
        // A chat that is given by its id may be with any user.
        (_, Target::Chat(_) | Target::Forward { .. }) => true,
        (Target::Group { users_ids, .. }, Target::Group { .. }) => {
            history.members.as_ref().is_none_or(|members| is_group_of(users_ids, members))
        }
        (Target::User { user_id, .. }, Target::User { user_id: ours, .. }) => user_id == ours,
        (Target::Chat(_) | Target::Forward { .. } | Target::User { .. } | Target::Group { .. }, _) => false,
    }
}

#[cfg(test)]
#[path = "evidence_tests.rs"]
mod tests;
