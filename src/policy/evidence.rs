//! Did it reach the recipient? Pure: what a chat shows, held against what one attempt may have sent (P2).
//!
//! Unipile has no idempotency key and a message carries no mark of ours, so an attempt is recognised by what it said,
//! when, and by whom: ours is what the account itself wrote, in the time of the attempt, with the same words once white
//! space is set aside and the same files, under an id that no other message of the queue already owns. The same words
//! sent twice on purpose are told apart by counting. Finding nothing proves something only after the last read; what
//! cannot be told is left to a person, never guessed.
//!
//! A `SeenMessage` may come from anywhere: a read today, a webhook some day.

use std::time::Duration;

use jiff::Timestamp;

use super::settle::after;
use crate::domain::attachment::Attachment;
use crate::domain::message::ChatId;
use crate::domain::policy::{Absent, ReadBack};
use crate::domain::reason::Reason;
use crate::domain::seen::{Rival, SeenAttachment, SeenMessage};
use crate::domain::state::StateName;

/// How much further back than the attempt a chat is read: a message with the same words that is dated before the
/// attempt may be it, if a clock was wrong by hours. It is no proof, but nothing is sent again then.
pub const LOOK_BACK: Duration = Duration::from_secs(26 * 60 * 60);
/// Reads beyond the schedule while the last one failed.
const MORE_READS: usize = 4;
/// The pause before the next read while another message with the same words is being sent.
const WHILE_SENDING: Duration = Duration::from_secs(60);

/// What one attempt may have sent.
#[derive(Debug, Clone, Copy)]
pub struct Trace<'a> {
    /// When the call began, by this machine's clock.
    pub started_at: Timestamp,
    /// The conversation inside which its order is kept (`Target::thread`).
    pub thread: &'a str,
    /// Its text.
    pub text: &'a str,
    /// Its files.
    pub attachments: &'a [Attachment],
    /// The message that it replies to.
    pub quote_id: Option<&'a str>,
    /// The message that it forwards.
    pub forwarded_id: Option<&'a str>,
}

/// One chat as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sight {
    /// The chat.
    pub chat_id: ChatId,
    /// Its messages, in any order.
    pub messages: Vec<SeenMessage>,
}

/// What a read says about an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// It is there.
    Found {
        /// In this chat.
        chat_id: ChatId,
        /// Under these ids.
        message_ids: Vec<String>,
        /// Dated so by the provider.
        at: Timestamp,
    },
    /// A part of it is there.
    Partly,
    /// Something like it is there, but not surely it.
    CannotTell,
    /// Another message with the same words is on its way just now.
    Busy,
    /// It is not there.
    Absent,
}

/// Looks for the attempt in all chats that it can have gone into.
pub fn examine(trace: &Trace<'_>, skew: Duration, rivals: &[Rival], sights: &[Sight]) -> Finding {
    let mut findings: Vec<Finding> =
        sights.iter().map(|sight| examine_chat(trace, skew, rivals, sight)).collect();
    // What says most comes first.
    findings.sort_by_key(|finding| match finding {
        Finding::Found { .. } => 0,
        Finding::Busy => 1,
        Finding::CannotTell => 2,
        Finding::Partly => 3,
        Finding::Absent => 4,
    });
    findings.into_iter().next().unwrap_or(Finding::Absent)
}

fn examine_chat(trace: &Trace<'_>, skew: Duration, rivals: &[Rival], sight: &Sight) -> Finding {
    // The chat of a message to a user may be unknown: it can be the one that another names by its id.
    let here = |rival: &&Rival| match &rival.chat_id {
        Some(chat_id) => *chat_id == sight.chat_id,
        None => rival.thread == trace.thread || trace.thread.starts_with("chat:"),
    };
    let owned =
        |id: &str| rivals.iter().filter(here).any(|rival| rival.message_ids.iter().any(|own| own == id));
    let mut ours: Vec<&SeenMessage> =
        sight.messages.iter().filter(|message| message.is_sender && !owned(&message.id)).collect();
    ours.sort_by_key(|message| message.at);
    let earliest = trace.started_at.checked_sub(skew).unwrap_or(Timestamp::MIN);
    let (before, since): (Vec<&SeenMessage>, Vec<&SeenMessage>) =
        ours.into_iter().partition(|message| message.at < earliest);
    let whole: Vec<&SeenMessage> = since.iter().copied().filter(|message| is_whole(trace, message)).collect();
    // Messages with the same words whose ids nobody knows: each of them may be behind one of those that are shown.
    let nameless: Vec<&Rival> = rivals
        .iter()
        .filter(here)
        .filter(|rival| rival.message_ids.is_empty() && same_words(&rival.text, trace.text))
        .collect();
    if whole.len() > nameless.len() {
        let earlier = nameless.iter().filter(|rival| rival.started_at < trace.started_at).count();
        let found = whole[earlier.min(whole.len() - 1)];
        return Finding::Found {
            chat_id: sight.chat_id.clone(),
            message_ids: vec![found.id.clone()],
            at: found.at,
        };
    }
    if nameless.iter().any(|rival| rival.state == StateName::Sending) {
        return Finding::Busy;
    }
    if !whole.is_empty() || before.iter().any(|message| is_whole(trace, message)) {
        return Finding::CannotTell;
    }
    match in_parts(trace, sight, &since) {
        // The parts may be another message's.
        Finding::Found { .. } | Finding::Partly if !nameless.is_empty() => Finding::CannotTell,
        found => found,
    }
}

/// The provider may split text and files into messages of their own.
fn in_parts(trace: &Trace<'_>, sight: &Sight, since: &[&SeenMessage]) -> Finding {
    if trace.attachments.is_empty() {
        return Finding::Absent;
    }
    let mut ids = Vec::new();
    let mut at = None;
    let text =
        since.iter().find(|message| !message.text.trim().is_empty() && same_words(&message.text, trace.text));
    let has_text = text.is_some() || trace.text.trim().is_empty();
    // The message with the text may have some of the files.
    let files =
        since.iter().filter(|message| message.text.trim().is_empty() && !message.attachments.is_empty());
    let mut missing: Vec<&Attachment> = trace.attachments.iter().collect();
    for message in text.into_iter().chain(files) {
        let before = missing.len();
        for seen in &message.attachments {
            if let Some(place) = missing.iter().position(|file| is_file(file, seen)) {
                missing.remove(place);
            }
        }
        if missing.len() < before || text.is_some_and(|text| text.id == message.id) {
            ids.push(message.id.clone());
            at = at.max(Some(message.at));
        }
    }
    match at {
        None => Finding::Absent,
        Some(at) if has_text && missing.is_empty() => {
            Finding::Found { chat_id: sight.chat_id.clone(), message_ids: ids, at }
        }
        Some(_) => Finding::Partly,
    }
}

fn is_whole(trace: &Trace<'_>, message: &SeenMessage) -> bool {
    if let Some(source) = trace.forwarded_id {
        // Where the provider does not tell what was forwarded, the words that go with it must do.
        return message.is_forwarded
            && match &message.forwarded_id {
                Some(id) => id == source,
                None => same_words(&message.text, trace.text),
            };
    }
    let same_quote = match (trace.quote_id, &message.quoted_id) {
        (Some(ours), Some(theirs)) => ours == theirs,
        (None, Some(_)) => false,
        (Some(_) | None, None) => true,
    };
    same_quote
        && !message.is_forwarded
        && same_words(&message.text, trace.text)
        && same_files(trace.attachments, &message.attachments)
}

/// Whether two texts are the same but for white space and line ends, which a provider may change.
fn same_words(one: &str, other: &str) -> bool {
    one.split_whitespace().eq(other.split_whitespace())
}

fn same_files(ours: &[Attachment], seen: &[SeenAttachment]) -> bool {
    let mut missing: Vec<&SeenAttachment> = seen.iter().collect();
    ours.len() == seen.len()
        && ours.iter().all(|file| match missing.iter().position(|seen| is_file(file, seen)) {
            Some(place) => {
                missing.remove(place);
                true
            }
            None => false,
        })
}

/// Name and size count where the provider tells them.
fn is_file(ours: &Attachment, seen: &SeenAttachment) -> bool {
    seen.filename.as_ref().is_none_or(|name| *name == ours.filename)
        && seen.size.is_none_or(|size| size == ours.size)
}

/// What a message with an unknown outcome has been through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Doubt {
    /// Reads that it has had, whether they showed something or not.
    pub reads: u32,
    /// How often it was queued again because it was not there.
    pub resends: u32,
}

/// What follows from a read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NextStep {
    /// It is sent, by evidence.
    Sent {
        /// The chat.
        chat_id: ChatId,
        /// The ids.
        message_ids: Vec<String>,
        /// When the provider dates it.
        at: Timestamp,
    },
    /// It is read again.
    Again {
        /// Then.
        verify_at: Timestamp,
        /// Whether this read counts.
        counts: bool,
    },
    /// It is certainly absent, and goes out once more.
    Queue,
    /// A person decides.
    Review(Reason),
}

/// What to do after a read of the schedule; `None` is one that failed, which proves nothing.
pub fn next_step(doubt: Doubt, finding: Option<Finding>, read_back: &ReadBack, now: Timestamp) -> NextStep {
    let reads = usize::try_from(doubt.reads).unwrap_or(usize::MAX).saturating_add(1);
    let is_last = reads >= read_back.after.len();
    let again = NextStep::Again { verify_at: after(now, pause_after(reads, read_back)), counts: true };
    let unless_last = |step: NextStep| if is_last { step } else { again.clone() };
    match finding {
        Some(Finding::Found { chat_id, message_ids, at }) => NextStep::Sent { chat_id, message_ids, at },
        Some(Finding::Busy) => NextStep::Again { verify_at: after(now, WHILE_SENDING), counts: false },
        Some(Finding::Partly) => unless_last(NextStep::Review(Reason::PartlyInChat)),
        Some(Finding::CannotTell) => unless_last(NextStep::Review(Reason::CannotTell)),
        Some(Finding::Absent) => unless_last(match read_back.absent {
            Absent::Resend if doubt.resends == 0 => NextStep::Queue,
            Absent::Resend | Absent::Review => NextStep::Review(Reason::NotInChat),
        }),
        None if reads >= read_back.after.len().saturating_add(MORE_READS) => {
            NextStep::Review(Reason::ChatUnreadable)
        }
        None => again,
    }
}

/// The pause after read number `reads`; beyond the schedule it is the last one.
pub fn pause_after(reads: usize, read_back: &ReadBack) -> Duration {
    let at = |index: usize| read_back.after.get(index).copied().unwrap_or_default();
    let last = read_back.after.len().saturating_sub(1);
    let index = reads.min(last);
    at(index).saturating_sub(if index == 0 { Duration::ZERO } else { at(index - 1) })
}

#[cfg(test)]
#[path = "evidence_tests.rs"]
mod tests;
