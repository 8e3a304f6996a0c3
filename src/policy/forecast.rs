//! Runs the queue of one account forward without sending: when each message goes, and what binds each day.
//!
//! As in the engine, `select` picks the message and `plan.rs` draws the pauses. A forecast assumes that nothing new
//! arrives, that every call is accepted after the usual time, and that no person pauses or resumes anything; a
//! message that waits for a person waits until it expires, or forever, and so does what comes after it in its chat or
//! its campaign.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Duration;

use jiff::Timestamp;
use rand::Rng;

use super::decide::{DecisionInput, Live, Until, Verdict, gates};
use super::forecast_ends;
use super::forecast_reads::Reads;
pub use super::forecast_types::{Day, Expected, Follows, Forecast, Queued, Start, StepPlace, Wait};
use super::hours::{self, Hours, account_seed, hours_at};
use super::lanes::Lanes;
use super::plan::{Plan, plan};
use super::select::{Entry, SelectionInput, select};
use super::settle::after;
use super::steps::wait_end;
use crate::domain::account::Account;
use crate::domain::caps::Ledger;
use crate::domain::reason::Reason;
use crate::domain::waiting::Waiting;

/// Runs the account forward.
pub fn forecast(start: &Start<'_>, dice: &mut impl Rng) -> Forecast {
    forecast_while(start, dice, || true)
}

/// Runs the account forward while `goes_on` returns true; it is called every thousand steps.
pub fn forecast_while(start: &Start<'_>, dice: &mut impl Rng, goes_on: impl Fn() -> bool) -> Forecast {
    let mut run = Run::new(start);
    let mut steps = 0_u32;
    while run.now < start.until && run.step(dice) {
        steps += 1;
        if steps.is_multiple_of(1000) && !goes_on() {
            break;
        }
    }
    run.finish()
}

struct Run<'a> {
    start: &'a Start<'a>,
    now: Timestamp,
    account: Account,
    ledger: Ledger,
    reads: Reads,
    /// Messages that may go now.
    ready: Lanes<'a>,
    /// Messages that may go later, by time.
    later: BinaryHeap<Reverse<(Timestamp, usize)>>,
    /// The messages of each thread that hold those after them.
    held: HashMap<u64, Vec<Holder>>,
    /// Chats that the forecast itself started.
    started: HashMap<u64, Timestamp>,
    /// The steps that wait for the one before, by its place in its campaign.
    follow_ups: HashMap<StepPlace, usize>,
    hours: Option<(Hours, Timestamp)>,
    messages: Vec<Expected>,
    days: Vec<Day>,
    day_ends: Timestamp,
    /// What held the ready messages last.
    last: Wait,
    seed: u64,
}

/// A message that holds those after it in its thread.
struct Holder {
    due_at: Timestamp,
    seq: i64,
    /// `None` if it waits for a person or for an event.
    until: Option<Timestamp>,
    /// Whether a person must act before it goes.
    needs_person: bool,
}

impl<'a> Run<'a> {
    fn new(start: &'a Start<'a>) -> Self {
        let mut run = Self {
            start,
            now: start.now,
            account: start.account.clone(),
            ledger: start.ledger.clone(),
            reads: Reads::new(start.profile_reads.clone()),
            ready: Lanes::new(start.lanes, start.turns.clone()),
            later: BinaryHeap::new(),
            held: HashMap::new(),
            started: HashMap::new(),
            follow_ups: HashMap::new(),
            hours: None,
            messages: Vec::with_capacity(start.queued.len()),
            days: Vec::new(),
            day_ends: Timestamp::MIN,
            last: Wait::of(Reason::Turn),
            seed: account_seed(start.account.id.as_str()),
        };
        // A call in flight ends without any action.
        run.account.in_flight = false;
        for (index, message) in start.queued.iter().enumerate() {
            if let Some(follows) = message.follows {
                run.follow_ups.insert(follows.place, index);
            }
            let wait = message.waits_for.unwrap_or(Wait::of(message.later_for));
            run.messages.push(Expected::Waiting(wait));
            if message.waits_for.is_none() {
                run.later.push(Reverse((message.ready_at, index)));
            }
            // A step that waits for the step before it holds no other message of its thread.
            if message.follows.is_some() {
                continue;
            }
            // What expires holds no other message afterwards.
            let ends_at = |at: Timestamp| message.expires_at.map_or(at, |expires_at| at.min(expires_at));
            if wait.needs_person || wait.reason == Reason::NotConnected {
                run.hold_endlessly(index, wait.needs_person);
            } else if message.ready_at > message.due_at && message.ready_at > start.now {
                run.hold(index, ends_at(message.ready_at));
            }
        }
        run
    }

    /// Lets the messages after this one in its thread wait until then.
    fn hold(&mut self, index: usize, until: Timestamp) {
        let Queued { due_at, seq, thread, .. } = self.start.queued[index];
        let holder = Holder { due_at, seq, until: Some(until), needs_person: false };
        self.held.entry(thread).or_default().push(holder);
    }

    /// Defers a ready message, and those after it in its thread.
    fn defer(&mut self, lane: usize, index: usize, until: Timestamp, reason: Reason) {
        self.hold(index, until);
        self.postpone(lane, index, until, reason);
    }

    /// Lets them wait until this one expires, if it does.
    fn hold_endlessly(&mut self, index: usize, needs_person: bool) {
        let Queued { due_at, seq, thread, expires_at: until, .. } = self.start.queued[index];
        self.held.entry(thread).or_default().push(Holder { due_at, seq, until, needs_person });
    }

    /// Returns the message before it in its thread that holds this one for the longest time.
    fn held_by(&self, index: usize) -> Option<&Holder> {
        let message = &self.start.queued[index];
        let is_before = |holder: &&Holder| (holder.due_at, holder.seq) < (message.due_at, message.seq);
        let holders = self.held.get(&message.thread)?.iter().filter(is_before);
        let holders = holders.filter(|holder| holder.until.is_none_or(|until| until > self.now));
        holders.max_by_key(|holder| (holder.until.unwrap_or(Timestamp::MAX), holder.needs_person))
    }

    /// Makes one send, one expiry or one wait; returns `false` when nothing more can happen.
    fn step(&mut self, dice: &mut impl Rng) -> bool {
        self.ripen();
        let first: Vec<(usize, usize)> = self.ready.first_of_classes().collect();
        for (lane, index) in &first {
            match self.held_by(*index) {
                Some(&Holder { until: Some(until), .. }) => {
                    self.postpone(*lane, *index, until, Reason::ChatOrder);
                    return true;
                }
                Some(&Holder { until: None, needs_person, .. }) => {
                    self.ready.pop(*lane);
                    self.messages[*index] =
                        Expected::Waiting(Wait { reason: Reason::ChatOrder, needs_person });
                    return true;
                }
                None => {}
            }
        }
        let hours = self.hours();
        let messages: Vec<Waiting> = first.iter().map(|(lane, index)| self.waiting(*index, *lane)).collect();
        let entry = |(place, (lane, index)): (usize, &(usize, usize))| Entry {
            message: &messages[place],
            lane: &self.start.lanes[*lane],
            share: self.ready.share(*lane),
            seq: self.start.queued[*index].seq,
            typing_until: None,
        };
        let entries: Vec<Entry<'_>> = first.iter().enumerate().map(entry).collect();
        let selection = select(&self.selection_input(hours), &entries);
        let rests = selection.verdicts.iter().enumerate().find_map(|(place, verdict)| match verdict {
            Verdict::Wait { reason: Reason::RecipientRest, until: Until::At(until) } => Some((place, *until)),
            Verdict::Wait { .. } | Verdict::Send | Verdict::Stop { .. } => None,
        });
        if let Some((place, until)) = rests {
            let (lane, index) = first[place];
            self.defer(lane, index, until, Reason::RecipientRest);
            return true;
        }
        if let Some(next) = selection.next {
            let (lane, index) = first[next];
            match selection.verdicts[next] {
                Verdict::Send => {
                    match self.reads.read_for(self.start, index, &self.account, self.now) {
                        Some(until) => self.defer(lane, index, until, Reason::Resolving),
                        None => self.send(lane, index, &messages[next], dice),
                    }
                    return true;
                }
                Verdict::Stop { .. } => {
                    self.ready.pop(lane);
                    self.messages[index] = Expected::Expired;
                    return true;
                }
                Verdict::Wait { .. } => {}
            }
        }
        let binding = selection.standing().map(|(place, _)| {
            let closed = gates(&self.selection_input(hours).for_message(&messages[place], None)).into_iter();
            closed.filter_map(|gate| Some((gate.reason, gate.closed?))).next()
        });
        self.wait_for(binding.flatten())
    }

    /// Waits for the gate that binds what is ready, or for what becomes ready next.
    fn wait_for(&mut self, binding: Option<(Reason, Until)>) -> bool {
        let ripe = self.later.peek().map(|Reverse((at, _))| *at);
        let ends_at = binding.and_then(|(_, until)| match until {
            Until::At(at) | Until::NotBefore(at) => Some(at),
            Until::Person => None,
        });
        if let Some((reason, until)) = binding {
            self.last = Wait { reason, needs_person: until == Until::Person };
        }
        let Some(at) = ends_at.into_iter().chain(ripe).min() else { return false };
        // If a message is ready, its reason counts, whatever becomes ready next.
        let reason = binding.map_or(Reason::Scheduled, |(reason, _)| reason);
        self.wait(at.max(self.now), reason, ends_at.is_some());
        true
    }

    fn ripen(&mut self) {
        while let Some(Reverse((at, index))) = self.later.peek().copied() {
            if at > self.now {
                break;
            }
            self.later.pop();
            let message = &self.start.queued[index];
            self.ready.push(message.lane, message.due_at, message.seq, index);
        }
    }

    fn waiting(&self, index: usize, lane: usize) -> Waiting {
        let (message, lane) = (&self.start.queued[index], &self.start.lanes[lane]);
        let started_at =
            self.started.get(&message.thread).or_else(|| self.start.started.get(&message.thread));
        Waiting {
            kind: lane.kind,
            ignores_hours: lane.urgent && lane.ignore_hours,
            due_at: message.due_at,
            retry_at: None,
            deferred: None,
            stop: None,
            step: None,
            held: false,
            started_at: started_at.copied(),
            expires_at: message.expires_at,
            blocked_by: None,
            between: Vec::new(),
            queue_position: 0,
        }
    }

    fn selection_input(&self, hours: Hours) -> SelectionInput<'_> {
        SelectionInput {
            now: self.now,
            daemon: self.start.daemon,
            account: &self.account,
            live: Live::default(),
            policy: self.start.policy,
            hours,
            ledger: Some(&self.ledger),
        }
    }

    fn decision_input<'b>(&'b self, message: &'b Waiting, hours: Hours) -> DecisionInput<'b> {
        self.selection_input(hours).for_message(message, None)
    }

    /// Returns the hours at this instant; looks them up again only when they change.
    fn hours(&mut self) -> Hours {
        if let Some((hours, good_until)) = self.hours
            && self.now < good_until
        {
            return hours;
        }
        let policy = self.start.policy;
        let hours = hours_at(policy.calendar.as_ref(), &policy.zone, self.seed, self.now);
        let good_until = match hours {
            Hours::Always => Timestamp::MAX,
            Hours::Open { until } => until,
            Hours::Closed { opens_at } => opens_at.unwrap_or(Timestamp::MAX),
        };
        self.hours = Some((hours, good_until));
        hours
    }

    fn send(&mut self, lane: usize, index: usize, message: &Waiting, dice: &mut impl Rng) {
        let hours = self.hours();
        let Plan { pause, warms_up_again } = plan(&self.decision_input(message, hours), dice);
        self.ready.pop(lane);
        self.messages[index] = Expected::Sent(self.now);
        self.today().sends += 1;
        self.ledger.push(self.now, message.kind);
        if message.kind.starts_chat() {
            self.started.insert(self.start.queued[index].thread, self.now);
        }
        self.ready.take_turn(lane, &self.start.policy.order);
        self.follow_up(index);
        let history = &mut self.account.history;
        history.first_call_at.get_or_insert(self.now);
        if warms_up_again {
            history.warm_up_again_at = Some(self.now);
        }
        (history.break_left, history.on_break) = (pause.break_left, pause.on_break);
        history.last_gap = Some(pause.gap);
        self.account.last_call_at = Some(self.now);
        let next = after(after(self.now, self.start.call), pause.gap + super::pace::CUT);
        self.account.next_call_at = Some(next);
        if !self.ready.is_empty() {
            self.wait(next, if pause.on_break { Reason::Break } else { Reason::Gap }, true);
        }
    }

    /// Lets the wait of the step after a sent one begin.
    fn follow_up(&mut self, sent: usize) {
        let Some(index) = self.start.queued[sent].step.and_then(|place| self.follow_ups.remove(&place))
        else {
            return;
        };
        let message = &self.start.queued[index];
        let Some(Follows { wait, .. }) = message.follows else { return };
        // A person holds it, whatever the step before does.
        if message.waits_for != Some(Wait::of(Reason::StepBefore)) {
            return;
        }
        let due_at = wait_end(self.now, wait, &self.start.policy.zone).max(message.ready_at);
        self.messages[index] = Expected::Waiting(Wait::of(Reason::StepWait));
        self.later.push(Reverse((due_at, index)));
    }

    fn postpone(&mut self, lane: usize, index: usize, until: Timestamp, reason: Reason) {
        self.ready.pop(lane);
        self.messages[index] = Expected::Waiting(Wait::of(reason));
        self.later.push(Reverse((until, index)));
    }

    /// Advances the time to `until`; the wait counts for each day in between.
    fn wait(&mut self, until: Timestamp, reason: Reason, counts: bool) {
        let until = until.min(self.start.until);
        while counts && self.now < until {
            self.today();
            let end = until.min(self.day_ends);
            let passed = Duration::try_from(end.duration_since(self.now)).unwrap_or_default();
            let waits = &mut self.today().waits;
            match waits.iter_mut().find(|(known, _)| *known == reason) {
                Some((_, time)) => *time += passed,
                None => waits.push((reason, passed)),
            }
            self.now = end;
        }
        self.now = until;
    }

    /// Returns the day of this instant.
    fn today(&mut self) -> &mut Day {
        if self.now >= self.day_ends || self.days.is_empty() {
            let zone = &self.start.policy.zone;
            let date = zone.to_datetime(self.now).date();
            self.day_ends = hours::day_after(zone, date);
            self.days.push(Day { date, sends: 0, bound_by: None, waits: Vec::new() });
        }
        self.days.last_mut().expect("one was pushed if there was none")
    }

    fn finish(mut self) -> Forecast {
        let ready = self.ready.all();
        forecast_ends::settle(self.start, &mut self.messages, ready, self.last, &mut self.follow_ups);
        for day in &mut self.days {
            // Every night is outside the hours, so the hours bind a day only if nothing else does.
            let rank = |(reason, time): &(Reason, Duration)| (*reason != Reason::OutsideHours, *time);
            day.bound_by = day.waits.iter().max_by_key(|wait| rank(wait)).map(|(reason, _)| *reason);
        }
        Forecast { messages: self.messages, days: self.days }
    }
}

#[cfg(test)]
#[path = "forecast_tests.rs"]
mod tests;
