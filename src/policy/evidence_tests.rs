//! Tests of what counts as evidence, and what does not.

use super::*;
use crate::domain::message::{Extras, Inbox};
use crate::domain::observed::{ObservedAttachment, Pointer};

const NOW: i64 = 1_800_000_000;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(NOW + seconds).unwrap()
}

fn seen(id: &str, seconds: i64, text: &str) -> ObservedMessage {
    ObservedMessage {
        id: id.into(),
        is_sender: Some(true),
        sender_id: None,
        at: at(seconds),
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

fn seen_file(name: &str, size: u64) -> ObservedAttachment {
    let content_type = Some("application/pdf".into());
    ObservedAttachment { filename: Some(name.into()), size: Some(size), content_type }
}

fn user(id: &str) -> Target {
    Target::User { user_id: UserId::new(id), inbox: Inbox::OfPolicy }
}

fn group(ids: &[&str]) -> Target {
    Target::Group { users_ids: ids.iter().map(|id| UserId::new(*id)).collect(), inbox: Inbox::OfPolicy }
}

fn chat() -> Target {
    Target::Chat(ChatId::new("c"))
}

fn members(ids: &[&str]) -> Option<Vec<Member>> {
    Some(ids.iter().map(|id| Member { id: UserId::new(*id), public_identifier: None }).collect())
}

/// A call at second 0.
struct Asked {
    target: Target,
    text: &'static str,
    extras: Extras,
    began: Option<Timestamp>,
}

fn asked(target: Target, text: &'static str) -> Asked {
    Asked { target, text, extras: Extras::default(), began: Some(at(0)) }
}

fn with_files(text: &'static str, files: &[Attachment]) -> Asked {
    let extras = Extras { attachments: files.to_vec(), ..Extras::default() };
    Asked { extras, ..asked(chat(), text) }
}

fn other(state: StateName, seconds: i64, ids: &[&str], text: &str) -> OtherAttempt {
    OtherAttempt {
        state,
        started_at: at(seconds),
        provider_at: None,
        chat_id: None,
        message_ids: ids.iter().map(|id| (*id).to_owned()).collect(),
        target: user("u"),
        text: text.into(),
        extras: Extras::default(),
    }
}

fn history(messages: Vec<ObservedMessage>) -> ChatHistory {
    ChatHistory { chat_id: ChatId::new("c"), members: None, messages, known_before: BTreeSet::new() }
}

fn examined(asked: &Asked, other_attempts: &[&OtherAttempt], histories: &[ChatHistory]) -> Finding {
    let other_attempts: Vec<OtherAttempt> = other_attempts.iter().copied().cloned().collect();
    let content = Content::of(&asked.target, asked.text, &asked.extras);
    let fingerprint = Fingerprint { began: asked.began, started_at: at(0), target: &asked.target, content };
    examine(&fingerprint, &other_attempts, histories)
}

/// Returns the id that was found, or a word for any other finding.
fn word(finding: &Finding) -> String {
    match finding {
        Finding::Found { message_ids, .. } => message_ids.join("+"),
        Finding::Partly => "partly".into(),
        Finding::CannotTell(unsure) => format!("{:?}: {}", unsure.why, unsure.message_id),
        Finding::Busy => "busy".into(),
        Finding::Absent => "absent".into(),
    }
}

fn look(asked: &Asked, other_attempts: &[&OtherAttempt], messages: Vec<ObservedMessage>) -> String {
    word(&examined(asked, other_attempts, &[history(messages)]))
}

#[test]
fn ours_is_what_the_account_wrote_since_the_call_with_the_same_words() {
    let hello = asked(chat(), "Hello  Carla,\r\nhow are you?");
    let theirs = ObservedMessage { is_sender: Some(false), ..seen("m", 2, "Hello Carla, how are you?") };
    assert_eq!(look(&hello, &[], vec![seen("m", 2, "Hello Carla,\nhow are you? ")]), "m");
    assert_eq!(look(&hello, &[], vec![theirs]), "absent", "the other side wrote it");
    assert_eq!(look(&hello, &[], vec![seen("m", 2, "Hello Carla, how are you")]), "absent", "other words");
    assert_eq!(look(&hello, &[], vec![]), "absent");
}

/// E4: dates are compared with the time of the call on the same clock, the provider's.
#[test]
fn the_same_words_written_before_the_call_or_long_after_it_are_no_proof_and_nothing_is_sent_again() {
    let hi = asked(chat(), "hi");
    for (seconds, expected) in [
        (-80_000, "Before: m"),
        (-30, "Before: m"),
        (-1, "Before: m"),
        (0, "m"),
        (599, "m"),
        (601, "Late: m"),
        (80_000, "Late: m"),
    ] {
        assert_eq!(look(&hi, &[], vec![seen("m", seconds, "hi")]), expected, "{seconds} s");
    }
    // Some providers date to the second.
    let half = Asked { began: Timestamp::from_millisecond(NOW * 1000 + 500).ok(), ..asked(chat(), "hi") };
    let dated = |ms: i64| ObservedMessage {
        at: Timestamp::from_millisecond(NOW * 1000 + ms).unwrap(),
        ..seen("m", 0, "hi")
    };
    for (ms, expected) in [(500, "m"), (499, "Before: m"), (0, "m"), (-1000, "Before: m"), (1000, "m")] {
        assert_eq!(look(&half, &[], vec![dated(ms)]), expected, "{ms} ms");
    }
    // Ours is there as well.
    assert_eq!(look(&hi, &[], vec![seen("by hand", -30, "hi"), seen("ours", 1, "hi")]), "ours");
    let known = other(StateName::Sent, -3600, &["m"], "hi");
    assert_eq!(look(&hi, &[&known], vec![seen("m", -3600, "hi")]), "absent", "it is another's");
    let unknown = Asked { began: None, ..asked(chat(), "hi") };
    assert_eq!(look(&unknown, &[], vec![seen("m", 1, "hi")]), "NoClock: m");
    assert_eq!(look(&unknown, &[], vec![]), "absent");
}

#[test]
fn what_an_earlier_read_saw_before_the_call_is_not_it() {
    let hi = asked(chat(), "hi");
    let known_before = BTreeSet::from(["m".to_owned()]);
    let history = ChatHistory { known_before, ..history(vec![seen("m", 1, "hi")]) };
    assert_eq!(word(&examined(&hi, &[], &[history])), "absent");
}

#[test]
fn an_id_that_another_message_owns_is_not_ours() {
    let other = other(StateName::Sent, -20, &["m1"], "hi");
    let hi = asked(chat(), "hi");
    assert_eq!(look(&hi, &[&other], vec![seen("m1", -20, "hi")]), "absent");
    assert_eq!(look(&hi, &[&other], vec![seen("m1", -20, "hi"), seen("m2", 1, "hi")]), "m2");
    // Ids are unique only inside their chat.
    let elsewhere = OtherAttempt { chat_id: Some(ChatId::new("d")), ..other };
    assert_eq!(look(&hi, &[&elsewhere], vec![seen("m1", 1, "hi")]), "m1");
}

#[test]
fn the_same_words_twice_are_told_apart_by_counting() {
    let hi = asked(chat(), "hi");
    let nameless = other(StateName::Sent, -15, &[], "hi");
    assert_eq!(look(&hi, &[&nameless], vec![seen("m1", -14, "hi")]), "Before: m1");
    assert_eq!(look(&hi, &[&nameless], vec![seen("m1", 1, "hi")]), "Others: m1", "it may have come late");
    let both = vec![seen("m1", -14, "hi"), seen("m2", 1, "hi")];
    assert_eq!(look(&hi, &[&nameless], both.clone()), "m2", "the earlier one is the earlier call's");
    let later = other(StateName::Uncertain, 15, &[], "hi");
    assert_eq!(look(&hi, &[&later], vec![seen("m1", 1, "hi"), seen("m2", 16, "hi")]), "m1");
    assert_eq!(look(&hi, &[&later], vec![seen("m1", 16, "hi")]), "Others: m1");
    assert_eq!(look(&hi, &[&later], vec![]), "absent");
    let other_words = other(StateName::Uncertain, 15, &[], "ho");
    assert_eq!(look(&hi, &[&other_words], vec![seen("m1", 1, "hi")]), "m1");
    let on_its_way = other(StateName::Sending, 15, &[], "hi");
    assert_eq!(look(&hi, &[&on_its_way], vec![seen("m1", 16, "hi")]), "busy");
    // A forward without words cannot account for a file without words.
    let target = Target::Forward {
        source_chat_id: ChatId::new("s"),
        source_message_id: "q".into(),
        chat_id: ChatId::new("c"),
    };
    let forward =
        OtherAttempt { target, chat_id: Some(ChatId::new("c")), ..other(StateName::Uncertain, -5, &[], "") };
    let a_file = with_files("", &[file("cv.pdf", 10)]);
    let shown = ObservedMessage { attachments: vec![seen_file("cv.pdf", 10)], ..seen("m", 1, "") };
    assert_eq!(look(&a_file, &[&forward], vec![shown]), "m");
}

#[test]
fn the_same_words_to_another_person_are_no_rival() {
    let uncertain = other(StateName::Uncertain, -5, &[], "hi");
    let shown = || vec![seen("m", 1, "hi")];
    assert_eq!(look(&asked(user("v"), "hi"), &[&uncertain], shown()), "m");
    assert_eq!(look(&asked(user("u"), "hi"), &[&uncertain], shown()), "Others: m");
    let into_chat = asked(chat(), "hi");
    assert_eq!(look(&into_chat, &[&uncertain], shown()), "Others: m", "the chat may be with that user");
}

/// E1, E2: a group is identified by its members.
#[test]
fn a_message_in_another_group_is_not_ours() {
    let all = asked(group(&["a", "b"]), "all");
    let of = |ids: Option<Vec<Member>>| ChatHistory { members: ids, ..history(vec![seen("m", 1, "all")]) };
    let told = |other_attempts: &[&OtherAttempt], histories: &[ChatHistory]| {
        word(&examined(&all, other_attempts, histories))
    };
    assert_eq!(told(&[], &[of(members(&["b", "a"]))]), "m");
    for other in
        [members(&["a", "c"]), members(&["a"]), members(&["a", "b", "c"]), members(&["c", "d"]), None]
    {
        assert_eq!(told(&[], &[of(other.clone())]), "Group: m", "{other:?}");
    }
    // The queue sent the same words to the other group, which accounts for all that is shown.
    let mut other =
        OtherAttempt { target: group(&["c", "d"]), ..other(StateName::Uncertain, -20, &[], "all") };
    assert_eq!(told(&[&other], &[of(members(&["c", "d"]))]), "absent");
    assert_eq!(told(&[&other], &[of(None)]), "Group: m", "it may be either group");
    other.message_ids = vec!["m".into()];
    assert_eq!(told(&[&other], &[of(members(&["c", "d"]))]), "absent");
    assert_eq!(told(&[&other], &[of(members(&["c", "d"])), of(members(&["a", "b"]))]), "m");
    // The same words were sent to another group by hand, an hour ago.
    let long_ago = ChatHistory { members: members(&["c", "d"]), ..history(vec![seen("m", -3600, "all")]) };
    assert_eq!(told(&[], &[long_ago]), "absent");
}

#[test]
fn members_are_known_by_each_of_their_ids() {
    let users = |ids: &[&str]| ids.iter().map(|id| UserId::new(*id)).collect::<Vec<_>>();
    let ada = Member { id: UserId::new("ACo1"), public_identifier: Some("ada-l".into()) };
    let bob = Member { id: UserId::new("ACo2"), public_identifier: None };
    let both = [ada, bob];
    assert!(is_group_of(&users(&["ACo2", "ACo1"]), &both));
    assert!(is_group_of(&users(&["Ada-L", "ACo2"]), &both));
    assert!(is_group_of(&users(&["ACo1", "ACo2", "ACo2"]), &both), "named twice");
    assert!(!is_group_of(&users(&["ACo1"]), &both));
    assert!(!is_group_of(&users(&["ACo1", "bob"]), &both));
}

#[test]
fn a_message_that_the_provider_split_is_found_in_its_parts() {
    let both = with_files("see", &[file("cv.pdf", 10), file("b.pdf", 20)]);
    let part = |id: &str, name: &str, size| ObservedMessage {
        attachments: vec![seen_file(name, size)],
        ..seen(id, 2, "")
    };
    let (first, second) = (|| part("a", "cv.pdf", 10), || part("b", "b.pdf", 20));
    assert_eq!(look(&both, &[], vec![seen("t", 1, "see"), first(), second()]), "t+a+b");
    assert_eq!(look(&both, &[], vec![seen("t", 1, "see"), first()]), "partly");
    assert_eq!(look(&both, &[], vec![seen("t", 1, "see")]), "partly", "the words without the files");
    assert_eq!(look(&both, &[], vec![first(), second()]), "partly", "the words are missing");
    assert_eq!(look(&both, &[], vec![seen("t", -5, "see"), first(), second()]), "partly", "older words");
    let wordless = with_files("", &[file("cv.pdf", 10), file("b.pdf", 20)]);
    assert_eq!(look(&wordless, &[], vec![first(), second()]), "a+b");
    assert_eq!(look(&wordless, &[], vec![part("x", "x.pdf", 99)]), "absent");
    let unknown = Asked { began: None, ..wordless };
    assert_eq!(look(&unknown, &[], vec![first(), second()]), "NoClock: a");
}

#[test]
fn parts_may_be_another_messages() {
    let one = with_files("see", &[file("cv.pdf", 10)]);
    let part = ObservedMessage { attachments: vec![seen_file("cv.pdf", 10)], ..seen("a", 2, "") };
    let mut nameless = other(StateName::Uncertain, 3, &[], "see");
    nameless.extras.attachments = one.extras.attachments.clone();
    assert_eq!(look(&one, &[], vec![seen("t", 1, "see"), part.clone()]), "t+a");
    assert_eq!(look(&one, &[&nameless], vec![seen("t", 1, "see"), part]), "Others: t");
}

#[test]
fn what_is_like_it_but_not_in_everything_is_left_to_a_person() {
    let mut reply = asked(chat(), "yes");
    reply.extras.quote_id = Some("q".into());
    assert_eq!(look(&reply, &[], vec![seen("m", 1, "yes")]), "Gap(Quote): m", "E19");
    let quoting = |id: &str| ObservedMessage {
        quote: Some(Pointer { id: Some(id.into()), text: None }),
        ..seen("m", 1, "yes")
    };
    assert_eq!(look(&reply, &[], vec![quoting("q")]), "m");
    assert_eq!(look(&reply, &[], vec![seen("by hand", 1, "yes"), quoting("q")]), "m");
    assert_eq!(look(&reply, &[], vec![ObservedMessage { at: at(-5), ..quoting("other") }]), "absent");
    // E6: deleted ones, with or without their words.
    let hi = asked(chat(), "hi");
    let deleted = |seconds, text| ObservedMessage { is_deleted: true, ..seen("m", seconds, text) };
    assert_eq!(look(&hi, &[], vec![deleted(1, "hi")]), "Gap(Deleted): m");
    assert_eq!(look(&hi, &[], vec![deleted(1, "")]), "Gap(Deleted): m");
    assert_eq!(look(&hi, &[], vec![deleted(1, "ho")]), "absent");
    assert_eq!(look(&hi, &[], vec![deleted(-30, "")]), "absent", "it is older");
    let owner = other(StateName::Sent, -20, &["m"], "ho");
    assert_eq!(look(&hi, &[&owner], vec![deleted(1, "")]), "absent", "it was another message of the queue");
    let edited = ObservedMessage { is_edited: true, ..seen("m", 1, "hi!") };
    assert_eq!(look(&hi, &[], vec![edited]), "Gap(Edited): m");
}

#[test]
fn of_several_chats_the_one_with_the_message_decides() {
    let empty = ChatHistory { chat_id: ChatId::new("a"), ..history(vec![]) };
    let with = ChatHistory { chat_id: ChatId::new("b"), ..history(vec![seen("m", 1, "hi")]) };
    let hi = asked(user("u"), "hi");
    let finding = examined(&hi, &[], &[empty.clone(), with]);
    assert!(matches!(finding, Finding::Found { chat_id, .. } if chat_id == ChatId::new("b")));
    assert_eq!(examined(&hi, &[], &[empty]), Finding::Absent);
    assert_eq!(examined(&hi, &[], &[]), Finding::Absent, "no chat with the recipient");
}
