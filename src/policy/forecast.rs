//! The queue of one account run forward without sending: when each message goes, and what binds each day.
//!
//! `select` picks, the pauses are drawn by `plan.rs`: what the engine runs. A forecast supposes that nothing new arrives, that every call is accepted after the usual time, and that nobody pauses
//! or resumes anything; what waits for a person waits for ever.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use rand::Rng;

use super::decide::{DecisionInput, Live, Until, Verdict, gates};
use super::fair_share::FairShare;
use super::hours::{self, Hours, account_seed, hours_at};
use super::lanes::Lanes;
use super::plan::{Plan, plan};
use super::select::{Entry, SelectionInput, select};
use super::settle::after;
use crate::domain::account::{Account, Daemon};
use crate::domain::caps::Ledger;
use crate::domain::lane::Lane;
use crate::domain::policy::Policy;
use crate::domain::reason::Reason;
use crate::domain::waiting::Waiting;

/// A queued message, as far as its time depends on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queued {
    /// Its place among the lanes.
    pub lane: usize,
    /// When it became or becomes due.
    pub due_at: Timestamp,
    /// Not before: `due_at`, or its retry if that is later.
    pub ready_at: Timestamp,
    /// Not to be sent from then on.
    pub expires_at: Option<Timestamp>,
    /// Order of arrival.
    pub seq: i64,
    /// The chat or recipient, as a number.
    pub thread: u64,
    /// Waits for something that no time brings.
    pub waits_for: Option<Reason>,
}

/// Where a forecast begins.
#[derive(Debug, Clone, Copy)]
pub struct Start<'a> {
    /// Its first instant.
    pub now: Timestamp,
    /// It looks no further.
    pub until: Timestamp,
    /// What concerns every account.
    pub daemon: &'a Daemon,
    /// The account.
    pub account: &'a Account,
    /// Its rules.
    pub policy: &'a Policy,
    /// What it has sent.
    pub ledger: &'a Ledger,
    /// How far its campaigns are.
    pub turns: &'a FairShare,
    /// Its lanes.
    pub lanes: &'a [Lane],
    /// What waits.
    pub queued: &'a [Queued],
    /// When somebody was last written to with a message that started a chat, by thread.
    pub started: &'a HashMap<u64, Timestamp>,
    /// How long a call takes.
    pub call: Duration,
}

/// What is expected of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// It is sent then.
    Sent(Timestamp),
    /// It expires before its turn.
    Expired,
    /// It still waits when the forecast ends.
    Waiting(Reason),
}

/// What is expected of a day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Day {
    /// In the account's zone.
    pub date: Date,
    /// Messages that are sent.
    pub sends: u32,
    /// What those that were due waited for longest; the hours only if it was nothing else.
    pub bound_by: Option<Reason>,
    waits: Vec<(Reason, Duration)>,
}

/// What is expected of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forecast {
    /// Of each message, in the order in which they were given.
    pub messages: Vec<Expected>,
    /// Of each day on which something was sent or waited for.
    pub days: Vec<Day>,
}

/// Runs the account forward.
pub fn forecast(start: &Start<'_>, dice: &mut impl Rng) -> Forecast {
    forecast_while(start, dice, || true)
}

/// Runs the account forward for as long as `goes_on` says so, which is asked every thousand steps.
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
    /// What may go.
    ready: Lanes<'a>,
    /// What may go later.
    later: BinaryHeap<Reverse<(Timestamp, usize)>>,
    /// Nothing of these threads goes before.
    held: HashMap<u64, Timestamp>,
    /// Chats that the forecast itself started.
    started: HashMap<u64, Timestamp>,
    hours: Option<(Hours, Timestamp)>,
    messages: Vec<Expected>,
    days: Vec<Day>,
    day_ends: Timestamp,
    last_reason: Reason,
    seed: u64,
}

impl<'a> Run<'a> {
    fn new(start: &'a Start<'a>) -> Self {
        let mut run = Self {
            start,
            now: start.now,
            account: start.account.clone(),
            ledger: start.ledger.clone(),
            ready: Lanes::new(start.lanes, start.turns.clone()),
            later: BinaryHeap::new(),
            held: HashMap::new(),
            started: HashMap::new(),
            hours: None,
            messages: vec![Expected::Waiting(Reason::Turn); start.queued.len()],
            days: Vec::new(),
            day_ends: Timestamp::MIN,
            last_reason: Reason::Turn,
            seed: account_seed(start.account.id.as_str()),
        };
        // A call that is on its way ends by itself.
        run.account.in_flight = false;
        for (index, message) in start.queued.iter().enumerate() {
            match message.waits_for {
                Some(reason) => run.messages[index] = Expected::Waiting(reason),
                None => run.later.push(Reverse((message.ready_at, index))),
            }
            if message.ready_at > message.due_at && message.ready_at > start.now {
                run.held.insert(message.thread, message.ready_at);
            }
        }
        run
    }

    /// One send, one expiry, or one wait; `false` when nothing more happens by itself.
    fn step(&mut self, dice: &mut impl Rng) -> bool {
        self.ripen();
        let first: Vec<(usize, usize)> = self.ready.first_of_classes().collect();
        for (lane, index) in &first {
            let held = self.held.get(&self.start.queued[*index].thread).filter(|until| **until > self.now);
            if let Some(until) = held.copied() {
                self.postpone(*lane, *index, until);
                return true;
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
            self.held.insert(self.start.queued[index].thread, until);
            self.postpone(lane, index, until);
            return true;
        }
        if let Some(next) = selection.next {
            let (lane, index) = first[next];
            match selection.verdicts[next] {
                Verdict::Send => {
                    self.send(lane, index, &messages[next], dice);
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
        if let Some((reason, _)) = binding {
            self.last_reason = reason;
        }
        let Some(at) = ends_at.into_iter().chain(ripe).min() else { return false };
        // While something is ready it is that which waits, whatever becomes ready next.
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
            started_at: started_at.copied(),
            expires_at: message.expires_at,
            blocked_by: None,
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

    /// The hours at this instant; looked up again only when they change.
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

    fn postpone(&mut self, lane: usize, index: usize, until: Timestamp) {
        self.ready.pop(lane);
        self.later.push(Reverse((until, index)));
    }

    /// Lets the time pass until then; what it was waited for counts for each day in between.
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

    /// The day of this instant.
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
        for index in self.ready.all() {
            self.messages[index] = Expected::Waiting(self.last_reason);
        }
        for Reverse((_, index)) in &self.later {
            self.messages[*index] = Expected::Waiting(Reason::Scheduled);
        }
        for day in &mut self.days {
            // Every night is outside the hours: that binds a day only where nothing else does.
            let rank = |(reason, time): &(Reason, Duration)| (*reason != Reason::OutsideHours, *time);
            day.bound_by = day.waits.iter().max_by_key(|wait| rank(wait)).map(|(reason, _)| *reason);
        }
        Forecast { messages: self.messages, days: self.days }
    }
}

#[cfg(test)]
#[path = "forecast_tests.rs"]
mod tests;
