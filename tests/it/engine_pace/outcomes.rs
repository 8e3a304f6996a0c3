//! What an answer does to the message, to its chat, to its account and to everything.

use outboxd::domain::message::NewMessage;
use outboxd::domain::outcome::DownCause;
use outboxd::domain::reason::Reason;
use outboxd::domain::state::StateName;
use outboxd::engine::Until;
use outboxd::store::{Resumed, Scope};

use super::bench::Bench;
use super::carrier::{Answer, Kind};
use super::time::seconds;
use super::{SEED, assert_paced};
use crate::queue::{account, at, cancel, to_chat};

fn of(id: &str, chat: &str, text: &str) -> NewMessage {
    NewMessage { account_id: account(id), ..to_chat(chat, text) }
}

/// Returns when the sends of an account began, in milliseconds.
fn times(bench: &Bench, id: &str) -> Vec<u64> {
    let id = account(id);
    bench.sends().iter().filter(|call| call.account == id.as_str()).map(|call| call.at_ms).collect()
}

#[tokio::test]
async fn a_limit_of_the_api_holds_its_account_only_and_spends_nothing() {
    let mut bench = Bench::new(SEED).await;
    bench.provider.script_of(&account("1"), vec![Answer::ApiLimited(seconds(600))]);
    let limited = bench.enqueue(of("1", "a", "limited")).await;
    for n in 0..4 {
        bench.enqueue(of("2", &format!("c{n}"), "x")).await;
    }
    bench.start().await;
    bench.advance(seconds(100)).await;
    assert_eq!((times(&bench, "1").len(), times(&bench, "2").len()), (1, 4));
    let hold = bench.store().account(&account("1")).await.unwrap().unwrap().account.hold.unwrap();
    assert_eq!(hold.reason, Reason::ApiRateLimited);
    bench.until(|bench| times(bench, "1").len() == 2).await;
    let times = times(&bench, "1");
    assert!((605_000..=620_000).contains(&(times[1] - times[0])), "seed {SEED}: {times:?}");
    bench.settle().await;
    assert_eq!(bench.state(limited).await.0, StateName::Sent);
    assert_eq!(bench.queue().lines("SELECT attempts, retries FROM messages WHERE seq = 1"), ["2|0"]);
    bench.finish().await;
}

#[tokio::test]
async fn a_limit_of_the_provider_has_the_chat_read_back_and_rests_the_account() {
    let mut bench = Bench::new(SEED).await;
    bench.provider.script_of(&account("1"), vec![Answer::Throttled]);
    let throttled = bench.enqueue(of("1", "a", "throttled")).await;
    bench.enqueue(of("1", "b", "next")).await;
    bench.enqueue(of("2", "a", "other account")).await;
    bench.start().await;
    bench.advance(seconds(1799)).await;
    assert_eq!(bench.state(throttled).await, (StateName::Uncertain, Reason::Reconciling));
    bench.advance(seconds(5400)).await;
    assert_eq!((times(&bench, "1").len(), times(&bench, "2").len()), (1, 1));
    bench.advance(seconds(60)).await;
    assert_eq!(bench.state(throttled).await, (StateName::Review, Reason::NotInChat));
    let [first, second] = times(&bench, "1")[..] else { panic!("{:?}", times(&bench, "1")) };
    assert_eq!(second - first, 7_200_000, "the cooldown, to the second");
    assert_eq!(bench.sends().last().unwrap().text, "next");
    bench.finish().await;
}

#[tokio::test]
async fn an_unknown_outcome_waits_for_a_person_and_is_never_called_again() {
    let mut bench = Bench::new(SEED).await;
    bench.provider.script(vec![Answer::Unknown]);
    let unknown = bench.enqueue(to_chat("a", "unknown")).await;
    let behind = bench.enqueue(to_chat("a", "behind")).await;
    bench.enqueue(to_chat("b", "other chat")).await;
    bench.start().await;
    bench.advance(seconds(6 * 3600)).await;
    assert_eq!(bench.state(unknown).await, (StateName::Review, Reason::NotInChat));
    let texts: Vec<String> = bench.sends().into_iter().map(|call| call.text).collect();
    assert_eq!(texts, ["unknown", "other chat"]);
    let view = bench.store().message(behind, bench.handle().now()).await.unwrap().unwrap();
    let wait_status = bench.handle().explain(&view).await.unwrap().wait_status;
    assert_eq!((wait_status.reason, wait_status.until), (Reason::ChatOrder, Some(Until::Person)));
    bench.restart().await;
    bench.advance(seconds(3600)).await;
    assert_eq!(bench.sends().len(), 2, "a restart changes nothing about it");
    cancel(bench.store(), unknown, bench.clock_now()).await.unwrap();
    bench.handle().wake(account("1"));
    bench.until_sent(3).await;
    assert_eq!(bench.sends()[2].text, "behind", "a person has decided");
    bench.finish().await;
}

#[tokio::test]
async fn without_a_connection_a_read_finds_out_when_the_api_is_back_and_no_message_is_tried() {
    let mut bench = Bench::new(SEED).await;
    bench.policy.retry.max_retries = 2;
    bench.provider.script(vec![Answer::NoConnection]);
    bench.provider.break_facts(&["account", "groups"]);
    let id = bench.enqueue(to_chat("a", "x")).await;
    bench.start().await;
    bench.advance(seconds(600)).await;
    assert_eq!(bench.sends().len(), 1, "for as long as it takes");
    let health = bench.handle().api_health();
    assert!(health.failures >= 10, "{health:?}");
    let view = bench.store().message(id, bench.clock_now()).await.unwrap().unwrap();
    let wait_status = bench.handle().explain(&view).await.unwrap().wait_status;
    let until = health.unreachable_until.expect("the next probe");
    assert_eq!(
        (wait_status.reason, wait_status.until),
        (Reason::ApiUnreachable, Some(Until::NotBefore(until)))
    );
    assert!(until > bench.clock_now() && until <= bench.clock_now() + seconds(60));
    bench.provider.break_facts(&[]);
    bench.until_sent(2).await;
    assert_eq!(bench.sends()[1].wall, until, "it goes when the probe is answered");
    bench.settle().await;
    assert_eq!(bench.state(id).await, (StateName::Sent, Reason::Delivered));
    assert_eq!(bench.queue().lines("SELECT attempts, retries FROM messages"), ["2|0"], "none was spent");
    assert_eq!(bench.handle().api_health(), Default::default());
    bench.finish().await;
}

#[tokio::test]
async fn while_the_api_is_away_accounts_do_not_storm_it() {
    let mut bench = Bench::new(SEED).await;
    bench.provider.script(vec![Answer::NoConnection; 5]);
    bench.provider.break_facts(&["account", "groups"]);
    for n in 0..20 {
        bench.enqueue(of(&format!("{n}"), "a", "x")).await;
    }
    bench.start().await;
    bench.advance(seconds(660)).await;
    assert!(bench.sends().len() <= 5, "{} sends", bench.sends().len());
    let probes = bench.provider.calls_of(Kind::Fact).len() + bench.provider.calls_of(Kind::Read).len();
    assert!((10..=60).contains(&probes), "seed {SEED}: {probes} probes in eleven minutes");
    bench.finish().await;
}

#[tokio::test]
async fn a_disconnected_account_waits_until_somebody_resumes_it() {
    let mut bench = Bench::new(SEED).await;
    bench.provider.set_status("errored");
    bench.provider.script_of(&account("1"), vec![Answer::Disconnected]);
    let id = bench.enqueue(of("1", "a", "x")).await;
    bench.enqueue(of("2", "a", "x")).await;
    bench.start().await;
    bench.advance(seconds(6 * 3600)).await;
    assert_eq!((times(&bench, "1").len(), times(&bench, "2").len()), (1, 1));
    assert_eq!(bench.state(id).await.0, StateName::Queued, "it keeps its place");
    let down = bench.store().account(&account("1")).await.unwrap().unwrap().account.down.unwrap();
    let since = times(&bench, "1")[0];
    assert_eq!(
        (down.cause, down.since),
        (DownCause::Disconnected, at(0) + std::time::Duration::from_millis(since))
    );
    bench.restart().await;
    bench.advance(seconds(3600)).await;
    assert_eq!(times(&bench, "1").len(), 1, "a restart mends no account");
    let resumed = bench.store().resume(Scope::Account(account("1")), false, bench.clock_now()).await;
    assert_eq!(resumed.unwrap(), Resumed::Done);
    bench.handle().wake(account("1"));
    bench.advance(seconds(1)).await;
    assert_eq!(bench.state(id).await.0, StateName::Sent);
    bench.finish().await;
}

#[tokio::test]
async fn a_refused_key_stops_every_account() {
    let mut bench = Bench::new(SEED).await;
    bench.provider.script_of(&account("1"), vec![Answer::KeyRefused]);
    bench.enqueue(of("1", "a", "x")).await;
    for n in 0..3 {
        bench.enqueue(NewMessage { not_before: Some(at(30)), ..of("2", &format!("c{n}"), "x") }).await;
    }
    bench.start().await;
    bench.advance(seconds(6 * 3600)).await;
    assert_eq!(bench.sends().len(), 1);
    assert!(bench.store().totals().await.unwrap().daemon.key_refused.is_some());
    bench.store().resume(Scope::Everything, false, bench.clock_now()).await.unwrap();
    bench.handle().wake_everything().await.unwrap();
    bench.until_sent(5).await;
    bench.finish().await;
}

#[tokio::test]
async fn a_message_that_is_tried_again_holds_its_own_chat_and_no_other() {
    let mut bench = Bench::new(SEED).await;
    bench.policy.retry.base = seconds(3600);
    bench.provider.script(vec![Answer::NotSent]);
    bench.enqueue(to_chat("a", "a1")).await;
    bench.enqueue(to_chat("a", "a2")).await;
    for n in 0..3 {
        bench.enqueue(to_chat(&format!("b{n}"), "b")).await;
    }
    bench.start().await;
    bench.until_sent(6).await;
    let texts: Vec<String> = bench.sends().into_iter().map(|call| call.text).collect();
    assert_eq!(texts, ["a1", "b", "b", "b", "a1", "a2"], "seed {SEED}");
    bench.finish().await;
}

#[tokio::test]
async fn retries_are_bounded_and_the_last_answer_is_kept() {
    let mut bench = Bench::new(SEED).await;
    bench.policy.retry.max_retries = 3;
    bench.provider.script(vec![Answer::NotSent; 10]);
    let id = bench.enqueue(to_chat("a", "x")).await;
    bench.start().await;
    bench.advance(seconds(6 * 3600)).await;
    assert_eq!(bench.sends().len(), 4, "one attempt and three retries");
    assert_eq!(bench.state(id).await, (StateName::Failed, Reason::RetriesSpent));
    assert_eq!(bench.queue().view(id).await.error.as_deref(), Some("api/proxy_auth_error: as scripted"));
    bench.finish().await;
}

#[tokio::test]
async fn a_refused_message_fails_at_once_and_the_next_one_goes_on() {
    let mut bench = Bench::new(SEED).await;
    bench.provider.script(vec![Answer::Refused]);
    let id = bench.enqueue(to_chat("a", "refused")).await;
    bench.enqueue(to_chat("a", "next")).await;
    bench.start().await;
    bench.until_sent(2).await;
    assert_eq!(bench.state(id).await, (StateName::Failed, Reason::Refused));
    assert_eq!(bench.sends()[1].text, "next");
    assert_paced(&bench, "a refusal took a call too");
    bench.finish().await;
}

#[tokio::test]
async fn a_step_that_panics_leaves_its_message_to_a_person_and_the_account_goes_on() {
    let mut bench = Bench::new(SEED).await;
    bench.provider.script(vec![Answer::Panic]);
    let id = bench.enqueue(to_chat("a", "panics")).await;
    bench.enqueue(to_chat("b", "next")).await;
    bench.start().await;
    bench.until_sent(2).await;
    assert_eq!(bench.state(id).await, (StateName::Uncertain, Reason::Reconciling));
    let times = times(&bench, "1");
    assert!(times[1] - times[0] >= 60_000, "it rests for a minute: {times:?}");
    bench.finish().await;
}

/// P6: a waiting message is sent at the time that `explain` shows.
#[tokio::test]
async fn the_time_that_is_explained_is_the_time_of_the_send() {
    let mut bench = Bench::new(SEED).await;
    bench.enqueue(to_chat("a", "1")).await;
    let second = bench.enqueue(to_chat("b", "2")).await;
    bench.start().await;
    bench.until_sent(1).await;
    let view = bench.store().message(second, bench.clock_now()).await.unwrap().unwrap();
    let explained = bench.handle().explain(&view).await.unwrap();
    assert_eq!(explained.wait_status.reason, Reason::Gap);
    let Some(Until::At(time)) = explained.wait_status.until else { panic!("{explained:?}") };
    bench.until_sent(2).await;
    assert_eq!(bench.sends()[1].wall, time);
    bench.finish().await;
}
