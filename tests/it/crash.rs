//! Every way to stop, and what the next start does about it (P1, P2, P3).

use std::time::Duration;

use outboxd::sandbox::{Fault, FaultKind};

use crate::daemon::{TestEnv, eventually, gaps, run, texts};

fn message(account: &str, number: usize) -> String {
    format!(r#"{{"account_id":"{account}","chat_id":"c{number}","text":"message {number}","typing":false}}"#)
}

/// `kill -9` between the call and its answer, in the middle of a queue, at the real pace.
#[tokio::test(flavor = "multi_thread")]
async fn kill_9_in_the_middle_of_a_call_loses_nothing_repeats_nothing_and_keeps_the_gap() {
    let env = TestEnv::new().await.set("OUTBOXD_POLICY_DEFAULT_GAP_MAX", "11s").reconciling("1s, 2s");
    let slow = FaultKind::LatencyAfterDelivery(Duration::from_secs(30));
    env.sandbox.fault(Fault::new(slow));
    let daemon = env.serve().await;
    let first = daemon.enqueue(&message("acc_1", 1)).await;
    let second = daemon.enqueue(&message("acc_1", 2)).await;
    // Delivered, but its answer takes half a minute.
    env.delivered(1).await;
    daemon.kill();
    let daemon = env.serve().await;
    let found = daemon.becomes(&first, "sent").await;
    assert_eq!((&found["settled_by"], &found["reads"]), (&"evidence".into(), &1.into()), "{found}");
    let recovered = "recovered: 0 sending, 1 uncertain, 1 re-planned, 0 flushed";
    assert!(env.log().contains(recovered), "{}", env.log());
    daemon.becomes(&second, "sent").await;
    let deliveries = env.delivered(2).await;
    assert_eq!(texts(&deliveries), ["message 1", "message 2"]);
    let gap = gaps(&deliveries, "acc_1")[0];
    assert!(gap >= Duration::from_secs(10), "the gap across the restart is {gap:?}");
    let (_, status) = daemon.get("/v1/status").await;
    assert_eq!(status["recovered"]["uncertain"], 1);
}

/// The pause that was drawn before the kill still applies after it.
#[tokio::test(flavor = "multi_thread")]
async fn kill_9_between_two_sends_keeps_the_gap() {
    let env = TestEnv::new().await.set("OUTBOXD_POLICY_DEFAULT_GAP_MAX", "11s");
    let daemon = env.serve().await;
    let first = daemon.enqueue(&message("acc_1", 1)).await;
    daemon.enqueue(&message("acc_1", 2)).await;
    daemon.becomes(&first, "sent").await;
    daemon.kill();
    let _daemon = env.serve().await;
    let deliveries = env.delivered(2).await;
    assert_eq!(texts(&deliveries), ["message 1", "message 2"]);
    let gap = gaps(&deliveries, "acc_1")[0];
    assert!(gap >= Duration::from_secs(10) && gap < Duration::from_secs(30), "{gap:?}");
}

/// Breaks one call in five: before its delivery, after it, or in its answer.
fn lay_faults(env: &TestEnv, calls: u32, dice: &mut outboxd::clock::Dice) {
    use rand::RngExt;
    for _ in 0..calls / 5 {
        let delivered = dice.random_range(0..2) == 0;
        let fault = match dice.random_range(0..5) {
            0 => Fault::internal_error(delivered),
            1 => Fault::gateway(502, delivered),
            2 => Fault::gateway(200, delivered),
            3 => Fault::new(FaultKind::HalfAnswer { delivered }),
            _ => Fault::new(FaultKind::Cut { delivered }),
        };
        env.sandbox.fault(fault.after(dice.random_range(0..calls)));
    }
    let lag = FaultKind::Latency { before_delivery: Duration::from_millis(3) };
    env.sandbox.fault(Fault::new(lag).always());
}

/// Twenty kills at moments that the seed decides, while calls break: each message is delivered at most once, none is
/// lost, and no two calls of an account are closer than its gap. `cargo bench --bench torture` is the long version.
#[tokio::test(flavor = "multi_thread")]
async fn twenty_kills_while_calls_break_lose_nothing_repeat_nothing_and_keep_the_gap() {
    use rand::RngExt;
    const SEED: u64 = 20_261_122;
    let mut dice = outboxd::clock::dice(SEED);
    let clock = outboxd::clock::SystemClock::new();
    let resend = ("OUTBOXD_POLICY_DEFAULT_RECONCILE_ABSENT", "resend");
    let least = Duration::from_millis(40);
    let env = TestEnv::new().await.hasty().reconciling("200ms, 400ms").set(resend.0, resend.1);
    let env = env.set("OUTBOXD_POLICY_DEFAULT_GAP_MIN", "40ms").set("OUTBOXD_POLICY_DEFAULT_GAP_MAX", "80ms");
    lay_faults(&env, 400, &mut dice);
    let daemon = env.serve().await;
    let lines: Vec<String> = (0..400).map(|number| message(&format!("acc_{}", number % 8), number)).collect();
    let (status, answer) =
        daemon.post_as("/v1/messages", "application/x-ndjson", lines.join("\n").into_bytes()).await;
    assert_eq!((status, answer["accepted"].as_u64()), (200, Some(400)), "{answer}");
    daemon.kill();
    for _ in 0..20 {
        let daemon = env.serve().await;
        outboxd::clock::Clock::sleep(&clock, Duration::from_millis(dice.random_range(1..120))).await;
        daemon.kill();
    }
    let daemon = env.serve().await;
    let settled = eventually(async || {
        let (_, status) = daemon.get("/v1/status").await;
        let counts = &status["queue"]["counts"];
        ["queued", "sending", "uncertain"].iter().all(|state| counts[state].is_null())
    });
    assert!(settled.await, "seed {SEED}: the queue does not empty: {}", env.log());
    let deliveries = env.sandbox.world().deliveries();
    let mut sent = texts(&deliveries);
    let delivered = sent.len();
    sent.dedup();
    assert_eq!(sent.len(), delivered, "seed {SEED}: something was delivered twice");
    let (_, status) = daemon.get("/v1/status").await;
    let count = |state: &str| status["queue"]["counts"][state].as_u64().unwrap_or(0);
    // A message that was absent twice goes to review, with the true reason.
    assert_eq!(count("sent") + count("review"), 400, "seed {SEED}: {status}");
    assert_eq!(delivered as u64, count("sent"), "seed {SEED}: {status}");
    let reasons = env.sql("SELECT DISTINCT reason FROM messages WHERE state = 'review'");
    assert!(reasons.iter().all(|reason| reason == "not_in_chat"), "seed {SEED}: {reasons:?}");
    for account in 0..8 {
        let id = format!("acc_{account}");
        let calls = env.writes();
        let times: Vec<Duration> =
            calls.iter().filter(|call| call.account_id == id).map(|call| call.at_monotonic).collect();
        let closest = times.windows(2).map(|pair| pair[1] - pair[0]).min();
        assert!(closest.is_some_and(|gap| gap >= least), "seed {SEED}: {id} called again after {closest:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_lets_the_call_on_its_way_finish_and_says_goodbye() {
    let env = TestEnv::new().await;
    env.sandbox.fault(Fault::new(FaultKind::LatencyAfterDelivery(Duration::from_millis(700))));
    let mut daemon = env.serve().await;
    let id = daemon.enqueue(&message("acc_1", 1)).await;
    env.delivered(1).await;
    daemon.signal("-TERM");
    assert_eq!(daemon.ended().await, Some(0), "{}", env.log());
    assert!(!env.socket().exists(), "the socket is gone");
    let daemon = env.serve().await;
    assert_eq!(daemon.becomes(&id, "sent").await["attempts"].as_array().map(Vec::len), Some(1));
    let (_, status) = daemon.get("/v1/status").await;
    assert_eq!(status["recovered"]["clean_stop"], true);
    assert_eq!(status["recovered"]["after"], "clean_stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_outlasts_the_grace_is_told_as_unknown_and_left_to_a_person_where_nothing_is_read_back() {
    let env = TestEnv::new().await.set("OUTBOXD_ENGINE_SHUTDOWN_GRACE", "300ms").reconciling("");
    env.sandbox.fault(Fault::new(FaultKind::LatencyAfterDelivery(Duration::from_secs(60))));
    let mut daemon = env.serve().await;
    let id = daemon.enqueue(&message("acc_1", 1)).await;
    env.delivered(1).await;
    daemon.signal("-TERM");
    assert_eq!(daemon.ended().await, Some(0), "{}", env.log());
    let daemon = env.serve().await;
    let review = daemon.becomes(&id, "review").await;
    assert_eq!(review["reason"], "outcome_unknown");
    assert!(review["error"].as_str().is_some_and(|error| error.contains("outboxd/stopped")), "{review}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_stops_at_once_and_the_next_start_tells() {
    let env = TestEnv::new().await;
    env.sandbox.fault(Fault::new(FaultKind::LatencyAfterDelivery(Duration::from_secs(60))));
    let mut daemon = env.serve().await;
    let id = daemon.enqueue(&message("acc_1", 1)).await;
    env.delivered(1).await;
    daemon.signal("-TERM");
    assert!(eventually(async || env.log().contains("a second signal stops at once")).await);
    daemon.signal("-INT");
    assert_eq!(daemon.ended().await, Some(1), "{}", env.log());
    let daemon = env.serve().await;
    let uncertain = daemon.becomes(&id, "uncertain").await;
    assert_eq!(
        (&uncertain["reason"], &uncertain["waits_for"]),
        (&"reconciling".into(), &"not_before".into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_daemon_on_the_same_queue_is_refused_and_names_the_first() {
    let env = TestEnv::new().await;
    let daemon = env.serve().await;
    let (ok, said) = run(env.outboxd(&["serve"]), "");
    assert!(!ok && said.contains(&format!("process {}", daemon.pid())), "{said}");
    // Another queue on the same socket is refused as well, and the first daemon keeps answering.
    let mut other = env.outboxd(&["serve"]);
    other.env("OUTBOXD_STORE_PATH", env.path("other.db"));
    let (ok, said) = run(other, "");
    assert!(!ok && said.contains("another daemon answers"), "{said}");
    assert_eq!(daemon.get("/healthz").await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_is_no_socket_is_left_alone() {
    let env = TestEnv::new().await;
    std::fs::write(env.socket(), "precious").expect("a file");
    let (ok, said) = run(env.outboxd(&["serve"]), "");
    assert!(!ok && said.contains("is not a socket"), "{said}");
    assert_eq!(std::fs::read_to_string(env.socket()).expect("it is there"), "precious");
}

/// P3: a link to the database is the same database.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_daemon_through_a_link_is_refused_as_well() {
    let env = TestEnv::new().await;
    let daemon = env.serve().await;
    std::os::unix::fs::symlink(env.database(), env.path("link.db")).expect("a link");
    let mut other = env.outboxd(&["serve"]);
    other.env("OUTBOXD_STORE_PATH", env.path("link.db")).env("OUTBOXD_API_SOCKET", env.path("other.sock"));
    let (ok, said) = run(other, "");
    assert!(!ok && said.contains(&format!("process {}", daemon.pid())), "{said}");
}

/// P5: an expiry that passes while another program holds the lock is noticed when the intent gets the lock.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_expires_while_the_lock_is_held_is_not_sent() {
    use outboxd::clock::Clock;
    let clock = outboxd::clock::SystemClock::new();
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    let after = |ms: u64| outboxd::domain::time_text(clock.now() + Duration::from_millis(ms));
    let (from, until) = (after(2500), after(3500));
    let id = daemon
        .enqueue(&format!(
            r#"{{"account_id":"acc_1","chat_id":"c","text":"late","not_before":"{from}","expires_at":"{until}"}}"#
        ))
        .await;
    let other = rusqlite::Connection::open(env.database()).expect("the database");
    other.busy_timeout(Duration::from_secs(5)).expect("busy timeout");
    other.execute_batch("BEGIN IMMEDIATE").expect("the lock");
    clock.sleep(Duration::from_millis(4500)).await;
    other.execute_batch("COMMIT").expect("it lets go");
    daemon.becomes(&id, "expired").await;
    assert_eq!(env.writes().len(), 0);
}
