//! Tests of the permits on a test clock: the order, the wake-ups, and that a send follows its typing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;

use super::super::rates::RequestRates;
use super::*;
use crate::clock::{Clock, Sleep};

#[derive(Clone, Default)]
struct TestClock(Arc<AtomicU64>);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH
    }
    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
    fn sleep(&self, _: Duration) -> Sleep {
        Box::pin(std::future::pending())
    }
}

struct World {
    clock: TestClock,
    permits: Permits,
    breaker: Breaker,
    /// Accounts that were woken while another one made a request.
    woken: Vec<AccountId>,
}

fn account(n: usize) -> AccountId {
    AccountId::new(format!("acc_{n}"))
}

fn number(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).expect("not zero")
}

impl World {
    fn new(total: u32) -> Self {
        let clock = TestClock::default();
        let rates = RequestRates { total: number(total), burst: number(1), account: number(2) };
        let shared: Arc<dyn Clock> = Arc::new(clock.clone());
        let permits = Permits::new(Rates::new(rates, &shared));
        Self { clock, permits, breaker: Breaker::default(), woken: Vec::new() }
    }

    fn now(&self) -> Duration {
        self.clock.monotonic()
    }

    /// Runs a step of account `n` that requests a permit.
    fn asks(&mut self, n: usize, kind: Kind) -> Option<Kind> {
        let now = self.now();
        self.permits.step_begins(&account(n));
        self.permits.enter(&account(n), kind, now, &mut self.breaker);
        let woken = self.permits.grant(now, &mut self.breaker).0;
        self.woken.extend(woken.into_iter().filter(|id| *id != account(n)));
        match self.permits.take(&account(n)) {
            Asked::Ready(kind) => Some(kind),
            Asked::Waiting => None,
        }
    }

    /// Makes a send that was granted, and answers it.
    fn sent(&mut self) {
        self.breaker.send_begins();
        let ended = super::super::breaker::Ended {
            heard: crate::domain::outcome::Heard::Answer,
            is_send: true,
            is_snapshot: false,
            no_connection: false,
            began: self.breaker.tally(),
        };
        let mut dice = crate::clock::dice(1);
        self.breaker.ended(&account(0), ended, self.now(), &mut dice);
    }

    fn pump(&mut self) -> (Vec<AccountId>, Option<Duration>) {
        let (woken, next) = self.permits.grant(self.now(), &mut self.breaker);
        self.woken.extend(woken);
        (std::mem::take(&mut self.woken), next)
    }

    fn pass(&self, ms: u64) {
        self.clock.0.fetch_add(ms, Ordering::Relaxed);
    }
}

/// S1, S2: five hundred accounts at ten requests per second.
#[test]
fn accounts_are_served_in_turn_with_one_wake_a_permit() {
    let mut world = World::new(10);
    let mut sends = [0_u32; 500];
    let mut ready: Vec<usize> = (0..500).collect();
    let (mut wakes, mut permits) = (0, 0);
    while world.now() < Duration::from_secs(300) {
        for n in std::mem::take(&mut ready) {
            if world.asks(n, Kind::Send).is_some() {
                world.sent();
                permits += 1;
                sends[n] += 1;
                // It is ready again at once.
                ready.push(n);
            }
        }
        let (woken, next) = world.pump();
        wakes += woken.len();
        ready.extend(woken.iter().map(|id| id.as_str()[4..].parse::<usize>().expect("a number")));
        if ready.is_empty() {
            let wait = next.expect("one waits").saturating_sub(world.now());
            world.pass(u64::try_from(wait.as_millis()).expect("short").max(1));
        }
    }
    let (least, most) = (sends.iter().min().expect("500"), sends.iter().max().expect("500"));
    assert!(most - least <= 1, "{least} to {most}");
    assert!((2950..=3010).contains(&permits), "all of the rate is used: {permits}");
    assert!(wakes <= permits as usize + 1, "{wakes} wakes for {permits} permits");
}

#[test]
fn kinds_have_their_order_and_none_starves() {
    let mut world = World::new(1);
    assert!(world.asks(0, Kind::Send).is_some());
    world.sent();
    let (task, mut read) = oneshot::channel();
    world.permits.enter_task(&account(1), Kind::Snapshot, world.now(), task);
    let lasts = Duration::from_secs(2);
    assert!(world.asks(2, Kind::Typing { free_at: Duration::ZERO, lasts }).is_none());
    world.pass(500);
    assert!(world.asks(3, Kind::Look).is_none());
    world.pass(500);
    assert_eq!(world.pump().0, [account(3)], "what a send needs goes before typing that asked earlier");
    let Asked::Ready(_) = world.permits.take(&account(3)) else { panic!("it was woken") };
    // Each second two more accounts request a send, and there is one permit.
    for second in 0..120 {
        for n in [1000 + 2 * second, 1001 + 2 * second] {
            if world.asks(n, Kind::Send).is_some() {
                world.sent();
            }
        }
        world.pass(1000);
        for id in world.pump().0 {
            let Asked::Ready(kind) = world.permits.take(&id) else { panic!("it was woken") };
            if kind == Kind::Send {
                world.sent();
            }
        }
        if read.try_recv().is_ok() {
            // The requests of its first minute go before it, at half of the rate.
            assert!((110..=125).contains(&second), "after {second} s");
            return;
        }
    }
    panic!("the read starved");
}

#[test]
fn what_a_message_needs_keeps_the_place_of_its_first_request() {
    let mut world = World::new(1);
    assert!(world.asks(0, Kind::Send).is_some());
    world.sent();
    assert!(world.asks(1, Kind::Look).is_none());
    world.pass(100);
    (2..10).for_each(|n| assert!(world.asks(n, Kind::Look).is_none()));
    world.pass(900);
    assert_eq!(world.pump().0, [account(1)]);
    assert!(world.asks(1, Kind::Look).is_some());
    assert!(world.asks(1, Kind::Send).is_none());
    world.pass(1000);
    assert_eq!(world.pump().0, [account(1)], "and not behind the eight others");
}

#[test]
fn a_place_that_is_not_needed_any_more_goes_to_the_next() {
    let mut world = World::new(1);
    assert!(world.asks(0, Kind::Send).is_some());
    world.sent();
    (1..4).for_each(|n| assert!(world.asks(n, Kind::Send).is_none()));
    // Account 1 was paused: its step requests nothing.
    world.permits.step_begins(&account(1));
    assert!(world.permits.step_ended(&account(1), &mut world.breaker));
    world.pass(1000);
    assert_eq!(world.pump().0, [account(2)]);
    // Account 2 is woken and requests nothing either: its permit goes to the next account.
    world.permits.step_begins(&account(2));
    assert!(world.permits.step_ended(&account(2), &mut world.breaker));
    assert_eq!(world.pump().0, [account(3)]);
    // Account 3 never comes: its permit expires and goes to the next account.
    assert!(world.asks(4, Kind::Send).is_none());
    world.pass(5000);
    assert_eq!(world.pump().0, [account(4)]);
    assert!(world.asks(4, Kind::Send).is_some());
    world.sent();
    assert!(world.permits.turns.is_empty() && world.permits.ready.is_empty(), "nothing is left behind");
}

#[test]
fn the_time_that_is_shown_is_that_of_its_place() {
    let mut world = World::new(10);
    assert!(world.asks(0, Kind::Send).is_some());
    world.sent();
    (1..101).for_each(|n| assert!(world.asks(n, Kind::Send).is_none()));
    let shown: Vec<Duration> = [1, 50, 100]
        .map(|n| world.permits.busy_until(&account(n), world.now(), &world.breaker).expect("it waits"))
        .to_vec();
    let ms: Vec<u128> = shown.iter().map(Duration::as_millis).collect();
    assert_eq!(ms, [100, 5000, 10_000]);
    assert_eq!(world.permits.busy_until(&account(0), world.now(), &world.breaker), None);
}

/// S3: five hundred accounts that type before each message.
#[test]
fn typing_is_shown_only_with_its_send_behind_it() {
    for total in [1, 3, 10, 50] {
        let mut world = World::new(total);
        let mut ready: Vec<usize> = (0..500).collect();
        let mut typing: BTreeMap<Duration, usize> = BTreeMap::new();
        let (mut shown, mut sent, mut latest) = (0_u32, 0_u32, Duration::ZERO);
        while world.now() < Duration::from_secs(120) {
            let now = world.now();
            while let Some(entry) = typing.first_entry().filter(|entry| *entry.key() <= now) {
                ready.push(entry.remove());
            }
            for n in std::mem::take(&mut ready) {
                let typed = world.permits.typed_until(&account(n));
                let due = typed.filter(|due| *due <= now);
                let lasts = Duration::from_millis(2000 + (n as u64 * 7919) % 10_000);
                let ready_kind = world.permits.turns.get(&account(n)).map(|turn| turn.place);
                let is_granted = matches!(ready_kind, Some(Place::Ready(Kind::Typing { .. }, _)));
                match due {
                    Some(due) if !is_granted => {
                        if world.asks(n, Kind::Send).is_some() {
                            world.sent();
                            sent += 1;
                            latest = latest.max(now.saturating_sub(due));
                            ready.push(n);
                        }
                    }
                    _ => {
                        let kind = Kind::Typing { free_at: Duration::ZERO, lasts };
                        if world.asks(n, kind).is_some() {
                            shown += 1;
                            let due = world.permits.typed_until(&account(n)).expect("its send is planned");
                            let mut at = due;
                            while typing.contains_key(&at) {
                                at += Duration::from_nanos(1);
                            }
                            typing.insert(at, n);
                        }
                    }
                }
            }
            let (woken, _) = world.pump();
            ready.extend(woken.iter().map(|id| id.as_str()[4..].parse::<usize>().expect("a number")));
            if ready.is_empty() {
                world.pass(1);
            }
        }
        let rate = f64::from(sent) / 120.0;
        assert!(latest <= Duration::from_millis(1010), "{total}: a send {latest:?} after its typing");
        assert!(shown - sent <= total * 7 + 2, "{total}: {shown} shown, {sent} sent");
        assert!(rate >= f64::from(total) * 0.3, "{total}: {rate} sends a second");
    }
}

#[test]
fn memory_of_accounts_at_rest_is_let_go_of() {
    let mut world = World::new(10_000);
    for n in 0..5000 {
        world.pass(1);
        assert!(world.asks(n, Kind::Send).is_some());
        world.sent();
    }
    assert!(world.permits.rates.accounts() > 1000);
    world.pass(61_000);
    let _woken = world.pump();
    assert_eq!(world.permits.rates.accounts(), 0);
    assert!(world.permits.turns.is_empty());
}
