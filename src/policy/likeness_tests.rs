//! Tests of what matches, what may match, and what does not.

use super::*;
use crate::domain::observed::Pointer;

const CONTENT: Content<'_> =
    Content { text: "yes", attachments: &[], quote_id: None, forwarded_id: None, subject: None };

fn seen(text: &str) -> ObservedMessage {
    ObservedMessage {
        id: "m".into(),
        is_sender: Some(true),
        sender_id: None,
        at: jiff::Timestamp::UNIX_EPOCH,
        text: text.into(),
        attachments: Vec::new(),
        quote: None,
        forward: None,
        subject: None,
        is_deleted: false,
        is_edited: false,
        is_silent: false,
        is_seen: false,
        is_delivered: false,
    }
}

fn pointer(id: Option<&str>, text: &str) -> Option<Pointer> {
    Some(Pointer { id: id.map(Into::into), text: Some(text.into()) })
}

fn attachment(filename: &str, content_type: &str, size: u64) -> Attachment {
    Attachment {
        filename: filename.into(),
        content_type: content_type.into(),
        send_mode: None,
        voice_note: false,
        duration: None,
        size,
        sha256: String::new(),
    }
}

fn shown(filename: Option<&str>, content_type: Option<&str>, size: Option<u64>) -> ObservedAttachment {
    ObservedAttachment {
        filename: filename.map(Into::into),
        size,
        content_type: content_type.map(Into::into),
    }
}

#[test]
fn texts_are_the_same_but_for_white_space_and_the_form_of_unicode() {
    let same = [
        ("a b", " a\r\n b\u{a0}"),
        ("Zo\u{e9}", "Zoe\u{301}"),
        ("\u{1112}\u{1161}\u{11ab}", "\u{d55c}"),
        ("\u{212b}", "\u{c5}"),
        ("", " \n"),
    ];
    for (one, other) in same {
        assert!(same_words(one, other), "{one:?} {other:?}");
    }
    for (one, other) in [("a b", "ab"), ("a", "A"), ("\u{fb01}", "fi"), ("a", "a\u{301}")] {
        assert!(!same_words(one, other), "{one:?} {other:?}");
    }
}

#[test]
fn a_reply_is_a_reply_to_the_same_message() {
    let reply = Content { quote_id: Some("q"), ..CONTENT };
    let quoting = |quote| ObservedMessage { quote, ..seen("yes") };
    let quote = Likeness::Perhaps(Gap::Quote);
    assert_eq!(likeness(&reply, &quoting(pointer(Some("q"), ""))), Likeness::Same);
    assert_eq!(likeness(&reply, &quoting(pointer(Some("other"), ""))), Likeness::Other);
    assert_eq!(likeness(&reply, &quoting(pointer(None, ""))), quote);
    assert_eq!(likeness(&reply, &seen("yes")), quote);
    assert_eq!(likeness(&reply, &seen("no")), Likeness::Other);
    assert_eq!(likeness(&CONTENT, &quoting(pointer(Some("q"), ""))), Likeness::Other);
}

#[test]
fn a_forward_is_a_forward_of_the_same_message_if_that_is_told() {
    let wordless = Content { forwarded_id: Some("s"), text: "", ..CONTENT };
    let commented = Content { text: "look", ..wordless };
    let of = |id: Option<&str>, text: &str| ObservedMessage { forward: pointer(id, "source"), ..seen(text) };
    assert_eq!(likeness(&wordless, &of(Some("s"), "")), Likeness::Same);
    assert_eq!(likeness(&wordless, &of(Some("s"), "source")), Likeness::Same, "shown with what it forwards");
    assert_eq!(likeness(&wordless, &of(Some("s"), "look")), Likeness::Perhaps(Gap::Comment));
    assert_eq!(likeness(&commented, &of(Some("s"), "look")), Likeness::Same);
    assert_eq!(likeness(&commented, &of(Some("s"), "")), Likeness::Perhaps(Gap::Comment));
    // E13
    assert_eq!(likeness(&wordless, &of(Some("other"), "")), Likeness::Other);
    assert_eq!(likeness(&wordless, &of(None, "")), Likeness::Perhaps(Gap::Source));
    assert_eq!(likeness(&wordless, &seen("")), Likeness::Other);
    assert_eq!(likeness(&CONTENT, &of(Some("s"), "yes")), Likeness::Other);
}

#[test]
fn a_file_is_the_same_by_size_and_name_or_type() {
    let (pdf, png) = ("application/pdf", "image/png");
    let cv = attachment("cv.pdf", pdf, 10);
    let picture = attachment("a.png", png, 20);
    let (same, perhaps, other) = (Likeness::Same, Likeness::Perhaps(Gap::Files), Likeness::Other);
    for (ours, name, kind, size, expected) in [
        (&cv, Some("cv.pdf"), Some(pdf), Some(10), same),
        (&cv, Some("cv.pdf"), Some("Application/PDF; x=1"), Some(10), same),
        (&cv, Some("cv.pdf"), None, Some(10), same),
        (&cv, None, Some(pdf), Some(10), same),
        (&cv, Some("cv.pdf"), Some(pdf), None, perhaps),
        (&cv, None, None, Some(10), perhaps),
        (&cv, None, None, None, perhaps),
        (&cv, Some("cv.pdf"), Some(pdf), Some(11), perhaps),
        (&cv, Some("other.pdf"), Some(pdf), Some(10), perhaps),
        (&cv, Some("other.pdf"), Some(pdf), Some(11), other),
        (&cv, Some("other.pdf"), Some(pdf), None, other),
        (&cv, None, Some(png), Some(10), other),
        (&picture, None, Some(png), Some(20), same),
        // A provider may re-encode a picture.
        (&picture, None, Some(png), Some(21), perhaps),
        (&picture, None, Some("image/jpeg"), Some(20), perhaps),
        (&picture, None, Some("image/jpeg"), Some(21), perhaps),
        (&picture, None, Some("video/mp4"), Some(20), other),
        (&picture, None, Some(png), None, perhaps),
    ] {
        assert_eq!(file(ours, &shown(name, kind, size)), expected, "{name:?} {kind:?} {size:?}");
    }
}

#[test]
fn files_agree_in_number_and_each_with_one_of_the_others() {
    let (pdf, png) = ("application/pdf", "image/png");
    let ours = [attachment("a.png", png, 20), attachment("cv.pdf", pdf, 10)];
    let content = Content { attachments: &ours, ..CONTENT };
    let message = |attachments| ObservedMessage { attachments, ..seen("yes") };
    let cv = || shown(Some("cv.pdf"), Some(pdf), Some(10));
    let picture = |size| shown(None, Some(png), size);
    assert_eq!(likeness(&content, &message(vec![cv(), picture(Some(20))])), Likeness::Same);
    assert_eq!(likeness(&content, &message(vec![cv(), picture(None)])), Likeness::Perhaps(Gap::Files));
    assert_eq!(likeness(&content, &message(vec![cv()])), Likeness::Other);
    assert_eq!(likeness(&content, &message(vec![cv(), cv()])), Likeness::Other);
    assert_eq!(
        likeness(&CONTENT, &message(vec![cv()])),
        Likeness::Other,
        "a message with files is another one"
    );
}

#[test]
fn what_was_changed_or_is_not_told_proves_nothing() {
    let gap = |message: &ObservedMessage| likeness(&CONTENT, message);
    assert_eq!(gap(&ObservedMessage { is_deleted: true, ..seen("yes") }), Likeness::Perhaps(Gap::Deleted));
    assert_eq!(gap(&ObservedMessage { is_deleted: true, ..seen("") }), Likeness::Perhaps(Gap::Deleted));
    assert_eq!(gap(&ObservedMessage { is_deleted: true, ..seen("no") }), Likeness::Other);
    assert_eq!(gap(&ObservedMessage { is_edited: true, ..seen("yes") }), Likeness::Perhaps(Gap::Edited));
    assert_eq!(gap(&ObservedMessage { is_edited: true, ..seen("no") }), Likeness::Perhaps(Gap::Edited));
    assert_eq!(gap(&ObservedMessage { is_sender: None, ..seen("yes") }), Likeness::Perhaps(Gap::Sender));
    assert_eq!(gap(&ObservedMessage { is_sender: None, ..seen("no") }), Likeness::Other);
    let theirs = ObservedMessage { is_sender: Some(false), is_deleted: true, ..seen("") };
    assert_eq!(gap(&theirs), Likeness::Other);
}

#[test]
fn a_subject_is_part_of_what_is_said() {
    let with = |subject: Option<&str>| ObservedMessage { subject: subject.map(Into::into), ..seen("yes") };
    let offer = Content { subject: Some("An offer"), ..CONTENT };
    assert_eq!(likeness(&offer, &with(Some("An  offer "))), Likeness::Same);
    assert_eq!(likeness(&offer, &with(Some("Another"))), Likeness::Other);
    assert_eq!(likeness(&offer, &with(None)), Likeness::Perhaps(Gap::Subject));
    assert_eq!(likeness(&CONTENT, &with(Some("An offer"))), Likeness::Perhaps(Gap::Subject));
}
