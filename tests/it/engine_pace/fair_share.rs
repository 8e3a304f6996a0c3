//! Selection, as the engine runs it on a real queue: priorities, urgency, kinds, campaigns, one person.

use std::collections::BTreeSet;
use std::time::Duration;

use outboxd::domain::calendar::{Calendar, parse_spans};
use outboxd::domain::caps::parse_caps;
use outboxd::domain::kind::Kind;
use outboxd::domain::lane::Precedence;
use outboxd::domain::message::{Inbox, NewMessage};
use outboxd::domain::policy::{Breaks, Order};
use outboxd::domain::reason::Reason;
use outboxd::domain::state::StateName;
use outboxd::engine::{ForecastRequest, Until};
use outboxd::store::{PauseRequest, Scope};

use super::SEED;
use super::bench::Bench;
use super::time::seconds;
use crate::queue::{account, at, to_chat, to_user};

const HOUR: Duration = seconds(3600);

fn with_priority(priority: i8, text: &str) -> NewMessage {
    let precedence = Precedence { priority, ..Precedence::default() };
    NewMessage { precedence, ..to_chat(text, text) }
}

fn in_campaign(campaign: &str, n: usize) -> NewMessage {
    NewMessage { campaign: Some(campaign.into()), ..to_chat(&format!("{campaign}{n}"), campaign) }
}

fn texts(bench: &Bench) -> Vec<String> {
    bench.sends().into_iter().map(|call| call.text).collect()
}

#[tokio::test]
async fn the_higher_priority_goes_first_and_within_it_the_older() {
    let mut bench = Bench::new(SEED).await;
    for (priority, text) in [(0, "a"), (-5, "low"), (7, "high"), (0, "b"), (7, "high too")] {
        bench.enqueue(with_priority(priority, text)).await;
    }
    bench.start().await;
    bench.until_sent(1).await;
    // A later arrival goes first as well, if its priority is higher.
    bench.enqueue(with_priority(100, "highest")).await;
    bench.until_sent(6).await;
    assert_eq!(texts(&bench), ["high", "highest", "high too", "a", "b", "low"]);
    bench.finish().await;
}

#[tokio::test]
async fn a_used_up_cap_of_new_chats_lets_the_chats_go_on() {
    let mut bench = Bench::new(SEED).await;
    bench.policy.caps.list = parse_caps(Some(Kind::NewChat), "1/24h").unwrap();
    let person = |user: &str| NewMessage { text: user.into(), ..to_user(user, Inbox::OfPolicy) };
    bench.enqueue(person("u1")).await;
    let second = bench.enqueue(person("u2")).await;
    bench.enqueue(to_chat("c", "chat")).await;
    bench.start().await;
    bench.until_sent(2).await;
    assert_eq!(texts(&bench), ["u1", "chat"]);
    let view = bench.store().message(second, bench.clock_now()).await.unwrap().unwrap();
    let wait_status = bench.handle().explain(&view).await.unwrap().wait_status;
    assert_eq!((wait_status.reason, wait_status.until), (Reason::Cap, Some(Until::At(at(0) + 24 * HOUR))));
    bench.restart().await;
    bench.enqueue(to_chat("d", "another chat")).await;
    bench.until_sent(4).await;
    assert_eq!(texts(&bench)[2..], ["another chat", "u2"]);
    assert_eq!(bench.sends()[3].wall, at(0) + 24 * HOUR);
    bench.finish().await;
}

#[tokio::test]
async fn follow_ups_go_before_new_chats_where_the_policy_says_so() {
    for follow_ups_first in [true, false] {
        let mut bench = Bench::new(SEED).await;
        bench.policy.order = Order { follow_ups_first, ..bench.policy.order.clone() };
        bench.enqueue(NewMessage { text: "new".into(), ..to_user("u", Inbox::OfPolicy) }).await;
        bench.enqueue(to_chat("c", "chat")).await;
        bench.start().await;
        bench.until_sent(2).await;
        assert_eq!(texts(&bench)[0], if follow_ups_first { "chat" } else { "new" });
        bench.finish().await;
    }
}

#[tokio::test]
async fn campaigns_take_turns_by_weight_also_over_a_restart() {
    let mut bench = Bench::new(SEED).await;
    bench.policy.order.weights = vec![("big".into(), 2)];
    for n in 0..12 {
        bench.enqueue(in_campaign("big", n)).await;
    }
    for n in 0..6 {
        bench.enqueue(in_campaign("small", n)).await;
    }
    bench.start().await;
    bench.until_sent(5).await;
    bench.settle().await;
    bench.restart().await;
    bench.until_sent(9).await;
    let sent = texts(&bench);
    assert_eq!(sent.iter().filter(|text| *text == "small").count(), 3, "one of three: {sent:?}");
    for three in sent.chunks(3) {
        assert_eq!(three.iter().filter(|text| *text == "small").count(), 1, "{sent:?}");
    }
    bench.until_sent(18).await;
    assert_eq!(
        bench.queue().value("SELECT count(*) <= 2 FROM fair_shares"),
        "1",
        "what is behind is forgotten"
    );
    bench.finish().await;
}

/// A campaign that begins later takes turns with those that were served before; it does not catch up.
#[tokio::test]
async fn a_campaign_that_begins_later_does_not_take_every_turn() {
    let mut bench = Bench::new(SEED).await;
    for n in 0..16 {
        bench.enqueue(in_campaign("old", n)).await;
    }
    bench.start().await;
    bench.until_sent(10).await;
    for n in 0..4 {
        bench.enqueue(in_campaign("new", n)).await;
    }
    bench.until_sent(18).await;
    let sent = texts(&bench);
    for two in sent[10..].chunks(2) {
        assert_eq!(two.iter().filter(|text| *text == "new").count(), 1, "{sent:?}");
    }
    bench.finish().await;
}

#[tokio::test]
async fn an_urgent_message_keeps_the_gap_and_with_a_flag_not_the_hours() {
    let mut bench = Bench::new(SEED).await;
    let week = std::array::from_fn(|_| parse_spans("10:00-18:00").unwrap());
    bench.policy.calendar = Some(Calendar { week, ..Calendar::always() });
    let urgent = |ignore_hours, text: &str| {
        let precedence = Precedence { urgent: true, ignore_hours, ..Precedence::default() };
        NewMessage { precedence, ..to_chat(text, text) }
    };
    bench.enqueue(to_chat("c", "ordinary")).await;
    bench.enqueue(urgent(false, "urgent")).await;
    bench.enqueue(urgent(true, "at once")).await;
    bench.enqueue(urgent(true, "at once too")).await;
    bench.start().await;
    bench.until_sent(4).await;
    assert_eq!(texts(&bench), ["at once", "at once too", "urgent", "ordinary"]);
    let times: Vec<u64> = bench.sends().iter().map(|call| call.at_ms).collect();
    assert!(times[0] == 0 && (10_000..=20_002).contains(&times[1]), "seed {SEED}: {times:?}");
    assert_eq!(times[2], 3_600_000, "the hours open at ten");
    bench.finish().await;
}

#[tokio::test]
async fn the_same_person_is_not_started_with_again_for_a_while_and_nobody_waits_for_that() {
    let mut bench = Bench::new(SEED).await;
    bench.policy.order.per_recipient = 24 * HOUR;
    let person = |user: &str, text: &str| NewMessage { text: text.into(), ..to_user(user, Inbox::OfPolicy) };
    bench.enqueue(person("u1", "first")).await;
    let again = bench.enqueue(person("u1", "again")).await;
    bench.enqueue(person("u2", "other")).await;
    bench.start().await;
    bench.until_sent(2).await;
    bench.advance(HOUR).await;
    assert_eq!(texts(&bench), ["first", "other"]);
    let view = bench.store().message(again, bench.clock_now()).await.unwrap().unwrap();
    let wait_status = bench.handle().explain(&view).await.unwrap().wait_status;
    assert_eq!(
        (wait_status.reason, wait_status.until),
        (Reason::RecipientRest, Some(Until::At(at(0) + 24 * HOUR)))
    );
    bench.crash().await;
    bench.advance(HOUR).await;
    assert_eq!(bench.state(again).await.0, StateName::Queued);
    bench.until_sent(3).await;
    assert_eq!(bench.sends()[2].wall, at(0) + 24 * HOUR);
    bench.finish().await;
}

#[tokio::test]
async fn a_shorter_rest_concerns_messages_that_wait_already() {
    let mut bench = Bench::new(SEED).await;
    bench.policy.order.per_recipient = 24 * HOUR;
    let person = |user: &str, text: &str| NewMessage { text: text.into(), ..to_user(user, Inbox::OfPolicy) };
    for (user, text) in [("u1", "first"), ("u2", "other"), ("u1", "again"), ("u2", "other again")] {
        bench.enqueue(person(user, text)).await;
    }
    bench.start().await;
    bench.until_sent(2).await;
    bench.advance(HOUR).await;
    assert_eq!(texts(&bench), ["first", "other"]);
    bench.policy.order.per_recipient = 4 * HOUR;
    let shorter = bench.policy.clone();
    bench.handle().set_policy(account("1"), shorter);
    bench.until_sent(3).await;
    assert_eq!((texts(&bench)[2].as_str(), bench.sends()[2].wall), ("again", at(0) + 4 * HOUR));
    // The same if the rule changes while it is not running.
    bench.policy.order.per_recipient = Duration::ZERO;
    bench.restart().await;
    bench.until_sent(4).await;
    assert!(bench.sends()[3].wall < at(0) + 4 * HOUR + seconds(60), "{:?}", bench.sends()[3].wall);
    bench.finish().await;
}

#[tokio::test]
async fn the_forecast_is_what_the_engine_then_does() {
    let mut bench = Bench::new(SEED).await;
    bench.policy.caps.list = parse_caps(None, "12/hour").unwrap();
    bench.policy.order.weights = vec![("big".into(), 2)];
    bench.policy.rhythm.breaks =
        Some(Breaks { after_min: 4, after_max: 7, min: seconds(300), max: seconds(900) });
    let week = std::array::from_fn(|_| parse_spans("09:00-10:00, 11:00-11:30").unwrap());
    bench.policy.calendar = Some(Calendar { week, ..Calendar::always() });
    let mut ids = Vec::new();
    for n in 0..16 {
        ids.push(bench.enqueue(in_campaign("big", n)).await);
        ids.push(bench.enqueue(in_campaign("small", n)).await);
    }
    bench.enqueue(with_priority(5, "first")).await;
    // The forecast measures the length of a call by the account's first send, so that calls take no time in both.
    bench.provider.script(vec![]);
    bench.start().await;
    bench.until_sent(1).await;
    bench.settle().await;
    bench.restart().await;
    let request = ForecastRequest {
        account_id: None,
        campaigns: BTreeSet::new(),
        days: 5,
        runs: 1,
        lists: true,
        soon: None,
        with: Vec::new(),
    };
    let forecast = bench.handle().forecast(request).await.unwrap();
    let mut expected: Vec<jiff::Timestamp> =
        forecast.messages.iter().map(|(_, message)| message.at.unwrap()[1]).collect();
    expected.sort_unstable();
    bench.until_sent(33).await;
    let sent: Vec<jiff::Timestamp> = bench.sends()[1..].iter().map(|call| call.wall).collect();
    assert_eq!(sent, expected, "seed {SEED}");
    bench.finish().await;
}

/// The time shown for a message is when it goes; the account looks again when the first gate opens, because another
/// message may wait for less.
#[tokio::test]
async fn a_message_that_waits_for_less_than_the_first_of_its_class_goes_in_time() {
    let mut bench = Bench::new(SEED).await;
    bench.policy.order.per_recipient = 24 * HOUR;
    let person = |user: &str, text: &str| NewMessage { text: text.into(), ..to_user(user, Inbox::OfPolicy) };
    bench.enqueue(person("u1", "first")).await;
    bench.start().await;
    bench.until_sent(1).await;
    bench.settle().await;
    let until = bench.clock_now() + HOUR;
    let pause = PauseRequest { until: Some(until), ..PauseRequest::default() };
    bench.store().pause(Scope::Account(account("1")), pause, bench.clock_now()).await.unwrap();
    bench.enqueue(person("u1", "rests until tomorrow")).await;
    let free = bench.enqueue(person("u2", "free")).await;
    let view = bench.store().message(free, bench.clock_now()).await.unwrap().unwrap();
    let wait_status = bench.handle().explain(&view).await.unwrap().wait_status;
    // Another message of its lane may go first.
    let expected = (Reason::AccountPaused, Some(Until::NotBefore(until)));
    assert_eq!((wait_status.reason, wait_status.until), expected);
    bench.until_sent(2).await;
    assert_eq!(bench.sends()[1].text, "free");
    let late = bench.sends()[1].wall.duration_since(until);
    assert!((0..=20).contains(&late.as_secs()), "{late:?} after the time that was shown");
    bench.finish().await;
}

#[tokio::test]
async fn an_urgent_message_that_is_due_later_is_not_held_by_one_that_waits_for_the_hours() {
    let mut bench = Bench::new(SEED).await;
    // The clock begins at nine.
    let week = std::array::from_fn(|_| parse_spans("09:00-10:00").unwrap());
    bench.policy.calendar = Some(Calendar { week, ..Calendar::always() });
    bench.enqueue(NewMessage { not_before: Some(at(0) + 12 * HOUR), ..to_chat("a", "normal") }).await;
    let precedence = Precedence { urgent: true, ignore_hours: true, ..Precedence::default() };
    let urgent = NewMessage { not_before: Some(at(0) + 13 * HOUR), precedence, ..to_chat("b", "urgent") };
    bench.enqueue(urgent).await;
    bench.start().await;
    bench.advance(12 * HOUR + seconds(60)).await;
    bench.restart().await;
    bench.until_sent(1).await;
    assert_eq!((bench.sends()[0].text.as_str(), bench.sends()[0].wall), ("urgent", at(0) + 13 * HOUR));
    bench.finish().await;
}
