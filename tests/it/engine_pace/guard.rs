//! The API guard: what an outage costs, who is blamed for a failed call, and who waits for whom when requests are
//! short.

use outboxd::domain::message::NewMessage;
use outboxd::domain::reason::Reason;
use outboxd::domain::state::StateName;
use outboxd::engine::Until;

use super::SEED;
use super::bench::Bench;
use super::carrier::{Answer, Kind};
use super::time::seconds;
use crate::queue::{account, to_chat, to_user};
use outboxd::domain::message::Inbox;

const READS: [&str; 4] = ["account", "inboxes", "credits", "groups"];

fn of(n: usize, text: &str) -> NewMessage {
    NewMessage { account_id: account(&n.to_string()), ..to_chat("c", text) }
}

async fn accounts(count: usize) -> Bench {
    let bench = Bench::new(SEED).await;
    for n in 0..count {
        bench.enqueue(of(n, "hello")).await;
        bench.enqueue(of(n, "again")).await;
    }
    bench
}

async fn rests(bench: &Bench) -> usize {
    let accounts = bench.store().accounts().await.unwrap();
    let rests = |view: &&outboxd::store::AccountView| {
        view.account.hold.is_some() || view.account.history.failures > 0
    };
    accounts.iter().filter(rests).count()
}

fn count(bench: &Bench, sql: &str) -> usize {
    bench.queue().value(sql).parse().unwrap()
}

/// H2: a hundred accounts, and ten minutes in which everything fails.
#[tokio::test]
async fn an_outage_risks_five_messages_and_no_account_is_blamed() {
    let mut bench = accounts(100).await;
    bench.start().await;
    bench.until_sent(100).await;
    // Account data is fresh for now, so that a message is the first to meet the failure.
    bench.advance(seconds(5)).await;
    bench.provider.script(vec![Answer::Unknown; 1000]);
    bench.provider.break_facts(&READS);
    bench.advance(seconds(600)).await;
    let risked = count(&bench, "SELECT count(*) FROM messages WHERE state = 'uncertain'");
    assert!((1..=5).contains(&risked), "seed {SEED}: {risked} messages were risked");
    assert_eq!(rests(&bench).await, 0, "no account rests");
    let waiting = bench.queue().value("SELECT id FROM messages WHERE state = 'queued' LIMIT 1");
    let view = bench.store().message(waiting.parse().unwrap(), bench.clock_now()).await.unwrap().unwrap();
    let wait_status = bench.handle().explain(&view).await.unwrap().wait_status;
    assert_eq!(wait_status.reason, Reason::ApiUnreachable);
    assert!(
        matches!(wait_status.until, Some(Until::NotBefore(at)) if at > bench.clock_now()),
        "{wait_status:?}"
    );
    bench.provider.forget_script();
    bench.provider.break_facts(&[]);
    bench.advance(seconds(90)).await;
    let left = count(&bench, "SELECT count(*) FROM messages WHERE state = 'queued'");
    assert_eq!(left, 0, "all go on within 90 s of the end");
    assert_eq!(rests(&bench).await, 0);
    bench.finish().await;
}

/// H4: the backend hangs, and so does the probe.
#[tokio::test]
async fn an_api_that_hangs_takes_five_messages_and_a_probe_that_hangs_is_no_answer() {
    let mut bench = accounts(100).await;
    bench.provider.script(vec![Answer::Hang; 1000]);
    bench.provider.hang_facts(&READS);
    bench.start().await;
    bench.advance(seconds(600)).await;
    assert!(bench.sends().len() <= 5, "seed {SEED}: {}", bench.sends().len());
    let health = bench.handle().api_health();
    assert!(health.failures > 0 && health.unreachable_until.is_some(), "{health:?}");
    bench.stop(seconds(1)).await;
    bench.finish().await;
}

/// The reads of account data fail, and everything else works.
#[tokio::test]
async fn reads_of_account_data_that_fail_keep_no_send_from_going() {
    for (which, hangs) in [(&READS[..1], false), (&READS[..3], false), (&READS[..1], true)] {
        let mut bench = Bench::new(SEED).await;
        for n in 0..12 {
            let later = NewMessage { not_before: Some(crate::queue::at(86_400)), ..of(n, "later") };
            bench.enqueue(later).await;
        }
        match hangs {
            true => bench.provider.hang_facts(which),
            false => bench.provider.break_facts(which),
        }
        bench.start().await;
        bench.advance(seconds(600)).await;
        for n in 0..12 {
            bench.enqueue(of(n, "now")).await;
        }
        bench.advance(seconds(60)).await;
        assert_eq!(bench.provider.accepted().len(), 12, "seed {SEED}: without {which:?}");
        // An outage of seconds opens the breaker, and the probe that always fails does not keep it open.
        bench.provider.script(vec![Answer::Unknown; 5]);
        for n in 0..12 {
            bench.enqueue(NewMessage { account_id: account(&n.to_string()), ..to_chat("d", "then") }).await;
        }
        bench.advance(seconds(900)).await;
        assert!(bench.provider.accepted().len() >= 19, "seed {SEED}: without {which:?}");
        assert_eq!(rests(&bench).await, 0);
        bench.finish().await;
    }
}

/// The indicator cannot be shown, and sends work: every message goes, and no chat shows it again and again.
#[tokio::test]
async fn typing_that_fails_for_all_is_left_out_and_every_message_goes() {
    for hangs in [false, true] {
        let mut bench = Bench::new(SEED).await;
        bench.policy.typing.enabled = true;
        for n in 0..20 {
            for m in 0..8 {
                let message = to_chat(&format!("c{n}"), &format!("m{m}"));
                bench.enqueue(NewMessage { account_id: account(&n.to_string()), ..message }).await;
            }
        }
        match hangs {
            true => bench.provider.hang_facts(&["composing"]),
            false => bench.provider.break_composing(),
        }
        bench.start().await;
        bench.advance(seconds(180)).await;
        assert_eq!(bench.provider.accepted().len(), 160, "seed {SEED}: hangs {hangs}");
        assert_eq!(bench.handle().api_health(), Default::default());
        let mut shown = std::collections::BTreeMap::<String, usize>::new();
        for typing in bench.provider.calls_of(Kind::Composing) {
            *shown.entry(typing.chat).or_default() += 1;
        }
        let most = shown.values().max().copied();
        assert!(most <= Some(2), "seed {SEED}: hangs {hangs}: {shown:?}");
        bench.finish().await;
    }
}

/// H3: an edge server answers everything with its own page for six seconds.
#[tokio::test]
async fn pages_of_an_edge_fail_nothing_and_spend_no_retry() {
    let mut bench = accounts(20).await;
    bench.provider.script(vec![Answer::Page403; 1000]);
    bench.provider.break_facts(&READS);
    bench.start().await;
    bench.advance(seconds(6)).await;
    bench.provider.forget_script();
    bench.provider.break_facts(&[]);
    bench.advance(seconds(120)).await;
    assert_eq!(count(&bench, "SELECT count(*) FROM messages WHERE state = 'sent'"), 40);
    assert_eq!(count(&bench, "SELECT sum(retries) FROM messages"), 0);
    assert_eq!(rests(&bench).await, 0);
    bench.finish().await;
}

#[tokio::test]
async fn a_message_that_a_gateway_refuses_alone_stops_nobody() {
    for others in [0, 5] {
        let mut bench = Bench::new(SEED).await;
        bench.policy.retry.max_retries = 4;
        let poison = bench.enqueue(of(0, "poison")).await;
        for n in 0..others {
            for m in 0..20 {
                let message = of(n + 1, &format!("m{m}"));
                bench.enqueue(NewMessage { ..message }).await;
            }
        }
        // Every send of this account gets the page.
        bench.provider.script_of(&account("0"), vec![Answer::Page403; 40]);
        bench.start().await;
        bench.advance(seconds(4 * 3600)).await;
        let sent = count(&bench, "SELECT count(*) FROM messages WHERE state = 'sent'");
        assert_eq!(sent, others * 20, "{others} others");
        let tried = bench.sends().iter().filter(|send| send.text == "poison").count();
        assert!(tried < 20, "{others} others: {tried} tries");
        assert_ne!(bench.queue().value("SELECT retries FROM messages WHERE text = 'poison'"), "0");
        let _state = bench.state(poison).await;
        bench.finish().await;
    }
}

/// Sends fail while reads are answered: one at a time is tried, and everything says so with the time.
#[tokio::test]
async fn while_sends_alone_fail_messages_show_when_one_is_tried() {
    let mut bench = accounts(20).await;
    bench.start().await;
    bench.until_sent(20).await;
    bench.provider.script(vec![Answer::Unknown; 1000]);
    bench.advance(seconds(120)).await;
    let health = bench.handle().api_health();
    assert!(health.failures >= 3 && health.unreachable_until.is_none(), "{health:?}");
    let trial = health.trial_at.expect("a trial is planned");
    let waiting = bench.queue().value("SELECT id FROM messages WHERE state = 'queued' LIMIT 1");
    let view = bench.store().message(waiting.parse().unwrap(), bench.clock_now()).await.unwrap().unwrap();
    let wait_status = bench.handle().explain(&view).await.unwrap().wait_status;
    let Some(Until::NotBefore(until)) = wait_status.until else { panic!("{wait_status:?}") };
    assert_eq!((wait_status.reason, until), (Reason::ApiTrial, trial));
    assert!(until > bench.clock_now());
    let [earliest, ..] = bench.handle().expected(&view).await.unwrap().unwrap();
    assert!(earliest >= until, "expected at {earliest}, although nothing goes before {until}");
    let tried = bench.sends().len();
    let wait = std::time::Duration::try_from(trial.duration_since(bench.clock_now())).unwrap();
    bench.advance(wait).await;
    assert_eq!(bench.sends().len(), tried + 1, "one is tried at the time that was shown");
    bench.provider.forget_script();
    bench.advance(seconds(600)).await;
    assert_eq!(bench.handle().api_health(), Default::default());
    let behind_no_other = "SELECT count(*) FROM messages m WHERE state = 'queued' AND NOT EXISTS \
         (SELECT 1 FROM messages b WHERE b.account_id = m.account_id AND b.state IN ('uncertain', 'review'))";
    assert_eq!(count(&bench, behind_no_other), 0, "the others go on");
    bench.finish().await;
}

/// LinkedIn fails behind Unipile: the sends of all accounts are answered with its failure.
#[tokio::test]
async fn a_provider_that_fails_for_several_accounts_puts_sends_on_trial_and_rests_none() {
    let mut bench = accounts(20).await;
    bench.policy.cooldown.failures = 3;
    bench.policy.cooldown.failures_pause = seconds(24 * 3600);
    bench.provider.script(vec![Answer::ProviderTimeout; 1000]);
    bench.start().await;
    bench.advance(seconds(600)).await;
    assert!(bench.sends().len() <= 20, "seed {SEED}: {} messages were risked", bench.sends().len());
    assert!(bench.handle().api_health().trial_at.is_some());
    bench.provider.forget_script();
    bench.advance(seconds(600)).await;
    assert!(bench.provider.accepted().len() >= 20, "seed {SEED}: the others go on");
    assert_eq!(count(&bench, "SELECT count(*) FROM events WHERE kind = 'account.hold'"), 0);
    bench.finish().await;
}

/// Unipile has no time for requests for some seconds, and says so with an error of its own.
#[tokio::test]
async fn requests_that_unipile_had_no_time_for_rest_no_account_and_spend_no_retry() {
    let mut bench = accounts(20).await;
    bench.policy.cooldown.failures = 3;
    bench.policy.cooldown.failures_pause = seconds(24 * 3600);
    bench.provider.script(vec![Answer::ApiBusy408; 1000]);
    bench.start().await;
    bench.advance(seconds(120)).await;
    assert!(bench.sends().len() <= 20, "seed {SEED}: {} tries", bench.sends().len());
    bench.provider.forget_script();
    bench.advance(seconds(400)).await;
    assert_eq!(bench.provider.accepted().len(), 40, "seed {SEED}");
    assert_eq!(count(&bench, "SELECT sum(retries) FROM messages"), 0);
    assert_eq!(count(&bench, "SELECT count(*) FROM events WHERE kind = 'account.hold'"), 0);
    bench.finish().await;
}

/// The proxy of one account is broken: its sends time out while everything else works.
#[tokio::test]
async fn an_account_whose_sends_alone_fail_rests_after_a_few() {
    for (others, answer) in [
        (0, Answer::Unknown),
        (3, Answer::Unknown),
        (0, Answer::ProviderTimeout),
        (3, Answer::ProviderTimeout),
    ] {
        let mut bench = Bench::new(SEED).await;
        for n in 0..=others {
            for m in 0..40 {
                let message =
                    NewMessage { account_id: account(&n.to_string()), ..to_chat(&format!("c{m}"), "x") };
                bench.enqueue(message).await;
            }
        }
        bench.policy.cooldown.failures = 3;
        bench.policy.cooldown.failures_pause = seconds(24 * 3600);
        bench.provider.script_of(&account("0"), vec![answer; 100]);
        bench.start().await;
        bench.advance(seconds(3 * 3600)).await;
        let tried = bench.sends().iter().filter(|send| send.account == "acc_0").count();
        assert!((3..=5).contains(&tried), "{others} others: {tried} messages were risked");
        let account = bench.store().account(&account("0")).await.unwrap().unwrap().account;
        assert_eq!(account.hold.map(|hold| hold.reason), Some(Reason::Failures), "{others} others");
        let sent = bench.provider.accepted().len();
        assert_eq!(sent, others * 40, "the others go on");
        bench.finish().await;
    }
}

/// An answer that takes 20 s is still an answer.
#[tokio::test]
async fn a_slow_api_makes_progress() {
    let mut bench = accounts(50).await;
    bench.provider.script(vec![Answer::SentAfter(seconds(20)); 100]);
    bench.start().await;
    bench.advance(seconds(180)).await;
    assert_eq!(bench.provider.accepted().len(), 100);
    assert_eq!(bench.handle().api_health(), Default::default());
    bench.finish().await;
}

/// T5, S2: more accounts than requests a second.
#[tokio::test]
async fn accounts_that_wait_for_a_permit_say_so_with_a_time_and_go_in_turn() {
    let mut bench = Bench::new(SEED).await;
    bench.rates = (5, 2);
    bench.start().await;
    for n in 0..100 {
        for m in 0..4 {
            bench.enqueue(of(n, &format!("m{m}"))).await;
        }
    }
    bench.advance(seconds(2)).await;
    let waiting = bench.queue().lines("SELECT id FROM messages WHERE state = 'queued' AND text = 'm0'");
    assert!(waiting.len() > 80);
    let mut shown = Vec::new();
    for id in &waiting {
        let view = bench.store().message(id.parse().unwrap(), bench.clock_now()).await.unwrap().unwrap();
        let wait_status = bench.handle().explain(&view).await.unwrap().wait_status;
        assert_eq!(wait_status.reason, Reason::ApiBusy);
        let Some(Until::NotBefore(at)) = wait_status.until else { panic!("{wait_status:?}") };
        shown.push((view.account.id.to_string(), at));
    }
    bench.advance(seconds(200)).await;
    let mut counts = std::collections::BTreeMap::<String, usize>::new();
    for send in bench.sends() {
        *counts.entry(send.account).or_default() += 1;
    }
    let (least, most) = (counts.values().min().unwrap(), counts.values().max().unwrap());
    assert!(counts.len() == 100 && most - least <= 1, "{least} to {most}");
    for (id, at) in shown {
        let sends = bench.sends();
        let first = sends.iter().find(|send| send.account == id).unwrap();
        let off = first.wall.duration_since(at).as_secs().abs();
        assert!(off <= 8, "{id} was shown {at} and went at {}", first.wall);
    }
    let seconds_of_sends: Vec<u64> = bench.sends().iter().map(|send| send.at_ms / 1000).collect();
    for second in 2..100 {
        let calls = seconds_of_sends.iter().filter(|at| **at == second).count();
        assert!(calls <= 6, "{calls} calls in second {second}");
    }
    bench.finish().await;
}

/// S3: no recipient sees typing for longer than planned.
#[tokio::test]
async fn typing_is_followed_by_its_send_although_requests_are_short() {
    let mut bench = Bench::new(SEED).await;
    bench.rates = (6, 2);
    bench.policy.typing.enabled = true;
    for n in 0..60 {
        for m in 0..3 {
            bench.enqueue(of(n, &format!("m{m} some words to type"))).await;
        }
    }
    bench.start().await;
    bench.advance(seconds(150)).await;
    let typing = bench.provider.calls_of(Kind::Composing);
    let sends = bench.sends();
    assert!(sends.len() > 150, "{}", sends.len());
    let mut unsent = 0;
    for shown in &typing {
        let next = sends.iter().find(|send| send.account == shown.account && send.at_ms >= shown.at_ms);
        match next {
            // The longest typing of the policy, plus a second.
            Some(send) => assert!(send.at_ms - shown.at_ms <= 13_000, "{shown:?} {send:?}"),
            None => unsent += 1,
        }
    }
    assert!(unsent <= 60, "{unsent}");
    assert!(typing.len() - unsent <= sends.len(), "each once");
    bench.finish().await;
}

#[tokio::test]
async fn an_account_that_is_paused_while_it_waits_gives_its_place_back() {
    let mut bench = Bench::new(SEED).await;
    bench.rates = (1, 1);
    bench.start().await;
    for n in 0..20 {
        bench.enqueue(of(n, "x")).await;
    }
    bench.advance(seconds(3)).await;
    for n in 3..18 {
        let request = outboxd::store::PauseRequest::default();
        let scope = outboxd::store::Scope::Account(account(&n.to_string()));
        bench.store().pause(scope, request, bench.clock_now()).await.unwrap();
        bench.handle().wake(account(&n.to_string()));
    }
    let before = bench.sends().len();
    bench.advance(seconds(8)).await;
    let paused = bench.queue().lines("SELECT account_id FROM messages WHERE state = 'queued'");
    assert!(bench.sends().len() > before, "the permits go to those that want them");
    assert!(paused.len() <= 15, "{paused:?}");
    bench.finish().await;
}

/// Work that only reads does not starve sends, and resumes without help.
#[tokio::test]
async fn looks_of_a_message_keep_its_place() {
    let mut bench = Bench::new(SEED).await;
    bench.rates = (4, 2);
    for n in 0..40 {
        let message = to_user(&format!("u{n}"), Inbox::OfPolicy);
        bench.enqueue(NewMessage { account_id: account(&n.to_string()), ..message }).await;
    }
    bench.start().await;
    bench.advance(seconds(60)).await;
    assert_eq!(count(&bench, "SELECT count(*) FROM messages WHERE state = 'sent'"), 40);
    let state = bench.queue().lines("SELECT DISTINCT state FROM messages");
    assert_eq!(state, [StateName::Sent.as_str()]);
    bench.finish().await;
}
