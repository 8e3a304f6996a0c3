//! The simulation with an API that fails as a whole and a rate that is short: outages of minutes, an API that hangs,
//! preflight reads that fail, ten requests a second. The checkers of `simulation/` check every promise; this adds
//! what an outage may cost and that all accounts continue after it.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use outboxd::clock::{Clock, Dice, dice};
use outboxd::domain::message::{Inbox, NewMessage};
use outboxd::domain::policy::{Absent, Route};
use outboxd::engine::RequestRates;
use outboxd::provider::Call;
use rand::RngExt;

use crate::engine_pace::bench::policy;
use crate::engine_pace::time::{FakeClock, seconds};
use crate::queue::{account, keyed, to_chat, to_user};
use crate::simulation::acts;
use crate::simulation::carrier::{Fate, FaultPlan, With};
use crate::simulation::checkers::{Evidence, Notes};
use crate::simulation::life::{Life, Universe};

const ACCOUNTS: u64 = 12;

/// How the API fails during the outage.
#[derive(Debug, Clone, Copy)]
enum Trouble {
    /// A gateway answers everything.
    Pages(u16),
    /// Nothing is answered.
    Hangs,
    /// No connection.
    Away,
}

/// Fault plan: no faults but an outage, and preflight reads that fail now and then.
struct Outage {
    clock: FakeClock,
    from: Duration,
    to: Duration,
    trouble: Trouble,
    seed: u64,
}

impl Outage {
    fn is_on(&self) -> bool {
        (self.from..self.to).contains(&self.clock.monotonic())
    }
}

impl FaultPlan for Outage {
    fn of_call(&self, _: &Call, _: u64) -> Fate {
        let ms = Duration::from_millis;
        if !self.is_on() {
            return Fate::Arrives { delivered: Some(ms(100)), answered: ms(300), with: With::Answer };
        }
        match self.trouble {
            Trouble::Away => Fate::NoConnection,
            Trouble::Hangs => Fate::Arrives { delivered: None, answered: seconds(200), with: With::Cut },
            Trouble::Pages(status) => {
                Fate::Arrives { delivered: None, answered: ms(50), with: With::Garbage(status) }
            }
        }
    }

    fn answers_read(&self, account: &str, number: u64) -> bool {
        let fails =
            account.bytes().fold(self.seed ^ number, |hash, byte| hash.rotate_left(7) ^ u64::from(byte));
        !self.is_on() && dice(fails).random_range(0..10) > 0
    }

    fn answers_account(&self) -> bool {
        !self.is_on()
    }

    fn lag(&self, _: &str, _: u64) -> Duration {
        Duration::ZERO
    }
}

/// Runs one seed and returns what was wrong.
fn tell(seed: u64) -> Vec<String> {
    let mut dice = dice(seed);
    let mut rules = policy();
    rules.typing.enabled = dice.random_range(0..2) == 0;
    rules.route = if dice.random_range(0..2) == 0 { Route::ExistingChat } else { Route::NewChat };
    rules.retry.max_retries = 4;
    rules.reconcile.absent = Absent::Resend;
    rules.cooldown.failures = 3;
    let trouble = match seed % 4 {
        0 => Trouble::Pages(502),
        1 => Trouble::Pages(403),
        2 => Trouble::Hangs,
        _ => Trouble::Away,
    };
    let from = seconds(dice.random_range(20..60));
    let lasts = seconds(dice.random_range(120..700));
    let calm =
        Arc::new(Outage { clock: FakeClock::new(), from: Duration::MAX, to: Duration::MAX, trouble, seed });
    let mut universe = Universe::new(seed, calm, rules, HashMap::new());
    universe.watched = ACCOUNTS;
    universe.rates = RequestRates { total: number(10), burst: number(10), account: number(2) };
    let clock = universe.clock.clone();
    let fault_plan = Outage { clock, from, to: from + lasts, trouble, seed };
    universe.carrier.set_weather(Arc::new(fault_plan));
    let mut notes = Notes::default();
    let mut wrongs = Vec::new();
    let told = universe.live(async |life| {
        give_all(life, &mut notes, &mut dice).await;
        life.pass(from).await;
        let began = universe.carrier.left().len();
        life.pass(lasts).await;
        let risked = universe.carrier.left().len() - began;
        if risked > 5 {
            wrongs.push(format!("{trouble:?}: {risked} messages left in {lasts:?} of it"));
        }
        acts::explain(life, &mut notes).await;
        life.pass(seconds(150)).await;
        let after = universe.carrier.left().into_iter().filter(|left| left.at > from + lasts);
        let accounts: std::collections::BTreeSet<String> = after.map(|left| left.account).collect();
        if accounts.len() < 10 {
            wrongs.push(format!("{trouble:?}: only {accounts:?} went on within 150 s"));
        }
        let finished = acts::finish(life, seconds(1800), 80).await;
        life.stop(seconds(30)).await;
        finished
    });
    if told != Some(true) {
        wrongs.push("P1: the queue does not come to its end".to_owned());
    }
    wrongs.extend(Evidence::new(&universe, &notes).wrongs());
    let sql = rusqlite::Connection::open(universe.database()).unwrap();
    let rests = "SELECT count(*) FROM events WHERE kind = 'account.hold' AND reason = 'failures'";
    let rests: i64 = sql.query_row(rests, [], |row| row.get(0)).unwrap();
    if rests > 0 {
        wrongs.push(format!("{trouble:?}: {rests} accounts were blamed for it"));
    }
    wrongs
}

async fn give_all(life: &Life<'_>, notes: &mut Notes, dice: &mut Dice) {
    for n in 0..ACCOUNTS * 8 {
        let chat = to_chat(&format!("c{}", n / ACCOUNTS), "");
        let person = to_user(&format!("u{n}"), Inbox::OfPolicy);
        let target = if dice.random_range(0..3) == 0 { person.target } else { chat.target };
        let account_id = account(&(n % ACCOUNTS).to_string());
        let message = NewMessage { account_id, target, ..to_chat("", &format!("message {n}")) };
        acts::give(life, notes, keyed(&format!("key {n}"), message), Vec::new()).await;
    }
}

fn number(n: u32) -> std::num::NonZeroU32 {
    std::num::NonZeroU32::new(n).unwrap()
}

#[test]
fn an_api_that_fails_costs_five_messages_and_no_account() {
    let seeds: u64 = std::env::var("OUTBOXD_SIM_SEEDS").ok().map_or(12, |seeds| seeds.parse().unwrap());
    let only: Option<u64> = std::env::var("OUTBOXD_SIM_SEED").ok().map(|seed| seed.parse().unwrap());
    let (first, last) = only.map_or((1, seeds), |seed| (seed, seed));
    let next = std::sync::atomic::AtomicU64::new(first);
    let failed = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    if seed > last {
                        return;
                    }
                    let wrongs = tell(seed);
                    if !wrongs.is_empty() {
                        failed.lock().unwrap().push((seed, wrongs));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{failed:#?}\nOUTBOXD_SIM_SEED=… cargo test --test it simulation_api");
}
