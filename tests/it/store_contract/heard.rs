//! What was heard changes the queue, each thing once, and before the intent (P5).

use std::time::Duration;

use jiff::Timestamp;
use outboxd::domain::heard::{Effect, Heard, HeardMessage, Meaning, News, Receipt};
use outboxd::domain::message::{ChatId, Inbox, MessageId, NewMessage};
use outboxd::domain::policy::ReplyPolicy;
use outboxd::domain::reason::Reason;
use outboxd::domain::state::{Settled, StateName};
use outboxd::domain::stop::{NewStop, StopKey, StopReason, StopScope};
use outboxd::store::{Asker, Begun, Consequences, NewWebhook, ToHear};

use crate::queue::{Queue, account, at, sent, to_chat, to_user};

const REPLY: ReplyPolicy = ReplyPolicy {
    check: true,
    owner_wrote: Duration::from_secs(72 * 3600),
    out_of_office: Duration::from_secs(7 * 86_400),
    everywhere: false,
    keep_bodies: false,
};

fn of_campaign(message: NewMessage) -> NewMessage {
    NewMessage { campaign: Some("autumn".into()), ..message }
}

fn message(id: &str, is_sender: Option<bool>, at: Timestamp) -> HeardMessage {
    HeardMessage {
        chat_id: ChatId::new("c"),
        message_id: id.into(),
        sender_id: Some(if is_sender == Some(true) { "me".into() } else { "U1".into() }),
        is_sender,
        at,
        meaning: Meaning::Reply,
        is_edited: false,
        text: "words".into(),
    }
}

async fn hear(queue: &Queue, news: News, webhook: Option<i64>, now: Timestamp) -> Consequences {
    let heard = Heard { account_id: account("1"), news, person: None };
    let to_hear = ToHear { says: Ok((heard, REPLY)), webhook };
    queue.store.hear(vec![to_hear], now).await.unwrap().remove(0)
}

/// Sends a first message of a campaign into chat `c`; its id at the provider is `m1`.
async fn begun(queue: &Queue) -> MessageId {
    let first = queue.enqueue(of_campaign(to_chat("c", "first")), at(0)).await;
    queue.attempt(first, 1, sent()).await;
    first
}

#[tokio::test]
async fn an_answer_between_the_claim_and_the_intent_stops_the_message() {
    let queue = Queue::new().await;
    begun(&queue).await;
    let second = queue.enqueue(of_campaign(to_chat("c", "second")), at(200)).await;
    let seq = queue.view(second).await.seq;
    // As if the row were queued again after the answer had cancelled what waited.
    let done = hear(&queue, News::Message(message("r1", Some(false), at(300))), None, at(300)).await;
    assert_eq!((done.effect, done.cancelled), (Some(Effect::Replied), 1));
    assert_eq!(queue.state(second).await, (StateName::Cancelled, Reason::Replied));
    let late = queue.enqueue(of_campaign(to_chat("c", "late")), at(301)).await;
    assert_eq!(queue.begin(late, 1, at(302)).await, Begun::Withdrawn, "the campaign was answered");
    assert!(queue.store.cancel_answered(queue.view(late).await.seq, at(303)).await.unwrap());
    assert!(!queue.store.cancel_answered(seq, at(303)).await.unwrap(), "it was cancelled before");
    // What is not of the campaign, and was queued after the answer, is a new matter.
    let another = queue.enqueue(to_chat("c", "another"), at(304)).await;
    assert_eq!(queue.begin(another, 1, at(305)).await, Begun::Granted);
    queue.check();
}

#[tokio::test]
async fn an_answer_in_another_chat_of_the_person_stops_as_well() {
    let queue = Queue::new().await;
    let first = queue.enqueue(of_campaign(to_user("U1", Inbox::OfPolicy)), at(0)).await;
    queue.attempt(first, 1, sent()).await;
    let follow_up = NewMessage { text: "again".into(), ..of_campaign(to_user("U1", Inbox::OfPolicy)) };
    let second = queue.enqueue(follow_up, at(200)).await;
    let elsewhere = HeardMessage { chat_id: ChatId::new("other"), ..message("r1", None, at(300)) };
    assert_eq!(hear(&queue, News::Message(elsewhere), None, at(300)).await.cancelled, 1);
    assert_eq!(queue.state(second).await, (StateName::Cancelled, Reason::Replied));
}

/// A provider may have several ids for one person.
#[tokio::test]
async fn what_a_person_writes_under_another_id_stops_what_is_queued_for_the_chat_with_them() {
    for (meaning, reason) in [(Meaning::Reply, Reason::Replied), (Meaning::OptOut, Reason::Suppressed)] {
        let queue = Queue::new().await;
        let first = queue.enqueue(of_campaign(to_user("U1", Inbox::OfPolicy)), at(0)).await;
        let settled =
            Settled::Sent { at: at(1), chat_id: Some(ChatId::new("c")), message_ids: vec!["m1".into()] };
        queue.attempt(first, 1, settled).await;
        let second = queue.enqueue(of_campaign(to_chat("c", "again")), at(200)).await;
        let known = HeardMessage { sender_id: Some("ACw1".into()), meaning, ..message("r1", None, at(300)) };
        assert_eq!(hear(&queue, News::Message(known), None, at(300)).await.cancelled, 1, "{meaning:?}");
        assert_eq!(queue.state(second).await, (StateName::Cancelled, reason));
    }
}

/// What is queued for a chat of which outboxd knows only the id is for the person who wrote in it.
#[tokio::test]
async fn a_wish_and_an_absence_hold_for_the_chat_in_which_they_were_written() {
    let queue = Queue::new().await;
    let first = queue.enqueue(to_chat("c", "an answer to U1"), at(0)).await;
    let away = HeardMessage { meaning: Meaning::OutOfOffice(None), ..message("r1", Some(false), at(1)) };
    hear(&queue, News::Message(away), None, at(1)).await;
    assert_eq!(queue.state(first).await, (StateName::Queued, Reason::OutOfOffice));
    let wish = HeardMessage { meaning: Meaning::OptOut, ..message("r2", Some(false), at(2)) };
    assert_eq!(hear(&queue, News::Message(wish), None, at(2)).await.cancelled, 1);
    assert_eq!(queue.state(first).await, (StateName::Cancelled, Reason::Suppressed));
    const STOPS: &str = "SELECT group_concat(scope || ' ' || key) FROM stops WHERE reason = 'suppressed'";
    assert_eq!(queue.value(STOPS), "person U1,chat c");
}

#[tokio::test]
async fn what_was_heard_in_a_chat_holds_for_its_person_once_they_are_known() {
    let queue = Queue::new().await;
    for (id, meaning) in [("r1", Meaning::OutOfOffice(None)), ("r2", Meaning::OptOut)] {
        let heard = HeardMessage { meaning, sender_id: None, ..message(id, Some(false), at(1)) };
        hear(&queue, News::Message(heard), None, at(1)).await;
    }
    const STOPS: &str = "SELECT group_concat(scope || ' ' || key || ' ' || reason, ',') FROM (SELECT * FROM stops ORDER BY scope, reason)";
    let chat = "chat c out_of_office,chat c suppressed";
    assert_eq!(queue.value(STOPS), chat);
    let first = queue.enqueue(to_user("U1", Inbox::OfPolicy), at(2)).await;
    let learn = |account: &str, person: &str, at: &str| {
        let sql = "INSERT INTO conversations (account_id, chat_id, user_id, source, at) VALUES (?1, 'c', ?2, 'read', ?3)";
        queue.sql().execute(sql, [account, person, at]).expect("a conversation");
    };
    learn("acc_1", "U1", "2026-11-22T09:00:02.000Z");
    // Another account has a chat with the same id, which the wish concerns, and the absence does not.
    learn("acc_2", "U2", "2026-11-22T09:00:02.000Z");
    let people = "person U1 out_of_office,person U1 suppressed,person U2 suppressed";
    assert_eq!(queue.value(STOPS), format!("{chat},{people}"));
    assert_ne!(queue.begin(first, 1, at(3)).await, Begun::Granted);
    // An absence that is over by then holds nothing.
    queue.sql().execute("DELETE FROM conversations", []).expect("forgotten");
    queue.sql().execute("DELETE FROM stops WHERE scope = 'person'", []).expect("lifted");
    learn("acc_1", "U1", "2036-11-22T09:00:02.000Z");
    assert_eq!(queue.value(STOPS), format!("{chat},person U1 suppressed"));
    queue.check();
}

#[tokio::test]
async fn our_own_echo_is_neither_an_answer_nor_the_owner() {
    let queue = Queue::new().await;
    begun(&queue).await;
    let ids = queue.value("SELECT message_id FROM sent_ids");
    let second = queue.enqueue(of_campaign(to_chat("c", "second")), at(200)).await;
    for is_sender in [Some(true), Some(false), None] {
        let echo = HeardMessage { message_id: ids.clone(), ..message("", is_sender, at(300)) };
        assert_eq!(hear(&queue, News::Message(echo), None, at(300)).await.effect, Some(Effect::Own));
    }
    // The echo may come before the answer to its call: it is judged when the call is settled.
    assert_eq!(queue.begin(second, 1, at(400)).await, Begun::Granted);
    let early = News::Message(message("m-second", Some(true), at(401)));
    assert_eq!(hear(&queue, early.clone(), None, at(401)).await, Consequences::default());
    assert_eq!(queue.value("SELECT count(*) FROM stops"), "0");
    let settlement = queue.settlement(second, 1, sent()).await;
    assert!(queue.store.settle(settlement).await.unwrap());
    assert_eq!(
        hear(&queue, early, None, at(460)).await.effect,
        Some(Effect::Stopped(StopReason::OwnerWrote)),
        "another id than ours"
    );
}

/// A webhook without `is_sender` comes before the answer to the call, and the owner's user id is not known.
#[tokio::test]
async fn an_echo_of_which_nothing_says_that_it_is_ours_waits_for_the_answer_to_its_call() {
    let queue = Queue::new().await;
    begun(&queue).await;
    let second = queue.enqueue(of_campaign(to_chat("c", "second")), at(200)).await;
    let third = queue.enqueue(of_campaign(to_chat("c", "third")), at(200)).await;
    assert_eq!(queue.begin(second, 1, at(400)).await, Begun::Granted);
    let echo = HeardMessage { sender_id: Some("me".into()), ..message("m2", None, at(401)) };
    assert_eq!(hear(&queue, News::Message(echo.clone()), None, at(401)).await, Consequences::default());
    // Whom a message is of that names no sender is not known either.
    let nameless = HeardMessage { sender_id: None, ..message("x", None, at(401)) };
    assert_eq!(hear(&queue, News::Message(nameless), None, at(401)).await, Consequences::default());
    let settled = Settled::Sent { at: at(402), chat_id: None, message_ids: vec!["m2".into()] };
    let settlement = queue.settlement(second, 1, settled).await;
    assert!(queue.store.settle(settlement).await.unwrap());
    assert_eq!(hear(&queue, News::Message(echo), None, at(431)).await.effect, Some(Effect::Own));
    assert_eq!(queue.state(third).await.0, StateName::Queued, "our own words are no answer");
    // Now the owner's id is known, and another person's message waits for no call.
    assert_eq!(queue.begin(third, 1, at(600)).await, Begun::Granted);
    let answer = News::Message(message("r1", None, at(601)));
    assert_eq!(hear(&queue, answer, None, at(601)).await.effect, Some(Effect::Replied));
}

/// A chat with a known person is not the one that an unclear call to another person started.
#[tokio::test]
async fn the_owners_words_to_one_person_do_not_wait_for_a_call_to_another() {
    let queue = Queue::new().await;
    let first = queue.enqueue(of_campaign(to_user("U1", Inbox::OfPolicy)), at(0)).await;
    let chat = ChatId::new("with U1");
    let settled = Settled::Sent { at: at(1), chat_id: Some(chat.clone()), message_ids: vec!["m1".into()] };
    queue.attempt(first, 1, settled).await;
    let other = queue.enqueue(to_user("U2", Inbox::OfPolicy), at(100)).await;
    assert_eq!(queue.begin(other, 1, at(200)).await, Begun::Granted);
    let by_hand = HeardMessage { chat_id: chat, ..message("h1", Some(true), at(201)) };
    let done = hear(&queue, News::Message(by_hand), None, at(201)).await;
    assert_eq!(done.effect, Some(Effect::Stopped(StopReason::OwnerWrote)));
    // A chat of which nothing is known may be the one that the call starts.
    let unknown = HeardMessage { chat_id: ChatId::new("new"), ..message("h2", Some(true), at(201)) };
    assert_eq!(hear(&queue, News::Message(unknown), None, at(201)).await, Consequences::default());
}

#[tokio::test]
async fn a_sender_that_once_was_ours_is_ours_whatever_the_flag_says() {
    let queue = Queue::new().await;
    begun(&queue).await;
    let ids = queue.value("SELECT message_id FROM sent_ids");
    let echo = HeardMessage { message_id: ids, ..message("", Some(true), at(300)) };
    hear(&queue, News::Message(echo), None, at(300)).await;
    let waiting = queue.enqueue(of_campaign(to_chat("c", "second")), at(301)).await;
    let by_hand = HeardMessage { sender_id: Some("me".into()), ..message("h1", Some(false), at(310)) };
    let done = hear(&queue, News::Message(by_hand), None, at(310)).await;
    assert_eq!(done.effect, Some(Effect::Stopped(StopReason::OwnerWrote)));
    assert_eq!(queue.state(waiting).await, (StateName::Queued, Reason::OwnerWrote));
}

#[tokio::test]
async fn each_message_takes_effect_once_however_often_it_comes() {
    let queue = Queue::new().await;
    let first = begun(&queue).await;
    let mut results = Vec::new();
    for event in ["evt_1", "evt_2", "evt_1"] {
        let webhook = NewWebhook {
            event_id: event.into(),
            kind: "message.new".into(),
            account_id: Some(account("1")),
            body: "{}".into(),
        };
        queue.store.keep_webhook(webhook, at(300)).await.unwrap();
    }
    let (waiting, _) = queue.store.waiting_webhooks(10, at(301)).await.unwrap();
    assert_eq!(waiting.len(), 2, "the same event is kept once");
    for webhook in waiting {
        let news = News::Message(message("r1", Some(false), at(300)));
        results.push(hear(&queue, news, Some(webhook.seq), at(301)).await.effect);
    }
    assert_eq!(results, [Some(Effect::Replied), Some(Effect::Known)]);
    assert_eq!(queue.store.waiting_webhooks(10, at(400)).await.unwrap().0, []);
    assert_eq!(queue.value("SELECT count(*) FROM webhooks WHERE body IS NOT NULL"), "0", "words of others");
    assert_eq!(queue.value("SELECT count(*) FROM events WHERE kind = 'reply'"), "1");
    assert_eq!(queue.view(first).await.replied_at, Some(at(300)));
}

#[tokio::test]
async fn receipts_of_a_message_and_of_a_chat_set_their_times_once() {
    let queue = Queue::new().await;
    let first = begun(&queue).await;
    let id = queue.value("SELECT message_id FROM sent_ids");
    let sent_at = queue.view(first).await.sent_at.unwrap();
    let receipt = |message_id: Option<String>, seconds, is_read| {
        let at = sent_at + Duration::from_secs(seconds);
        News::Receipt(Receipt { message_id, chat_id: Some(ChatId::new("c")), user_id: None, at, is_read })
    };
    assert_eq!(
        hear(&queue, receipt(Some(id.clone()), 10, false), None, at(300)).await.effect,
        Some(Effect::Delivered)
    );
    assert_eq!(
        hear(&queue, receipt(Some("x".into()), 10, true), None, at(300)).await.effect,
        Some(Effect::Nothing)
    );
    assert_eq!(hear(&queue, receipt(None, 20, true), None, at(300)).await.effect, Some(Effect::Read));
    assert_eq!(hear(&queue, receipt(Some(id), 30, true), None, at(300)).await.effect, Some(Effect::Nothing));
    let view = queue.view(first).await;
    let after = |seconds| Some(sent_at + Duration::from_secs(seconds));
    assert_eq!((view.delivered_at, view.read_at), (after(10), after(20)));
    queue.check();
}

#[tokio::test]
async fn a_receipt_of_the_owner_marks_no_message_of_the_account() {
    let queue = Queue::new().await;
    let first = begun(&queue).await;
    let id = queue.value("SELECT message_id FROM sent_ids");
    // The owner's id is learned from a message of the account.
    hear(&queue, News::Message(message(&id, Some(true), at(100))), None, at(100)).await;
    let receipt = |message_id: Option<&String>, user_id: &str, is_read| {
        let (message_id, chat_id) = (message_id.cloned(), Some(ChatId::new("c")));
        News::Receipt(Receipt { message_id, chat_id, user_id: Some(user_id.into()), at: at(300), is_read })
    };
    for owner in ["me", account("1").as_str()] {
        for (message_id, is_read) in [(None, true), (None, false), (Some(&id), true), (Some(&id), false)] {
            let done = hear(&queue, receipt(message_id, owner, is_read), None, at(301)).await;
            assert_eq!(done.effect, Some(Effect::Nothing), "{owner} {message_id:?} {is_read}");
        }
    }
    let view = queue.view(first).await;
    assert_eq!((view.delivered_at, view.read_at), (None, None));
    let done = hear(&queue, receipt(None, "U1", true), None, at(302)).await;
    assert_eq!((done.effect, queue.view(first).await.read_at), (Some(Effect::Read), Some(at(300))));
    queue.check();
}

#[tokio::test]
async fn a_stop_withdraws_the_intent_of_a_message_that_it_has_not_reached() {
    let queue = Queue::new().await;
    let waiting = queue.enqueue(to_user("U1", Inbox::OfPolicy), at(0)).await;
    for (scope, key) in [("person", "U1"), ("campaign", "autumn")] {
        queue
            .sql()
            .execute(
                "INSERT INTO stops (scope, key, reason, actor, at) VALUES (?1, ?2, 'stopped', 'x', '2026-11-22T09:00:00.000Z')",
                [scope, key],
            )
            .unwrap();
    }
    assert_eq!(queue.begin(waiting, 1, at(10)).await, Begun::Withdrawn);
    queue.sql().execute("DELETE FROM stops WHERE scope = 'person'", []).unwrap();
    assert_eq!(queue.begin(waiting, 1, at(20)).await, Begun::Granted, "it is of no campaign");
    queue.check();
}

#[tokio::test]
async fn a_stop_follows_the_wall_clock_only_if_it_was_given_as_a_length() {
    let queue = Queue::new().await;
    let mut ids = Vec::new();
    for (user, has_length) in [("U1", true), ("U2", false)] {
        ids.push(queue.enqueue(to_user(user, Inbox::OfPolicy), at(0)).await);
        let key = StopKey { scope: StopScope::Person, key: user.into(), account_id: None };
        let (reason, until, actor) = (StopReason::Stopped, Some(at(7200)), "x".to_owned());
        let stop = NewStop { key, reason, until, has_length, actor, note: None };
        queue.store.stop(vec![stop], at(1)).await.unwrap();
    }
    let step = outboxd::store::ClockStep { from: at(10), to: at(3610) };
    let reading = outboxd::store::ClockReading { wall: at(3610), boot: None };
    queue.store.move_times(step, reading).await.unwrap();
    let waits: Vec<_> = [
        queue.view(ids[0]).await.waiting.unwrap().retry_at,
        queue.view(ids[1]).await.waiting.unwrap().retry_at,
    ]
    .to_vec();
    assert_eq!(waits, [Some(at(10_800)), Some(at(7200))]);
}

#[tokio::test]
async fn what_an_answer_stops_stays_the_same_when_the_wall_clock_is_set() {
    for by in [3600, -3600] {
        let queue = Queue::new().await;
        begun(&queue).await;
        hear(&queue, News::Message(message("r1", Some(false), at(300))), None, at(301)).await;
        let before = HeardMessage {
            chat_id: ChatId::new("d"),
            sender_id: None,
            ..message("r2", Some(false), at(300))
        };
        hear(&queue, News::Message(before), None, at(301)).await;
        let not_stopped = queue.enqueue(of_campaign(to_chat("d", "said before the campaign")), at(310)).await;
        let step = outboxd::store::ClockStep { from: at(400), to: at(400 + by) };
        let reading = outboxd::store::ClockReading { wall: at(400 + by), boot: None };
        queue.store.move_times(step, reading).await.unwrap();
        assert_eq!(
            queue.lines("SELECT at || ' ' || heard_at FROM inbound_messages WHERE message_id = 'r1'"),
            [format!(
                "{} {}",
                outboxd::domain::time_text(at(300 + by)),
                outboxd::domain::time_text(at(301 + by))
            )]
        );
        let follow_up = queue.enqueue(of_campaign(to_chat("c", "follow-up")), at(401 + by)).await;
        assert_eq!(queue.begin(follow_up, 1, at(10_000)).await, Begun::Withdrawn, "{by} s");
        assert_eq!(queue.begin(not_stopped, 1, at(10_001)).await, Begun::Granted, "{by} s");
    }
}

#[tokio::test]
async fn webhooks_that_arrive_at_once_are_kept_once_each_next_to_other_writes() {
    let queue = Queue::new().await;
    let webhook = |n: u32| NewWebhook {
        event_id: format!("evt_{}", n % 50),
        kind: "message.new".into(),
        account_id: n.is_multiple_of(2).then(|| account("1")),
        body: format!("{{\"n\":{}}}", n % 50),
    };
    let keep = |n| queue.store.keep_webhook(webhook(n), at(1));
    assert!(keep(7).await.unwrap());
    let all = futures_util::future::join_all((0..100).map(keep));
    let (kept, _id) = tokio::join!(all, queue.enqueue(to_chat("c", "hello"), at(1)));
    let new: Vec<bool> = kept.into_iter().map(Result::unwrap).collect();
    assert!(!new[7] && new.iter().filter(|is_new| **is_new).count() == 49, "{new:?}");
    let right = "SELECT count(*) FROM webhooks WHERE body = '{\"n\":' || substr(event_id, 5) || '}' \
         AND account_id IS iif(substr(event_id, 5) % 2 = 0, 'acc_1', NULL) AND received_at = ";
    assert_eq!(queue.value(&format!("{right}'{}'", outboxd::domain::time_text(at(1)))), "50");
    queue.check();
}

async fn set_clock(queue: &Queue, from: Timestamp, to: Timestamp) {
    let reading = outboxd::store::ClockReading { wall: to, boot: None };
    queue.store.move_times(outboxd::store::ClockStep { from, to }, reading).await.unwrap();
}

const DAY: i64 = 86_400;

#[tokio::test]
async fn an_answer_counts_although_the_clock_was_ahead_when_what_it_answers_was_sent() {
    // No cap counts the first message any more when the clock is set back.
    for days in [1, 10, 300] {
        let queue = Queue::new().await;
        begun(&queue).await;
        let second = queue.enqueue(of_campaign(to_chat("c", "second")), at(200)).await;
        set_clock(&queue, at(days * DAY), at((days - 2) * DAY)).await;
        let now = at((days - 2) * DAY + 10);
        let found =
            queue.store.candidates(Asker::Engine, &account("1"), now).await.unwrap().expect("it waits");
        let since = found.messages[0].ask.as_ref().map(|ask| ask.since);
        assert_eq!(since, Some(at(100 - 2 * DAY)), "the chat is read from the first message on");
        let answer = message("r1", Some(false), at(3600 - 2 * DAY));
        let done = hear(&queue, News::Message(answer), None, now).await;
        assert_eq!((done.effect, done.cancelled), (Some(Effect::Replied), 1), "after {days} days");
        assert_eq!(queue.state(second).await, (StateName::Cancelled, Reason::Replied));
    }
}

#[tokio::test]
async fn an_answer_that_was_heard_follows_the_clock_with_what_it_answers() {
    for by in [-2 * DAY, 2 * DAY] {
        let queue = Queue::new().await;
        // An answer to something else, then one to the campaign in another chat.
        hear(&queue, News::Message(message("r0", Some(false), at(-300))), None, at(-300)).await;
        begun(&queue).await;
        let second = queue.enqueue(of_campaign(to_chat("c", "second")), at(200)).await;
        set_clock(&queue, at(250), at(250 + by)).await;
        assert_eq!(queue.value("SELECT count(*) FROM answered"), "0", "by {by} s");
        let heard = at(300 + by);
        let done = hear(&queue, News::Message(message("r1", Some(false), heard)), None, heard).await;
        assert_eq!(done.cancelled, 1);
        assert_eq!(queue.state(second).await, (StateName::Cancelled, Reason::Replied));
        set_clock(&queue, at(400 + by), at(400 + by + by)).await;
        let late = queue.enqueue(of_campaign(to_chat("c", "late")), at(500 + by + by)).await;
        assert_eq!(queue.begin(late, 1, at(501 + by + by)).await, Begun::Withdrawn, "by {by} s");
    }
}
