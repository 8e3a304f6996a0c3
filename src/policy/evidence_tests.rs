//! What is taken for evidence, and what is not.

use super::*;

const NOW: i64 = 1_800_000_000;
const SKEW: Duration = Duration::from_secs(120);

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(NOW + seconds).unwrap()
}

fn seen(id: &str, seconds: i64, text: &str) -> SeenMessage {
    SeenMessage {
        id: id.into(),
        is_sender: true,
        at: at(seconds),
        text: text.into(),
        attachments: Vec::new(),
        quoted_id: None,
        is_forwarded: false,
        forwarded_id: None,
    }
}

fn file(name: &str, size: u64) -> Attachment {
    Attachment {
        filename: name.into(),
        content_type: "application/pdf".into(),
        send_mode: None,
        voice_note: false,
        duration: None,
        size,
        sha256: String::new(),
    }
}

fn seen_file(name: Option<&str>, size: Option<u64>) -> SeenAttachment {
    SeenAttachment { filename: name.map(Into::into), size }
}

fn trace(text: &str) -> Trace<'_> {
    Trace { started_at: at(0), thread: "chat:c", text, attachments: &[], quote_id: None, forwarded_id: None }
}

fn rival(state: StateName, seconds: i64, ids: &[&str], text: &str) -> Rival {
    Rival {
        state,
        started_at: at(seconds),
        chat_id: None,
        message_ids: ids.iter().map(|id| (*id).to_owned()).collect(),
        thread: "user:u".into(),
        text: text.into(),
    }
}

fn sight(messages: Vec<SeenMessage>) -> Vec<Sight> {
    vec![Sight { chat_id: ChatId::new("c"), messages }]
}

/// The id that was found, or the word for what was not.
fn look(trace: &Trace<'_>, rivals: &[&Rival], messages: Vec<SeenMessage>) -> String {
    let rivals: Vec<Rival> = rivals.iter().copied().cloned().collect();
    match examine(trace, SKEW, &rivals, &sight(messages)) {
        Finding::Found { message_ids, .. } => message_ids.join("+"),
        Finding::Partly => "partly".into(),
        Finding::CannotTell => "cannot tell".into(),
        Finding::Busy => "busy".into(),
        Finding::Absent => "absent".into(),
    }
}

#[test]
fn ours_is_what_the_account_wrote_in_the_time_of_the_attempt_with_the_same_words() {
    let hello = trace("Hello  Carla,\r\nhow are you?");
    let theirs = SeenMessage { is_sender: false, ..seen("m", 2, "Hello Carla, how are you?") };
    assert_eq!(look(&hello, &[], vec![seen("m", 2, "Hello Carla,\nhow are you? ")]), "m");
    assert_eq!(look(&hello, &[], vec![theirs]), "absent", "the other side wrote it");
    assert_eq!(look(&hello, &[], vec![seen("m", 2, "Hello Carla, how are you")]), "absent", "other words");
    assert_eq!(look(&hello, &[], vec![]), "absent");
    assert_eq!(look(&hello, &[], vec![seen("m", -119, "Hello Carla, how are you?")]), "m", "within the skew");
}

#[test]
fn the_same_words_dated_before_the_attempt_are_no_proof_but_nothing_is_sent_again() {
    assert_eq!(look(&trace("hi"), &[], vec![seen("m", -3600, "hi")]), "cannot tell");
    let known = rival(StateName::Sent, -3600, &["m"], "hi");
    assert_eq!(look(&trace("hi"), &[&known], vec![seen("m", -3600, "hi")]), "absent", "it is another's");
}

#[test]
fn an_id_that_another_message_owns_is_not_ours() {
    let other = rival(StateName::Sent, -20, &["m1"], "hi");
    assert_eq!(look(&trace("hi"), &[&other], vec![seen("m1", -20, "hi")]), "absent");
    assert_eq!(look(&trace("hi"), &[&other], vec![seen("m1", -20, "hi"), seen("m2", 1, "hi")]), "m2");
    // Ids are unique only inside their chat.
    let elsewhere = Rival { chat_id: Some(ChatId::new("d")), ..other };
    assert_eq!(look(&trace("hi"), &[&elsewhere], vec![seen("m1", 1, "hi")]), "m1");
}

#[test]
fn the_same_words_twice_are_told_apart_by_counting() {
    let nameless = rival(StateName::Sent, -15, &[], "hi");
    assert_eq!(look(&trace("hi"), &[&nameless], vec![seen("m1", -14, "hi")]), "cannot tell");
    let both = vec![seen("m1", -14, "hi"), seen("m2", 1, "hi")];
    assert_eq!(look(&trace("hi"), &[&nameless], both.clone()), "m2", "the earlier one is the earlier call's");
    let later = rival(StateName::Uncertain, 15, &[], "hi");
    assert_eq!(look(&trace("hi"), &[&later], both), "m1");
    assert_eq!(look(&trace("hi"), &[&later], vec![]), "absent");
    let other_words = rival(StateName::Uncertain, 15, &[], "ho");
    assert_eq!(look(&trace("hi"), &[&other_words], vec![seen("m1", 1, "hi")]), "m1");
    let on_its_way = rival(StateName::Sending, 15, &[], "hi");
    assert_eq!(look(&trace("hi"), &[&on_its_way], vec![seen("m1", 16, "hi")]), "busy");
}

#[test]
fn the_same_words_to_another_person_are_no_rival() {
    let uncertain = rival(StateName::Uncertain, -5, &[], "hi");
    let to = |thread| Trace { thread, ..trace("hi") };
    let shown = || vec![seen("m", 1, "hi")];
    assert_eq!(look(&to("user:v"), &[&uncertain], shown()), "m");
    assert_eq!(look(&to("user:u"), &[&uncertain], shown()), "cannot tell");
    assert_eq!(look(&to("chat:c"), &[&uncertain], shown()), "cannot tell", "the chat may be with that user");
}

#[test]
fn files_agree_in_number_and_in_what_is_told_of_them() {
    let files = [file("cv.pdf", 10), file("photo.jpg", 20)];
    let with_files = Trace { attachments: &files, ..trace("see") };
    let message = |attachments: Vec<SeenAttachment>| vec![SeenMessage { attachments, ..seen("m", 1, "see") }];
    let pdf = seen_file(Some("cv.pdf"), Some(10));
    let photo = seen_file(None, Some(20));
    assert_eq!(look(&with_files, &[], message(vec![photo.clone(), pdf.clone()])), "m");
    assert_eq!(look(&with_files, &[], message(vec![pdf.clone()])), "partly");
    assert_eq!(look(&with_files, &[], message(vec![])), "partly", "the words without the files");
    assert_eq!(look(&with_files, &[], message(vec![pdf, seen_file(None, Some(21))])), "partly");
    assert_eq!(
        look(&trace("see"), &[], message(vec![photo])),
        "absent",
        "a message with files is another one"
    );
}

#[test]
fn a_message_that_the_provider_split_is_found_in_its_parts() {
    let files = [file("cv.pdf", 10), file("photo.jpg", 20)];
    let with_files = Trace { attachments: &files, ..trace("see") };
    let part =
        |id: &str, size| SeenMessage { attachments: vec![seen_file(None, Some(size))], ..seen(id, 2, "") };
    assert_eq!(look(&with_files, &[], vec![seen("t", 1, "see"), part("a", 10), part("b", 20)]), "t+a+b");
    assert_eq!(look(&with_files, &[], vec![seen("t", 1, "see"), part("a", 10)]), "partly");
    assert_eq!(look(&with_files, &[], vec![part("a", 10), part("b", 20)]), "partly", "the words are missing");
    let wordless = Trace { attachments: &files, ..trace("") };
    assert_eq!(look(&wordless, &[], vec![part("a", 10), part("b", 20)]), "a+b");
    assert_eq!(look(&wordless, &[], vec![part("x", 99)]), "absent");
}

#[test]
fn parts_may_be_another_messages() {
    let files = [file("cv.pdf", 10)];
    let with_files = Trace { attachments: &files, ..trace("see") };
    let part = SeenMessage { attachments: vec![seen_file(None, Some(10))], ..seen("a", 2, "") };
    let nameless = rival(StateName::Uncertain, 3, &[], "see");
    assert_eq!(look(&with_files, &[], vec![seen("t", 1, "see"), part.clone()]), "t+a");
    assert_eq!(look(&with_files, &[&nameless], vec![seen("t", 1, "see"), part]), "cannot tell");
}

#[test]
fn replies_and_forwards_are_told_by_what_they_point_to() {
    let reply = Trace { quote_id: Some("q"), ..trace("yes") };
    let quoting =
        |id: Option<&str>| vec![SeenMessage { quoted_id: id.map(Into::into), ..seen("m", 1, "yes") }];
    assert_eq!(look(&reply, &[], quoting(Some("q"))), "m");
    assert_eq!(look(&reply, &[], quoting(Some("other"))), "absent");
    assert_eq!(look(&trace("yes"), &[], quoting(Some("q"))), "absent");
    let forward = Trace { forwarded_id: Some("s"), ..trace("look") };
    let forwarded = |id: Option<&str>, text: &str| {
        vec![SeenMessage { is_forwarded: true, forwarded_id: id.map(Into::into), ..seen("m", 1, text) }]
    };
    assert_eq!(look(&forward, &[], forwarded(Some("s"), "")), "m");
    assert_eq!(look(&forward, &[], forwarded(Some("other"), "look")), "absent");
    assert_eq!(look(&forward, &[], forwarded(None, "look")), "m");
    assert_eq!(look(&forward, &[], vec![seen("m", 1, "look")]), "absent");
    assert_eq!(look(&trace("look"), &[], forwarded(Some("s"), "look")), "absent");
}

#[test]
fn of_several_chats_the_one_with_the_message_decides() {
    let empty = Sight { chat_id: ChatId::new("a"), messages: vec![] };
    let with = Sight { chat_id: ChatId::new("b"), messages: vec![seen("m", 1, "hi")] };
    let finding = examine(&trace("hi"), SKEW, &[], &[empty.clone(), with]);
    assert!(matches!(finding, Finding::Found { chat_id, .. } if chat_id == ChatId::new("b")));
    assert_eq!(examine(&trace("hi"), SKEW, &[], &[empty]), Finding::Absent);
    assert_eq!(examine(&trace("hi"), SKEW, &[], &[]), Finding::Absent, "no chat with the recipient");
}

fn read_back(absent: Absent) -> ReadBack {
    let after = [60, 180, 600, 1800].map(Duration::from_secs).to_vec();
    ReadBack { after, skew: SKEW, absent }
}

/// Every read of a message that is never found, as seconds since the call, and how it ends.
fn schedule(read_back: &ReadBack, mut finding: impl FnMut(u32) -> Option<Finding>, resends: u32) -> String {
    let mut now = after(at(0), read_back.after[0]);
    let mut printed = Vec::new();
    for reads in 0..20 {
        printed.push((now.as_second() - NOW).to_string());
        match next_step(Doubt { reads, resends }, finding(reads), read_back, now) {
            NextStep::Again { verify_at, .. } => now = verify_at,
            NextStep::Sent { .. } => return format!("{} sent", printed.join(" ")),
            NextStep::Queue => return format!("{} queued", printed.join(" ")),
            NextStep::Review(reason) => return format!("{} {}", printed.join(" "), reason.as_str()),
        }
    }
    panic!("it never ends: {printed:?}");
}

#[test]
fn the_schedule_ends_and_only_the_last_read_proves_absence() {
    let absent = |_| Some(Finding::Absent);
    let (review, resend) = (read_back(Absent::Review), read_back(Absent::Resend));
    assert_eq!(schedule(&review, absent, 0), "60 180 600 1800 not_in_chat");
    assert_eq!(schedule(&resend, absent, 0), "60 180 600 1800 queued");
    assert_eq!(schedule(&resend, absent, 1), "60 180 600 1800 not_in_chat", "once only");
    assert_eq!(schedule(&review, |_| Some(Finding::Partly), 0), "60 180 600 1800 partly_in_chat");
    assert_eq!(schedule(&resend, |_| Some(Finding::CannotTell), 0), "60 180 600 1800 cannot_tell");
    // A read that failed proves nothing: the last one must have shown the chat.
    let last_fails = |reads| if reads == 3 { None } else { Some(Finding::Absent) };
    assert_eq!(schedule(&resend, last_fails, 0), "60 180 600 1800 3000 queued");
    let ends = "60 180 600 1800 3000 4200 5400 6600 chat_unreadable";
    assert_eq!(schedule(&resend, |_| None, 0), ends);
}

#[test]
fn a_schedule_of_one_read_is_one() {
    let once = ReadBack { after: vec![Duration::from_secs(5)], ..read_back(Absent::Resend) };
    assert_eq!(schedule(&once, |_| Some(Finding::Absent), 0), "5 queued");
    assert_eq!(schedule(&once, |_| None, 0), "5 10 15 20 25 chat_unreadable");
}
