//! Tests of the breaker on made-up calls: when it opens and closes, what an outage risks, and whom it blames.

use super::*;
use crate::clock::dice;

const fn s(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn account(n: u32) -> AccountId {
    AccountId::new(format!("acc_{n}"))
}

/// A breaker with a clock, and the calls made on it.
struct World {
    breaker: Breaker,
    dice: Dice,
    now: Duration,
}

impl World {
    fn new() -> Self {
        let mut breaker = Breaker::default();
        breaker.works(&account(0));
        Self { breaker, dice: dice(7), now: s(0) }
    }

    /// Starts a send of account `n`, if it may start.
    fn send(&mut self, n: u32) -> Option<(u32, Tally)> {
        if !self.breaker.may_send(self.now) {
            self.breaker.send_waits(self.now);
            return None;
        }
        self.breaker.works(&account(n));
        self.breaker.send_granted();
        self.breaker.send_begins();
        Some((n, self.breaker.tally()))
    }

    fn ends(&mut self, (n, began): (u32, Tally), heard: Heard) -> Blame {
        let ended = Ended { heard, is_send: true, is_snapshot: false, no_connection: false, began };
        self.breaker.ended(&account(n), ended, self.now, &mut self.dice).0
    }

    fn read(&mut self, n: u32, heard: Heard) -> bool {
        self.read_of(n, heard, false)
    }

    fn snapshot(&mut self, heard: Heard) {
        self.read_of(1, heard, true);
    }

    fn read_of(&mut self, n: u32, heard: Heard, is_snapshot: bool) -> bool {
        let began = self.breaker.tally();
        let ended = Ended { heard, is_send: false, is_snapshot, no_connection: false, began };
        self.breaker.ended(&account(n), ended, self.now, &mut self.dice).1
    }

    /// Runs the next probe and returns how long the breaker waited before it.
    fn probe(&mut self, heard: Heard) -> Duration {
        let at = self.breaker.probe_at().expect("a probe is due");
        let waited = at.saturating_sub(self.now);
        self.now = at;
        self.breaker.probe_begins(at);
        self.breaker.probed(heard, self.now, &mut self.dice);
        waited
    }
}

#[test]
fn three_failures_in_a_row_open_it_and_any_answer_in_between_does_not() {
    let mut world = World::new();
    for heard in [Heard::Trouble, Heard::Trouble, Heard::Answer, Heard::Trouble, Heard::Trouble] {
        world.read(1, heard);
        assert!(!world.breaker.is_open());
    }
    world.read(1, Heard::Neither);
    assert!(!world.breaker.is_open());
    world.read(1, Heard::Trouble);
    assert!(world.breaker.is_open() && !world.breaker.may_send(world.now));
    assert!(world.read(2, Heard::Answer), "it closes on an answer to anything");
    assert_eq!((world.breaker.is_open(), world.breaker.failures()), (false, 0));
}

/// Reads of account data fail while everything else works: they stop no send for long.
#[test]
fn snapshot_reads_that_fail_alone_count_until_another_call_is_answered() {
    let mut world = World::new();
    (0..3).for_each(|_| world.snapshot(Heard::Trouble));
    assert!(world.breaker.is_open(), "it may be the whole API");
    world.probe(Heard::Answer);
    (0..100).for_each(|_| world.snapshot(Heard::Trouble));
    assert!(!world.breaker.is_open() && world.send(1).is_some(), "they fail alone");
    (0..3).for_each(|_| _ = world.read(2, Heard::Trouble));
    assert!(world.breaker.is_open(), "the others still count");
    world.probe(Heard::Answer);
    world.snapshot(Heard::Answer);
    (0..3).for_each(|_| world.snapshot(Heard::Trouble));
    assert!(world.breaker.is_open(), "they count again once one was answered");
}

#[test]
fn no_connection_opens_it_at_once_and_risks_nothing() {
    let mut world = World::new();
    let (n, began) = world.send(1).unwrap();
    let ended =
        Ended { heard: Heard::Trouble, is_send: true, is_snapshot: false, no_connection: true, began };
    let (blame, _) = world.breaker.ended(&account(n), ended, world.now, &mut world.dice);
    assert_eq!(blame, Blame::default());
    assert!(world.breaker.is_open());
    world.probe(Heard::Answer);
    let started = (0..20).filter(|n| world.send(*n).is_some()).count();
    assert_eq!(started, 5, "none of the five was spent, and nothing is on trial");
}

/// H4: a probe that hangs is not an answer.
#[test]
fn a_probe_without_an_answer_keeps_it_open_and_the_pauses_grow_to_a_minute() {
    let mut world = World::new();
    (0..3).for_each(|_| _ = world.read(1, Heard::Trouble));
    let mut longest = Duration::ZERO;
    for n in 0..40 {
        let heard = if n % 2 == 0 { Heard::Trouble } else { Heard::Neither };
        let waited = world.probe(heard);
        assert!(world.breaker.is_open() && waited <= s(60) && waited >= s(1), "{waited:?}");
        longest = longest.max(waited);
    }
    assert!(longest > s(40), "{longest:?}");
    assert!(world.breaker.opens_until().unwrap() > world.now);
    world.probe(Heard::Answer);
    assert!(!world.breaker.is_open());
}

/// An API that takes requests and never answers.
#[test]
fn at_most_five_sends_start_without_an_answer() {
    let mut world = World::new();
    let sends: Vec<_> = (0..100).filter_map(|n| world.send(n)).collect();
    assert_eq!(sends.len(), 5);
    assert_eq!(world.breaker.probe_at(), Some(s(3)), "a read finds out");
    world.now = s(3);
    world.breaker.probe_begins(world.now);
    assert!(world.breaker.is_silent(), "what waits is not said to wait for the rate");
    assert!(world.send(50).is_none());
    world.breaker.probed(Heard::Trouble, world.now, &mut world.dice);
    assert!(world.breaker.is_open(), "five sends and a read without an answer");
    for send in sends {
        assert_eq!(world.ends(send, Heard::Trouble), Blame::default(), "no account is blamed");
    }
}

#[test]
fn a_slow_api_goes_on_with_each_answer() {
    let mut world = World::new();
    let mut flying: std::collections::VecDeque<_> = (0..100).filter_map(|n| world.send(n)).collect();
    let mut sent = 0;
    for _ in 0..20 {
        world.now += s(20);
        let send = flying.pop_front().unwrap();
        world.ends(send, Heard::Answer);
        sent += 1;
        flying.extend((0..100).map_while(|n| world.send(n)));
    }
    assert!(sent == 20 && flying.len() >= 80, "{}", flying.len());
}

#[test]
fn permits_that_are_out_count_until_they_are_used_or_given_back() {
    let mut world = World::new();
    (0..5).for_each(|_| world.breaker.send_granted());
    assert!(!world.breaker.may_send(world.now));
    world.read(1, Heard::Answer);
    assert!(!world.breaker.may_send(world.now), "they have not started yet");
    world.breaker.send_returned();
    assert!(world.breaker.may_send(world.now));
}

/// H2: ten minutes of 502 to everything, with a hundred accounts.
#[test]
fn an_outage_risks_five_messages_and_blames_nobody() {
    let mut world = World::new();
    world.read(0, Heard::Answer);
    let (mut risked, mut blamed) = (0, 0);
    while world.now < s(600) {
        let sends: Vec<_> = (0..100).filter_map(|n| world.send(n)).collect();
        risked += sends.len();
        for send in sends {
            let blame = world.ends(send, Heard::Trouble);
            blamed += u32::from(blame != Blame::default());
        }
        world.probe(Heard::Trouble);
    }
    assert!(risked <= 5, "{risked}");
    world.probe(Heard::Answer);
    for n in 0..100 {
        let send = world.send(n).unwrap();
        blamed += u32::from(world.ends(send, Heard::Answer) != Blame::default());
    }
    assert_eq!(blamed, 0);
}

/// Reads work and sends do not: a read must not let a hundred sends go each time.
#[test]
fn after_a_read_closed_it_one_send_at_a_time_is_tried() {
    let mut world = World::new();
    let mut risked = 0;
    while world.now < s(600) {
        let sends: Vec<_> = (0..100).filter_map(|n| world.send(n)).collect();
        risked += sends.len();
        sends.into_iter().for_each(|send| _ = world.ends(send, Heard::Trouble));
        // While a trial is planned, nothing is probed.
        match world.breaker.next_trial(world.now) {
            Some(at) if !world.breaker.is_open() => world.now = at,
            Some(_) | None => _ = world.probe(Heard::Answer),
        }
        assert!(!world.breaker.is_open());
    }
    assert!((6..20).contains(&risked), "{risked}");
    world.now += s(301);
    let send = world.send(1).unwrap();
    assert!(world.send(2).is_none(), "one on trial");
    world.ends(send, Heard::Answer);
    assert_eq!((0..100).filter(|n| world.send(*n).is_some()).count(), 5, "it is well again");
}

#[test]
fn trouble_is_the_accounts_own_where_the_api_answered_others_meanwhile() {
    let mut world = World::new();
    let slow = world.send(1).unwrap();
    for n in 2..6 {
        let send = world.send(n).unwrap();
        world.ends(send, Heard::Answer);
    }
    assert!(world.ends(slow, Heard::Trouble).is_own);
    // Half of the other calls fail as well, so the API is to blame.
    let slow = world.send(1).unwrap();
    for heard in [Heard::Answer, Heard::Trouble, Heard::Answer, Heard::Trouble] {
        world.read(2, heard);
    }
    assert!(!world.ends(slow, Heard::Trouble).is_own);
}

/// One account alone, whose sends always fail while reads work: the blame follows after the call.
#[test]
fn an_answer_soon_after_puts_the_blame_on_those_that_failed() {
    let mut world = World::new();
    let mut failures = 0;
    for sends in 1.. {
        let send = world.send(1).unwrap();
        let blame = world.ends(send, Heard::Trouble);
        failures += blame.earlier + u32::from(blame.is_own);
        if failures >= 3 {
            assert!(sends <= 4, "{sends}");
            break;
        }
        match world.breaker.probe_at() {
            Some(_) => _ = world.probe(Heard::Answer),
            None => _ = world.read(1, Heard::Answer),
        }
    }
}

/// Only sends fail, while reads and typing are always answered: this is still trouble of the API.
#[test]
fn sends_of_several_accounts_that_fail_go_on_trial_one_at_a_time_although_reads_are_answered() {
    let mut world = World::new();
    let mut risked = 0;
    let mut blamed = 0;
    while world.now < s(600) {
        world.now += s(1);
        world.read(50, Heard::Answer);
        if world.breaker.probe_at().is_some_and(|at| at <= world.now) {
            world.breaker.probe_begins(world.now);
            world.breaker.probed(Heard::Answer, world.now, &mut world.dice);
        }
        let started: Vec<_> = (0..20).filter_map(|n| world.send(n)).collect();
        risked += started.len();
        for call in started {
            world.now += Duration::from_millis(50);
            world.read(50, Heard::Answer);
            blamed += u32::from(world.ends(call, Heard::Trouble).is_own);
        }
    }
    assert!(risked <= 20, "{risked} messages risked in ten minutes");
    assert!(blamed <= 2, "{blamed} calls were blamed on their accounts");
    let mut sent = 0;
    while sent < 50 {
        world.now += s(1);
        assert!(world.now < s(1200), "it goes on soon after: {sent}");
        if world.breaker.probe_at().is_some_and(|at| at <= world.now) {
            world.breaker.probe_begins(world.now);
            world.breaker.probed(Heard::Answer, world.now, &mut world.dice);
        }
        let started: Vec<_> = (0..20).filter_map(|n| world.send(n)).collect();
        sent += started.len();
        started.into_iter().for_each(|call| _ = world.ends(call, Heard::Answer));
    }
}

/// An outage of seconds that catches many sends at once is one failed try, not many.
#[test]
fn sends_that_fail_together_are_one_try() {
    let mut world = World::new();
    let sends: Vec<_> = (1..=5).filter_map(|n| world.send(n)).collect();
    for send in sends {
        world.read(50, Heard::Answer);
        world.ends(send, Heard::Trouble);
    }
    assert!(world.breaker.is_on_trial());
    let pause = world.breaker.next_trial(world.now).expect("a trial is planned");
    assert!(pause <= s(15), "{pause:?}");
}

#[test]
fn a_send_without_a_result_does_not_hold_up_the_next_trial() {
    let mut world = World::new();
    for n in 1..=2 {
        let sent = world.send(n).expect("closed");
        world.ends(sent, Heard::Trouble);
        world.read(3, Heard::Trouble);
    }
    assert!(world.breaker.is_open());
    world.probe(Heard::Answer);
    assert!(world.breaker.is_on_trial());
    world.now += s(600);
    world.send(4).expect("one is tried");
    assert!(world.send(5).is_none(), "one at a time");
    world.breaker.send_lost();
    assert!(world.send(5).is_some());
}

#[test]
fn while_a_probe_runs_sends_wait_until_it_times_out() {
    let mut world = World::new();
    while world.send(1).is_some() {}
    world.now = world.breaker.probe_at().expect("nothing is answered");
    world.breaker.probe_begins(world.now);
    world.now += s(5);
    assert_eq!(world.breaker.silent_until(world.now), Some(world.now - s(5) + PROBE_TIMEOUT));
}
