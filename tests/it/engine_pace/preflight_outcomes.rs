//! H6: a preflight read that is rate-limited rests the account, and one that is refused for good ends with a reason.

use std::time::Duration;

use outboxd::domain::message::{Inbox, MessageId, NewMessage};
use outboxd::domain::observed::Unread;
use outboxd::domain::outcome::{Hold, ProviderError};
use outboxd::domain::policy::Route;
use outboxd::domain::reason::Reason;
use outboxd::domain::state::StateName;

use super::SEED;
use super::bench::Bench;
use super::carrier::{Answer, Kind};
use super::preflight::inmail;
use super::time::seconds;
use crate::queue::{account, to_chat, to_user};

fn unread(kind: &str, status: u16, detail: &str, hold: Option<Hold>) -> Option<Unread> {
    let problem = ProviderError {
        status: Some(status),
        kind: kind.into(),
        detail: Some(detail.into()),
        ..ProviderError::default()
    };
    Some(Unread { problem: Box::new(problem), down: None, hold })
}

fn limited(said: Option<Duration>) -> Option<Unread> {
    unread("api/too_many_requests", 429, "", Some(Hold::Account(said)))
}

async fn why(bench: &Bench, id: MessageId) -> (StateName, Reason, String) {
    let view = bench.store().message(id, bench.clock_now()).await.unwrap().unwrap();
    (view.state, view.reason, view.error.unwrap_or_default())
}

/// Enqueues one first message for each of five people, and makes the read of `which` fail.
async fn bench(which: &'static str, fails: Option<Unread>) -> (Bench, Vec<MessageId>) {
    let mut bench = Bench::new(SEED).await;
    bench.policy.route = if which == "chats_with" { Route::ExistingChat } else { bench.policy.route };
    bench.provider.set_unread(which, fails);
    let mut ids = Vec::new();
    for n in 0..5 {
        let message = match which {
            "credits" => inmail(&format!("u{n}")),
            _ => to_user(&format!("u{n}"), Inbox::OfPolicy),
        };
        ids.push(bench.enqueue(message).await);
    }
    (bench, ids)
}

fn reads(bench: &Bench, which: &str) -> Vec<u64> {
    let kind = if which == "chats_with" { Kind::Read } else { Kind::Fact };
    let calls = bench.provider.calls_of(kind).into_iter();
    calls.filter(|call| kind == Kind::Read || call.chat == which).map(|call| call.at_ms).collect()
}

#[tokio::test]
async fn a_limited_look_up_rests_the_account_for_as_long_as_it_says() {
    for which in ["chats_with", "inboxes", "credits"] {
        let (mut bench, ids) = bench(which, limited(Some(seconds(600)))).await;
        bench.enqueue(to_chat("c", "in a chat")).await;
        bench.start().await;
        bench.advance(seconds(590)).await;
        // The account's data is read once more, independently of the sends.
        assert!(reads(&bench, which).len() <= 2, "{which}: {:?}", reads(&bench, which));
        assert_eq!(bench.sends().len(), 0, "{which}: the whole account rests");
        let hold = bench.store().accounts().await.unwrap().remove(0).account.hold.unwrap();
        assert_eq!(hold.reason, Reason::ApiRateLimited, "{which}");
        bench.provider.set_unread(which, None);
        bench.until_sent(6).await;
        assert!((605_000..=625_000).contains(&bench.sends()[0].at_ms), "{which}: {:?}", bench.sends()[0]);
        for id in ids {
            let (state, _, _) = why(&bench, id).await;
            assert!(matches!(state, StateName::Sent | StateName::Sending), "{which}");
        }
        bench.finish().await;
    }
}

#[tokio::test]
async fn a_look_up_that_the_provider_throttles_is_a_cooldown() {
    for which in ["chats_with", "inboxes", "credits"] {
        let (mut bench, _) = bench(which, unread("provider/too_many_requests", 429, "", None)).await;
        bench.start().await;
        bench.advance(seconds(60)).await;
        let account = bench.store().accounts().await.unwrap().remove(0).account;
        let hold = account.hold.unwrap();
        assert_eq!((hold.reason, account.history.throttles), (Reason::Cooldown, 1), "{which}");
        assert!(account.history.throttled_at.is_some(), "{which}");
        let before = reads(&bench, which).len();
        bench.advance(seconds(3600)).await;
        assert!(reads(&bench, which).len() <= before + 4, "{which}: {:?}", reads(&bench, which));
        assert_eq!(bench.sends().len(), 0);
        bench.finish().await;
    }
}

#[tokio::test]
async fn a_chat_that_may_not_be_looked_up_is_started() {
    for (kind, status) in [
        ("provider/insufficient_permissions", 403),
        ("provider/resource_not_found", 404),
        ("api/not_implemented", 501),
        ("api/invalid_parameters", 400),
    ] {
        let (mut bench, ids) = bench("chats_with", unread(kind, status, "No.", None)).await;
        bench.start().await;
        bench.until_sent(5).await;
        bench.settle().await;
        assert!(bench.sends().iter().all(|send| send.chat.ends_with("from CLASSIC_PRIMARY")), "{kind}");
        let view = bench.store().message(ids[0], bench.clock_now()).await.unwrap().unwrap();
        assert!(view.route.unwrap().starts_with("new chat: the look-up was refused: "), "{kind}");
        bench.finish().await;
    }
}

#[tokio::test]
async fn a_user_id_that_is_invalid_fails_its_message_with_the_words() {
    let (mut bench, ids) =
        bench("chats_with", unread("provider/invalid_parameters", 400, "Invalid User ID.", None)).await;
    bench.enqueue(to_chat("c", "in a chat")).await;
    bench.start().await;
    bench.until_sent(1).await;
    assert_eq!(bench.sends()[0].text, "in a chat");
    for id in ids {
        let (state, reason, error) = why(&bench, id).await;
        assert_eq!((state, reason), (StateName::Failed, Reason::Refused));
        assert!(error.contains("Invalid User ID."), "{error}");
    }
    bench.finish().await;
}

#[tokio::test]
async fn credits_that_may_not_be_read_fail_the_inmail_with_the_words() {
    let refused = unread("provider/insufficient_permissions", 403, "No subscription.", None);
    let (mut bench, ids) = bench("credits", refused).await;
    bench.enqueue(to_chat("c", "in a chat")).await;
    bench.start().await;
    bench.advance(seconds(120)).await;
    assert_eq!(bench.sends().iter().map(|send| send.text.as_str()).collect::<Vec<_>>(), ["in a chat"]);
    for id in ids {
        let (state, reason, error) = why(&bench, id).await;
        assert_eq!((state, reason), (StateName::Failed, Reason::Refused));
        assert!(error.contains("No subscription."), "{error}");
    }
    bench.finish().await;
}

#[tokio::test]
async fn inboxes_that_may_not_be_read_keep_nobody() {
    let (mut bench, _) = bench("inboxes", unread("api/not_implemented", 501, "", None)).await;
    bench.start().await;
    bench.until_sent(5).await;
    assert_eq!(bench.sends()[0].at_ms, 0);
    bench.finish().await;
}

/// Account data that cannot be read is read again after growing pauses.
#[tokio::test]
async fn account_data_that_is_refused_is_read_less_and_less_often() {
    let mut bench = Bench::new(SEED).await;
    bench.provider.set_unread("credits", unread("api/not_implemented", 501, "", None));
    let tomorrow = Some(bench.clock_now() + seconds(86_400));
    bench.enqueue(NewMessage { not_before: tomorrow, ..to_chat("c", "x") }).await;
    bench.start().await;
    bench.advance(seconds(4 * 3600)).await;
    let times = reads(&bench, "credits");
    assert!((4..=9).contains(&times.len()), "{times:?}");
    bench.provider.set_unread("credits", limited(Some(seconds(7200))));
    bench.advance(seconds(4 * 3600)).await;
    bench.provider.set_unread("credits", None);
    bench.advance(seconds(8 * 3600)).await;
    let known = bench.store().snapshots(&[&account("1")]).await.unwrap().remove(&account("1")).unwrap();
    assert_eq!(known.problem, None);
    bench.finish().await;
}

/// H5: the time shown for the next read of an uncertain message's chat is the time at which it is read.
#[tokio::test]
async fn a_limited_read_back_is_repeated_when_the_answer_allows_it() {
    let mut bench = Bench::new(SEED).await;
    bench.provider.script(vec![Answer::Unknown]);
    bench.provider.set_unread("messages", limited(Some(seconds(7200))));
    let id = bench.enqueue(to_chat("a", "unknown")).await;
    bench.start().await;
    bench.advance(seconds(120)).await;
    let [first] = reads_back(&bench)[..] else { panic!("{:?}", reads_back(&bench)) };
    let left = read_back_in(&bench, id).await;
    assert!((7000..=7200).contains(&left), "{left}");
    bench.advance(seconds(7000)).await;
    assert_eq!(reads_back(&bench), [first], "it was read before the time that the answer asked for");
    bench.provider.set_unread("messages", None);
    bench.advance(seconds(300)).await;
    assert_eq!(reads_back(&bench)[1] - first, 7_200_000);
    bench.finish().await;
}

/// H5: after a restart a time that no pause of the schedule explains comes nearer, and what is shown is when it is read.
#[tokio::test]
async fn a_restart_reads_a_chat_back_at_the_time_that_is_shown() {
    const LONGEST: i64 = 1200;
    let mut bench = Bench::new(SEED).await;
    bench.provider.script(vec![Answer::Unknown]);
    bench.provider.set_unread("messages", limited(Some(seconds(24 * 3600))));
    let id = bench.enqueue(to_chat("a", "unknown")).await;
    bench.start().await;
    bench.advance(seconds(120)).await;
    // A wait that the answer asked for, then one that a wrong clock wrote.
    for reads in 1..=2 {
        bench.stop(seconds(0)).await;
        if reads == 2 {
            let far =
                "DROP TRIGGER messages_update; UPDATE messages SET reconcile_at = '2036-01-01T00:00:00.000Z'";
            bench.queue().sql().execute_batch(far).unwrap();
        }
        bench.reopen().await;
        bench.advance(seconds(10)).await;
        let left = read_back_in(&bench, id).await;
        assert!((LONGEST - 30..=LONGEST).contains(&left), "{left}");
        bench.advance(seconds(u64::try_from(left).unwrap() - 5)).await;
        assert_eq!(reads_back(&bench).len(), reads, "it was read before the time that is shown");
        bench.advance(seconds(30)).await;
        assert_eq!(reads_back(&bench).len(), reads + 1);
    }
    bench.finish().await;
}

/// Returns in how many seconds a chat is read back, as it is shown.
async fn read_back_in(bench: &Bench, id: MessageId) -> i64 {
    let view = bench.store().message(id, bench.clock_now()).await.unwrap().unwrap();
    view.reconcile_at.unwrap().duration_since(bench.clock_now()).as_secs()
}

fn reads_back(bench: &Bench) -> Vec<u64> {
    bench.provider.calls_of(Kind::Read).into_iter().map(|call| call.at_ms).collect()
}
