//! An operator's day, from a table with broken rows to the end of the campaign: the real command line, the real
//! daemon, people who answer, and a crash in the middle (P1, P2, P5, P7).
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::collections::BTreeMap;
use std::time::Duration;

use outboxd::clock::{Clock, SystemClock};
use outboxd::sandbox::{Behaviour, Language};

use crate::cli_fake::Ran;
use crate::cli_import::{HELLO, LAST, NUDGE, broken_rows, four_hundred, ran, records};
use crate::daemon::{TestEnv, eventually};

/// The text that the operator writes by hand for one person.
const BY_HAND: &str = "Good morning, this one is by hand.";

/// What a person does after the first message.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Person {
    Silent,
    Answers,
    OptsOut,
}

/// The people of `four_hundred` whose rows are good.
fn people() -> BTreeMap<String, Person> {
    let table = records(&four_hundred());
    let good = table.iter().filter(|row| row["Provider ID"].starts_with("ACoA"));
    let person = |(number, row): (usize, &BTreeMap<String, String>)| {
        let person = match number % 10 {
            3 | 6 => Person::Answers,
            9 if number % 20 == 9 => Person::OptsOut,
            _ => Person::Silent,
        };
        (row["Provider ID"].clone(), person)
    };
    good.enumerate().map(person).collect()
}

async fn morning() -> (TestEnv, BTreeMap<String, Person>) {
    let env = TestEnv::new().await.hasty().reconciling("200ms, 400ms");
    let env = env.set("OUTBOXD_POLICY_DEFAULT_RECONCILE_ABSENT", "resend");
    let (people, soon) = (people(), Duration::from_millis(20));
    for (id, person) in &people {
        match person {
            Person::Silent => {}
            Person::Answers => env.sandbox.world().set_person(id, Behaviour::answers(soon, "Call me.")),
            Person::OptsOut => {
                env.sandbox.world().set_person(id, Behaviour::opts_out(soon, Language::English));
            }
        }
    }
    for (name, text) in [
        ("people.csv", four_hundred().as_str()),
        ("hello.txt", HELLO),
        ("nudge.txt", NUDGE),
        ("last.txt", LAST),
    ] {
        std::fs::write(env.path(name), text).unwrap();
    }
    // An account that the configuration names can be paused before its first message.
    std::fs::write(env.path("outboxd.toml"), "[account.acc_2]\norder.per_recipient = \"0s\"\n").unwrap();
    (env, people)
}

fn import(env: &TestEnv) -> Ran {
    let line =
        "import people.csv --campaign autumn --account acc_1,acc_2,acc_3,acc_4 --step hello.txt --step";
    let steps = ["2 seconds", "nudge.txt", "--step", "2 seconds", "last.txt"];
    ran(env, &line.split(' ').chain(steps).collect::<Vec<_>>())
}

/// Runs a command that must succeed.
fn done(env: &TestEnv, arguments: &[&str]) -> String {
    let done = ran(env, arguments);
    assert_eq!(done.code, 0, "{arguments:?}: {}{}", done.out, done.err);
    done.out
}

/// Returns which steps reached each person, in the order of the ledger, and from which account.
fn received(env: &TestEnv) -> BTreeMap<String, Vec<(u8, String)>> {
    let mut received = BTreeMap::<String, Vec<(u8, String)>>::new();
    for delivery in env.sandbox.world().deliveries() {
        let step = match delivery.text.as_str() {
            text if text.starts_with("Hi Jane") || text == BY_HAND => 1,
            text if text.ends_with("did you read this?") => 2,
            text if text.starts_with("The last one, ") => 3,
            text => panic!("{text:?} is none of the campaign's texts"),
        };
        assert_eq!(delivery.recipients.len(), 1, "{delivery:?}");
        received.entry(delivery.recipients[0].clone()).or_default().push((step, delivery.account_id));
    }
    received
}

/// Waits until every message is final; fails if none ends for a minute.
async fn to_the_end(env: &TestEnv) {
    const OPEN: &str = "SELECT state || ' ' || coalesce(reason, '-') || ' ' || count(*) FROM messages \
         WHERE state NOT IN ('sent', 'cancelled') GROUP BY state, reason";
    let clock = SystemClock::new();
    let count = |open: &[String]| -> usize {
        open.iter().map(|line| line.rsplit(' ').next().unwrap().parse::<usize>().unwrap()).sum()
    };
    let mut open = env.sql(OPEN);
    while !open.is_empty() {
        let before = count(&open);
        let fewer = eventually(async || {
            clock.sleep(Duration::from_millis(200)).await;
            open = env.sql(OPEN);
            count(&open) < before
        });
        assert!(fewer.await, "{open:?}: {}", env.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_runs_to_its_end_through_pause_edit_move_suppression_and_kill() {
    let (env, people) = morning().await;
    let daemon = env.serve().await;
    done(&env, &["pause", "acc_2"]);
    let imported = import(&env);
    let counts = "370 people: 1110 messages queued, 0 queued before; 30 rows refused\n";
    assert_eq!((imported.code, imported.out.as_str()), (4, counts), "{}", imported.err);

    // The paused account has time for changes: three of its people who do not answer.
    let seats = env.sql(
        "SELECT trim(users_ids, '[]\"') FROM messages WHERE account_id = 'acc_2' AND step = 1 ORDER BY seq",
    );
    let mut silent = seats.iter().filter(|id| people[*id] == Person::Silent);
    let [edited, moved, suppressed] = std::array::from_fn(|_| silent.next().unwrap().as_str());
    let first = format!("SELECT id FROM messages WHERE users_ids LIKE '%{edited}%' AND step = 1");
    done(&env, &["edit", &env.sql(&first)[0], "--text", BY_HAND]);
    done(&env, &["move", "--person", moved, "--to", "acc_1"]);
    done(&env, &["suppress", "add", suppressed]);

    env.delivered(120).await;
    daemon.kill();
    let daemon = env.serve().await;
    // The pause and the same import again survive the crash.
    assert!(received(&env).values().flatten().all(|(_, account)| account != "acc_2"));
    let again = import(&env);
    let counts = "370 people: 0 messages queued, 1110 queued before; 30 rows refused\n";
    assert_eq!((again.code, again.out.as_str()), (4, counts), "{}", again.err);
    done(&env, &["resume", "acc_2"]);

    to_the_end(&env).await;

    // Each person has each step once and in order, and no step after an answer.
    let received = received(&env);
    assert!(received.keys().all(|id| people.contains_key(id)), "a broken row was sent");
    for (id, person) in &people {
        let steps: Vec<u8> = received.get(id).into_iter().flatten().map(|(step, _)| *step).collect();
        let expected: &[u8] = match person {
            Person::Silent if id == suppressed => &[],
            Person::Silent => &[1, 2, 3],
            Person::Answers | Person::OptsOut => &[1],
        };
        assert_eq!(steps, expected, "{id}, {person:?}");
    }
    assert!(received[moved].iter().all(|(_, account)| account == "acc_1"), "{:?}", received[moved]);
    let by_hand = env.sandbox.world().deliveries().into_iter().filter(|one| one.text == BY_HAND);
    assert_eq!(by_hand.flat_map(|one| one.recipients).collect::<Vec<_>>(), [edited]);

    evening(&env, &people);
    daemon.stop().await;
}

/// What the operator reads in the evening: the audit, the refused rows, the results.
fn evening(env: &TestEnv, people: &BTreeMap<String, Person>) {
    let audit = done(env, &["audit"]);
    assert!(audit.starts_with("Every promise was kept: "), "{audit}");
    let refused = std::fs::read_to_string(env.path("people.csv.refused.csv")).unwrap();
    let rows = records(&refused);
    assert_eq!(rows.len(), 30);
    for (row, (user, .., reason)) in rows.iter().zip(broken_rows()) {
        // The row with too many cells has its reason in the next column.
        let told = row["refused_because"].contains(reason) || (user == "ACoB32" && refused.contains(reason));
        assert!(told, "{user}: {row:?} does not say {reason:?}");
    }
    let results = records(&done(env, &["export", "--campaign", "autumn", "--csv"]));
    assert_eq!(results.len(), 3 * people.len());
    for (person, reason) in [(Person::Answers, "replied"), (Person::OptsOut, "suppressed")] {
        let of_them =
            results.iter().filter(|row| people[&row["Provider ID"]] == person && row["step"] != "1");
        let reasons: Vec<&str> = of_them.map(|row| row["reason"].as_str()).collect();
        assert!(!reasons.is_empty() && reasons.iter().all(|one| *one == reason), "{person:?}: {reasons:?}");
    }
}
