//! The preflight reads: inboxes, InMail credits, the chat that may exist.

use outboxd::domain::message::{Extras, Inbox, InboxId, MessageId, NewMessage};
use outboxd::domain::policy::Route;
use outboxd::domain::reason::Reason;
use outboxd::domain::specifics::Specifics;
use outboxd::domain::state::StateName;
use serde_json::{Value, json};

use super::bench::Bench;
use super::carrier::{Answer, Kind};
use super::time::seconds;
use super::{SEED, assert_paced};
use crate::queue::{account, to_chat, to_user};

fn with(specifics: Value, message: NewMessage) -> NewMessage {
    let specifics = Some(Specifics::parse("specifics", specifics).expect("it is right"));
    NewMessage { extras: Extras { specifics, ..Extras::default() }, ..message }
}

pub(super) fn inmail(user: &str) -> NewMessage {
    let specifics = json!({ "linkedin": { "classic": { "inmail": true } } });
    NewMessage { text: format!("to {user}"), ..with(specifics, to_user(user, Inbox::OfPolicy)) }
}

fn texts(bench: &Bench) -> Vec<String> {
    bench.sends().into_iter().map(|send| send.text).collect()
}

fn facts(bench: &Bench, which: &str) -> usize {
    bench.provider.calls_of(Kind::Fact).into_iter().filter(|call| call.chat == which).count()
}

async fn why(bench: &Bench, id: MessageId) -> (StateName, Reason, String) {
    let view = bench.store().message(id, bench.clock_now()).await.unwrap().unwrap();
    (view.state, view.reason, view.error.unwrap_or_default())
}

#[tokio::test]
async fn an_inbox_that_cannot_start_a_chat_fails_its_message_and_names_those_that_can() {
    let mut bench = Bench::new(SEED).await;
    let inboxes = [
        ("CLASSIC_PRIMARY", false),
        ("CLASSIC_INMAIL", false),
        ("RECRUITER_PRIMARY", true),
        ("OTHER_PRIMARY", false),
    ];
    bench.provider.set_inboxes(&inboxes);
    let from =
        |inbox: &str| NewMessage { text: inbox.into(), ..to_user("u", Inbox::Named(InboxId::new(inbox))) };
    let mut refused = Vec::new();
    for inbox in ["NOWHERE", "CLASSIC_INMAIL", "RECRUITER_PRIMARY"] {
        refused.push((inbox, bench.enqueue(from(inbox)).await));
    }
    let navigator = json!({ "linkedin": { "sales_navigator": { "subject": "s" } } });
    let navigator = bench.enqueue(with(navigator, to_user("n", Inbox::OfPolicy))).await;
    refused.push(("SALES_NAVIGATOR_PRIMARY", navigator));
    let good = bench.enqueue(to_user("good", Inbox::OfPolicy)).await;
    let without = bench.enqueue(to_user("without", Inbox::Without)).await;
    bench.start().await;
    bench.until_sent(2).await;
    for (inbox, id) in refused {
        let (state, reason, error) = why(&bench, id).await;
        assert_eq!((state, reason), (StateName::Failed, Reason::InboxUnusable), "{inbox}: {error}");
        assert!(
            error.contains(inbox) && error.ends_with("use one of: CLASSIC_PRIMARY, OTHER_PRIMARY"),
            "{error}"
        );
    }
    bench.settle().await;
    for id in [good, without] {
        assert_eq!(bench.state(id).await.0, StateName::Sent);
    }
    assert_eq!(bench.sends()[0].at_ms, 0, "a refusal costs the account no pause");
    bench.finish().await;
}

#[tokio::test]
async fn what_speaks_against_an_inbox_is_read_anew_before_it_counts() {
    let mut bench = Bench::new(SEED).await;
    bench.provider.set_inboxes(&[("CLASSIC_PRIMARY", true)]);
    let failed = bench.enqueue(to_user("a", Inbox::OfPolicy)).await;
    bench.start().await;
    bench.settle().await;
    assert_eq!(bench.state(failed).await.1, Reason::InboxUnusable);
    bench.provider.set_inboxes(&[("CLASSIC_PRIMARY", false)]);
    bench.enqueue(to_user("b", Inbox::OfPolicy)).await;
    bench.until_sent(1).await;
    bench.advance(seconds(2)).await;
    let reads = facts(&bench, "inboxes");
    bench.enqueue(to_user("c", Inbox::OfPolicy)).await;
    bench.until_sent(2).await;
    assert_eq!(facts(&bench, "inboxes"), reads, "what is known to be good is not read again");
    bench.finish().await;
}

#[tokio::test]
async fn inboxes_that_cannot_be_read_refuse_nobody_and_keep_nobody_waiting() {
    let mut bench = Bench::new(SEED).await;
    bench.provider.break_facts(&["inboxes", "account"]);
    bench.enqueue(to_user("a", Inbox::Named(InboxId::new("WHO_KNOWS")))).await;
    bench.start().await;
    bench.until_sent(1).await;
    assert_eq!(bench.sends()[0].at_ms, 0);
    bench.provider.break_facts(&["account"]);
    bench.provider.hang_facts(&["inboxes"]);
    bench.enqueue(to_user("b", Inbox::Named(InboxId::new("ANOTHER")))).await;
    bench.until_sent(2).await;
    assert!(bench.sends()[1].at_ms <= 25_000, "a gap and five seconds: {:?}", bench.sends());
    bench.provider.hang_facts(&[]);
    bench.finish().await;
}

#[tokio::test]
async fn inmails_wait_while_only_the_reserve_is_left_and_the_rest_of_the_account_goes_on() {
    let mut bench = Bench::new(SEED).await;
    bench.provider.set_credits(&[("classic", 6), ("recruiter", 100)]);
    let mut inmails = Vec::new();
    for user in ["1", "2", "3"] {
        inmails.push(bench.enqueue(inmail(user)).await);
    }
    bench.enqueue(to_chat("c", "chat")).await;
    // These are not deferred: an InMail to an applicant costs nothing, and Recruiter has a balance of its own.
    let applicant = json!({ "linkedin": { "classic": { "inmail": true, "applicant": { "id": "a", "messaging_token": "t" } } } });
    bench
        .enqueue(NewMessage { text: "applicant".into(), ..with(applicant, to_user("a", Inbox::OfPolicy)) })
        .await;
    let behind = bench.enqueue(NewMessage { text: "behind".into(), ..to_user("2", Inbox::OfPolicy) }).await;
    bench.start().await;
    bench.until_sent(1).await;
    bench.provider.set_credits(&[("classic", 5)]);
    bench.until_sent(3).await;
    bench.advance(seconds(600)).await;
    assert_eq!(texts(&bench), ["to 1", "chat", "applicant"]);
    assert_eq!(bench.state(behind).await.0, StateName::Queued, "order to one person is kept");

    let view = bench.store().message(inmails[1], bench.clock_now()).await.unwrap().unwrap();
    let explained = bench.handle().explain(&view).await.unwrap();
    assert_eq!(explained.wait_status.reason, Reason::InmailCredits);
    let closed: Vec<Reason> =
        explained.gates.iter().filter(|gate| gate.closed.is_some()).map(|gate| gate.reason).collect();
    assert_eq!(closed, [Reason::InmailCredits], "and no other gate claims it");
    assert_eq!(view.error.as_deref(), Some("5 classic credits are left and 5 are kept back"));
    let account = bench.store().accounts().await.unwrap().remove(0);
    let daemon = bench.store().totals().await.unwrap().daemon;
    let wait_status = bench.handle().account_wait_status(&account, &daemon).await.unwrap().unwrap();
    assert_eq!(wait_status.reason, Reason::InmailCredits);

    // A new InMail waits with the others, without a read; so do all of them after a restart.
    let reads = facts(&bench, "credits");
    let late = bench.enqueue(inmail("4")).await;
    bench.settle().await;
    bench.restart().await;
    bench.settle().await;
    assert_eq!(why(&bench, late).await.1, Reason::InmailCredits);
    assert_eq!(bench.queue().value("SELECT retries FROM messages WHERE text = 'to 4'"), "0");
    assert_eq!(facts(&bench, "credits"), reads);

    bench.provider.set_credits(&[("classic", 10)]);
    bench.until_sent(7).await;
    assert_eq!(texts(&bench)[3..], ["to 2", "to 3", "behind", "to 4"]);
    assert!(bench.sends()[3].at_ms >= 3_600_000, "read again after an hour: {:?}", bench.sends());
    assert!(super::gaps(&bench).iter().all(|gap| *gap >= 10_000), "seed {SEED}: {:?}", bench.sends());
    let events = bench
        .queue()
        .lines("SELECT kind, detail FROM events WHERE kind LIKE 'account.inmails%' ORDER BY seq");
    let held = "account.inmails_held|5 classic credits are left and 5 are kept back";
    assert_eq!(events, [held, "account.inmails_released|classic"]);
    bench.finish().await;
}

/// An operator who lowers the reserve does not wait until the credits are read again.
#[tokio::test]
async fn a_lower_reserve_concerns_inmails_that_wait_already() {
    let mut bench = Bench::new(SEED).await;
    bench.provider.set_credits(&[("classic", 5)]);
    let waits = bench.enqueue(inmail("1")).await;
    bench.start().await;
    bench.advance(seconds(60)).await;
    assert_eq!(why(&bench, waits).await.1, Reason::InmailCredits);
    bench.policy.inmail.reserve = 4;
    let lower = bench.policy.clone();
    bench.handle().set_policy(account("1"), lower);
    bench.until_sent(1).await;
    assert!(bench.sends()[0].at_ms < 120_000, "{:?}", bench.sends());
    bench.finish().await;
}

#[tokio::test]
async fn credits_are_read_anew_before_each_inmail_and_are_not_guessed() {
    let mut bench = Bench::new(SEED).await;
    bench.enqueue(inmail("1")).await;
    bench.enqueue(inmail("2")).await;
    bench.start().await;
    bench.until_sent(2).await;
    assert_eq!(facts(&bench, "credits"), 3, "two for the InMails, one beside the sending");
    bench.provider.break_facts(&["credits"]);
    let id = bench.enqueue(inmail("3")).await;
    bench.enqueue(to_chat("c", "chat")).await;
    bench.until_sent(3).await;
    assert_eq!(texts(&bench)[2], "chat");
    let (_, reason, error) = why(&bench, id).await;
    assert_eq!(reason, Reason::InmailCredits);
    assert!(error.starts_with("the credits could not be read: outboxd/timeout"), "{error}");
    bench.provider.break_facts(&[]);
    bench.until_sent(4).await;
    assert!(bench.sends()[3].at_ms - bench.sends()[2].at_ms <= 80_000, "a minute and a gap later");

    bench.provider.set_credits(&[("recruiter", 100)]);
    let id = bench.enqueue(inmail("4")).await;
    bench.advance(seconds(60)).await;
    assert_eq!(why(&bench, id).await.2, "the account has no subscription with InMail");
    bench.finish().await;
}

#[tokio::test]
async fn recruiter_has_a_balance_of_its_own_if_it_tells_one_and_its_mail_needs_none() {
    let mut bench = Bench::new(SEED).await;
    bench.provider.set_inboxes(&[("RECRUITER_PRIMARY", false)]);
    bench.provider.set_credits(&[("classic", 10), ("recruiter", 5)]);
    let recruiter = |user: &str, extra: Value| {
        let mut recruiter = json!({ "subject": "s", "signature": "g" });
        recruiter.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let specifics = json!({ "linkedin": { "recruiter": recruiter } });
        NewMessage { text: user.into(), ..with(specifics, to_user(user, Inbox::OfPolicy)) }
    };
    let held = bench.enqueue(recruiter("inmail", json!({}))).await;
    bench.enqueue(recruiter("mail", json!({ "send_as": "EMAIL" }))).await;
    bench.start().await;
    bench.until_sent(1).await;
    bench.advance(seconds(60)).await;
    assert_eq!((texts(&bench), why(&bench, held).await.1), (vec!["mail".to_owned()], Reason::InmailCredits));
    bench.provider.set_credits(&[("classic", 0)]);
    bench.until_sent(2).await;
    assert_eq!(texts(&bench)[1], "inmail", "where no balance is told, the provider judges");
    bench.finish().await;
}

#[tokio::test]
async fn a_refusal_that_hints_at_credits_holds_the_inmails_and_is_tried_again_only_so_often() {
    let mut bench = Bench::new(SEED).await;
    bench.policy.retry.max_retries = 1;
    bench.provider.script(vec![Answer::RefusedForCredits, Answer::Sent, Answer::RefusedForCredits]);
    let first = bench.enqueue(inmail("1")).await;
    let second = bench.enqueue(inmail("2")).await;
    bench.enqueue(to_chat("c", "chat")).await;
    bench.start().await;
    bench.until_sent(2).await;
    bench.settle().await;
    assert_eq!(texts(&bench), ["to 1", "chat"], "the other InMail waits");
    for id in [first, second] {
        let (state, reason, _) = why(&bench, id).await;
        assert_eq!((state, reason), (StateName::Queued, Reason::InmailCredits));
    }
    bench.until_sent(4).await;
    bench.settle().await;
    assert!(bench.sends()[2].at_ms >= 3_600_000);
    assert_eq!(bench.state(first).await, (StateName::Failed, Reason::RetriesSpent));
    bench.until(|bench| bench.provider.accepted().len() == 2).await;
    assert_eq!(texts(&bench)[2..], ["to 1", "to 2"]);
    bench.finish().await;
}

fn routed(bench: &mut Bench) {
    bench.policy.route = Route::ExistingChat;
    bench.policy.typing.enabled = true;
}

#[tokio::test]
async fn a_first_message_goes_into_the_chat_that_exists_with_typing_and_says_why() {
    let mut bench = Bench::new(SEED).await;
    routed(&mut bench);
    bench.provider.set_chats_with("known", &["2-latest", "2-older"]);
    let known = bench.enqueue(to_user("known", Inbox::OfPolicy)).await;
    let new = bench.enqueue(to_user("new", Inbox::OfPolicy)).await;
    // Options that only starting a chat supports start one.
    let topic = json!({ "linkedin": { "classic": { "company_topic": "CAREERS" } } });
    bench.provider.set_chats_with("12345", &["2-organization"]);
    bench.enqueue(with(topic, to_user("12345", Inbox::OfPolicy))).await;
    bench.start().await;
    bench.until_sent(3).await;
    bench.settle().await;
    let chats: Vec<String> = bench.sends().into_iter().map(|send| send.chat).collect();
    assert_eq!(chats, ["2-latest", "user new from CLASSIC_PRIMARY", "user 12345 from CLASSIC_PRIMARY"]);
    let typing: Vec<String> =
        bench.provider.calls_of(Kind::Composing).into_iter().map(|call| call.chat).collect();
    assert_eq!(typing, ["2-latest"]);
    assert_eq!(bench.provider.calls_of(Kind::Read).len(), 2, "one look for each");
    assert_paced(&bench, "routed");
    let view = bench.store().message(known, bench.clock_now()).await.unwrap().unwrap();
    let why = "existing chat 2-latest: Unipile knows it as the chat with this person";
    assert_eq!((view.chat_id.as_deref(), view.route.as_deref()), (Some("2-latest"), Some(why)));
    let view = bench.store().message(new, bench.clock_now()).await.unwrap().unwrap();
    assert_eq!(view.route.as_deref(), Some("new chat: Unipile knows no chat with this person"));
    let events = bench.queue().lines("SELECT detail FROM events WHERE kind = 'route.chosen' ORDER BY seq");
    assert_eq!(events.len(), 2, "{events:?}");
    bench.finish().await;
}

#[tokio::test]
async fn a_look_up_that_fails_never_guesses_and_holds_only_its_message() {
    let mut bench = Bench::new(SEED).await;
    routed(&mut bench);
    bench.provider.set_chats_with("known", &["2-latest"]);
    bench.provider.break_facts(&["chats_with"]);
    let id = bench.enqueue(to_user("known", Inbox::OfPolicy)).await;
    bench.enqueue(to_chat("c", "chat")).await;
    bench.start().await;
    bench.until_sent(1).await;
    assert_eq!(texts(&bench), ["chat"]);
    let (state, reason, error) = why(&bench, id).await;
    assert_eq!((state, reason), (StateName::Queued, Reason::ChatLookup));
    assert!(error.starts_with("outboxd/timeout"), "{error}");
    bench.advance(seconds(1200)).await;
    assert_eq!(bench.sends().len(), 1, "however long it lasts");
    assert_eq!(bench.queue().value("SELECT retries FROM messages WHERE seq = 1"), "0");
    bench.provider.break_facts(&[]);
    bench.until_sent(2).await;
    assert_eq!(bench.sends()[1].chat, "2-latest");
    bench.finish().await;
}

#[tokio::test]
async fn an_attempt_that_is_repeated_looks_again() {
    let mut bench = Bench::new(SEED).await;
    routed(&mut bench);
    bench.provider.script(vec![Answer::NotSent]);
    bench.enqueue(to_user("u", Inbox::OfPolicy)).await;
    bench.start().await;
    bench.until_sent(1).await;
    bench.provider.set_chats_with("u", &["2-meanwhile"]);
    bench.until_sent(2).await;
    let chats: Vec<String> = bench.sends().into_iter().map(|send| send.chat).collect();
    assert_eq!(chats, ["user u from CLASSIC_PRIMARY", "2-meanwhile"]);
    bench.finish().await;
}
