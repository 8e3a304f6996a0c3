//! Whether a message in a chat can be what a call sent: compares its words, its files and its references. Pure.
//!
//! There are three results: it matches in everything that the provider reports, it may be the same although something
//! is not reported or was changed, or it is another message. Only the first can prove that a call arrived (P2).
//! `evidence.rs` uses this.

use unicode_normalization::UnicodeNormalization;

use crate::domain::attachment::{Attachment, Medium};
use crate::domain::message::{Extras, Target};
use crate::domain::observed::{ObservedAttachment, ObservedMessage};

/// The content of a call.
#[derive(Debug, Clone, Copy)]
pub struct Content<'a> {
    /// The text of the message.
    pub text: &'a str,
    /// The files of the message.
    pub attachments: &'a [Attachment],
    /// The id of the message that it replies to.
    pub quote_id: Option<&'a str>,
    /// The id of the message that it forwards.
    pub forwarded_id: Option<&'a str>,
    /// The subject of the message.
    pub subject: Option<&'a str>,
}

impl<'a> Content<'a> {
    /// Returns the content of a message to `target`.
    pub fn of(target: &'a Target, text: &'a str, extras: &'a Extras) -> Self {
        let forwarded_id = match target {
            Target::Forward { source_message_id, .. } => Some(source_message_id.as_str()),
            Target::Chat(_) | Target::User { .. } | Target::Group { .. } => None,
        };
        let subject = extras.specifics.as_ref().and_then(|specifics| specifics.subject());
        let quote_id = extras.quote_id.as_deref();
        Self { text, attachments: &extras.attachments, quote_id, forwarded_id, subject }
    }
}

/// How well an observed message matches the content of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Likeness {
    /// It matches in everything that is reported.
    Same,
    /// It may match, except for this.
    Perhaps(Gap),
    /// It is another message.
    Other,
}

/// Why a message that resembles the content of a call is not certainly it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gap {
    /// It was deleted.
    Deleted,
    /// It was edited.
    Edited,
    /// Its sender is not reported.
    Sender,
    /// It is not shown as a reply to the same message.
    Quote,
    /// The message that it forwards is not reported.
    Source,
    /// It forwards the same message with other words.
    Comment,
    /// Its files are not fully reported, or they differ in a part.
    Files,
    /// It is not shown with the same subject.
    Subject,
}

impl Gap {
    /// Returns the words that describe such a message.
    pub fn words(self) -> &'static str {
        match self {
            Self::Deleted => "was deleted, so it is not known what it said or who wrote it",
            Self::Edited => "was edited, so it is not known what it said before",
            Self::Sender => "has the same words, but the provider does not tell who wrote it",
            Self::Quote => "has the same words, but is not shown as a reply to the same message",
            Self::Source => "is a forward, but the provider does not tell of which message",
            Self::Comment => "forwards the same message, but with other words",
            Self::Files => "has a file that may be the same, but name, size and type do not tell",
            Self::Subject => "has the same words, but not the same subject",
        }
    }
}

/// Returns how well `message` matches what a call with `content` sends.
pub fn likeness(content: &Content<'_>, message: &ObservedMessage) -> Likeness {
    if message.is_sender == Some(false) {
        return Likeness::Other;
    }
    let kind = match content.forwarded_id {
        Some(source) => forward(content, source, message),
        None if message.forward.is_some() => Likeness::Other,
        None => ordinary(content, message),
    };
    let gap = match kind {
        // A deleted message may have lost its content.
        Likeness::Other if message.is_deleted && is_empty(message) => return Likeness::Perhaps(Gap::Deleted),
        Likeness::Other => return Likeness::Other,
        Likeness::Perhaps(gap) => Some(gap),
        Likeness::Same => None,
    };
    let gaps = [
        message.is_deleted.then_some(Gap::Deleted),
        message.is_edited.then_some(Gap::Edited),
        message.is_sender.is_none().then_some(Gap::Sender),
        gap,
    ];
    gaps.into_iter().flatten().next().map_or(Likeness::Same, Likeness::Perhaps)
}

fn is_empty(message: &ObservedMessage) -> bool {
    message.text.trim().is_empty() && message.attachments.is_empty()
}

/// Compares `message` with a forward of the message `source`.
fn forward(content: &Content<'_>, source: &str, message: &ObservedMessage) -> Likeness {
    let Some(forwarded) = &message.forward else { return Likeness::Other };
    match &forwarded.id {
        None => Likeness::Perhaps(Gap::Source),
        Some(id) if id != source => Likeness::Other,
        Some(_) => {
            // A forward without words of its own may be shown with those of its source.
            let of_source = forwarded.text.as_ref().is_some_and(|text| same_words(text, &message.text));
            match same_words(&message.text, content.text) || content.text.is_empty() && of_source {
                true => Likeness::Same,
                false => Likeness::Perhaps(Gap::Comment),
            }
        }
    }
}

fn ordinary(content: &Content<'_>, message: &ObservedMessage) -> Likeness {
    let words = match same_words(&message.text, content.text) {
        true => Likeness::Same,
        false if message.is_edited => Likeness::Perhaps(Gap::Edited),
        false => return Likeness::Other,
    };
    let parts = [words, quote(content, message), subject(content, message), files(content, message)];
    weakest(parts)
}

/// Returns the weakest match of several parts; of two that are uncertain, the first.
fn weakest(parts: impl IntoIterator<Item = Likeness>) -> Likeness {
    parts.into_iter().fold(Likeness::Same, |whole, part| match (whole, part) {
        (Likeness::Other, _) | (_, Likeness::Other) => Likeness::Other,
        (Likeness::Same, part) => part,
        (Likeness::Perhaps(_), _) => whole,
    })
}

fn quote(content: &Content<'_>, message: &ObservedMessage) -> Likeness {
    match (content.quote_id, &message.quote) {
        (None, None) => Likeness::Same,
        (None, Some(_)) => Likeness::Other,
        (Some(_), None) => Likeness::Perhaps(Gap::Quote),
        (Some(ours), Some(quote)) => match &quote.id {
            None => Likeness::Perhaps(Gap::Quote),
            Some(id) if id == ours => Likeness::Same,
            Some(_) => Likeness::Other,
        },
    }
}

fn subject(content: &Content<'_>, message: &ObservedMessage) -> Likeness {
    match (content.subject, &message.subject) {
        (None, None) => Likeness::Same,
        (Some(ours), Some(seen)) if same_words(ours, seen) => Likeness::Same,
        (Some(_), None) | (None, Some(_)) => Likeness::Perhaps(Gap::Subject),
        (Some(_), Some(_)) => Likeness::Other,
    }
}

/// Compares all files of both, one by one; the surest pairs are made first.
fn files(content: &Content<'_>, message: &ObservedMessage) -> Likeness {
    if content.attachments.len() != message.attachments.len() {
        return Likeness::Other;
    }
    let left = unmatched(content.attachments, &message.attachments, Likeness::Same);
    if left.0.is_empty() {
        return Likeness::Same;
    }
    let perhaps = Likeness::Perhaps(Gap::Files);
    match unmatched(left.0, left.1, perhaps).0.is_empty() {
        true => perhaps,
        false => Likeness::Other,
    }
}

/// Returns what is left of both lists after each file is paired with one that matches it to this degree.
pub(super) fn unmatched<'o, 's>(
    ours: impl IntoIterator<Item = &'o Attachment>,
    seen: impl IntoIterator<Item = &'s ObservedAttachment>,
    alike: Likeness,
) -> (Vec<&'o Attachment>, Vec<&'s ObservedAttachment>) {
    let mut seen: Vec<&ObservedAttachment> = seen.into_iter().collect();
    let mut left = Vec::new();
    for file in ours {
        match seen.iter().position(|seen| self::file(file, seen) == alike) {
            Some(place) => _ = seen.remove(place),
            None => left.push(file),
        }
    }
    (left, seen)
}

/// Compares two files. They are the same if the size and the name or type are reported and equal, and nothing that is
/// reported differs. They are different if they are of another medium, or if neither name nor size are the same. A
/// provider may re-encode pictures, whose names it does not report: their size and type exclude nothing.
pub(super) fn file(ours: &Attachment, seen: &ObservedAttachment) -> Likeness {
    let name = seen.filename.as_ref().map(|name| same_words(name, &ours.filename));
    let size = seen.size.map(|size| size == ours.size);
    let kind = seen.content_type.as_ref().map(|kind| same_type(kind, &ours.content_type));
    let medium = |kind: &str| Medium::of(&kind.to_lowercase());
    let other_medium =
        seen.content_type.as_ref().is_some_and(|kind| medium(kind) != medium(&ours.content_type));
    let differs = [name, size, kind].contains(&Some(false));
    match (size, name.or(kind)) {
        (Some(true), Some(true)) if !differs => Likeness::Same,
        _ if other_medium || name == Some(false) && size != Some(true) => Likeness::Other,
        _ => Likeness::Perhaps(Gap::Files),
    }
}

/// Returns whether two MIME types are the same except for case and parameters.
fn same_type(one: &str, other: &str) -> bool {
    let bare = |text: &str| text.split(';').next().unwrap_or_default().trim().to_lowercase();
    bare(one) == bare(other)
}

/// Returns whether two texts are the same except for white space, line ends and the form of Unicode, which a provider
/// may change.
pub(super) fn same_words(one: &str, other: &str) -> bool {
    let fold =
        |text: &str| -> Vec<String> { text.split_whitespace().map(|word| word.nfc().collect()).collect() };
    one == other || fold(one) == fold(other)
}

#[cfg(test)]
#[path = "likeness_tests.rs"]
mod tests;
