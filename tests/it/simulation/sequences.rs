//! Campaigns with steps: producers queue them, twice and from two seats, and add steps later; operators cancel and hold
//! steps and stop people and campaigns. The checker compares what was asked for with the ledger of the sandbox.

use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use outboxd::clock::{Clock, Dice};
use outboxd::domain::command::Command;
use outboxd::domain::message::{AccountId, Inbox, MessageId, NewMessage};
use outboxd::domain::step::{Step, StepWait};
use outboxd::domain::stop::{NewStop, StopKey, StopReason, StopScope};
use outboxd::sandbox::{Delivery, DeliveryKind};
use outboxd::store::{Commanded, EnqueueMode, Enqueued};
use rand::RngExt;

use super::acts;
use super::carrier::Left;
use super::checkers::{Asked, Evidence, Notes, ROUNDING};
use super::life::Life;
use super::people::{Reaction, Says};
use crate::engine_pace::time::seconds;
use crate::queue::{self, account, at, keyed, to_chat, to_user};

const DAY: u64 = 86_400;
/// How long before a call its chat is read at most: twice the longest typing and a margin, and a moment longer.
const READ_AHEAD: Duration = Duration::from_secs(45);
const CAMPAIGNS: [&str; 2] = ["spring", "autumn"];
/// Those with a `k` are chats, the others are people; `u0` and `u1` get other messages as well.
const PEOPLE: [&str; 9] = ["p0", "p1", "p2", "p3", "p4", "u0", "u1", "k0", "k1"];

/// Zones of the accounts: in two of them the clocks change in the weeks of the simulation, forward and back.
pub(super) const ZONES: [&str; 3] = ["AAA0BBB,J329,J343", "AAA-1BBB,J340,J332", "UTC0"];

/// A step as its producer asked for it.
#[derive(Debug, Clone)]
pub(crate) struct AskedStep {
    campaign: String,
    person: String,
    number: u8,
    wait: Option<StepWait>,
    account: AccountId,
    key: String,
    /// No other step's text begins with it.
    text: String,
    /// When it was first requested, by the monotonic clock.
    asked: Duration,
    /// Its message, once that was acknowledged.
    id: Option<MessageId>,
}

/// What was stopped or held.
#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    Person(String),
    Campaign(String),
    Step(MessageId),
}

/// A stop or a hold that was requested and acknowledged.
#[derive(Debug, Clone)]
pub(crate) struct StopNote {
    what: What,
    /// When it was acknowledged, by the monotonic clock.
    from: Duration,
    /// When its end was requested, if it was.
    to: Option<Duration>,
    /// When it ends without a request.
    until: Option<Timestamp>,
}

impl StopNote {
    fn concerns(&self, step: &AskedStep) -> bool {
        match &self.what {
            What::Person(person) => *person == step.person,
            What::Campaign(campaign) => *campaign == step.campaign,
            What::Step(id) => step.id == Some(*id),
        }
    }
}

fn below(dice: &mut Dice, n: usize) -> usize {
    dice.random_range(0..n)
}

fn draw_wait(dice: &mut Dice) -> StepWait {
    match below(dice, 8) {
        // Shorter than a gap.
        0..=1 => StepWait::Seconds(dice.random_range(1..10)),
        2..=3 => StepWait::Seconds(dice.random_range(60..7200)),
        4 => StepWait::Seconds(dice.random_range(7200..40 * 3600)),
        _ => StepWait::Days(dice.random_range(1..4)),
    }
}

/// Something happens to a campaign.
pub(super) async fn happen(life: &mut Life<'_>, notes: &mut Notes, dice: &mut Dice) {
    match below(dice, 16) {
        0..=5 => begin(life, notes, dice).await,
        6..=7 => again(life, notes, dice).await,
        8..=9 => one_more(life, notes, dice).await,
        10 => cancel(life, notes, dice).await,
        11..=12 => stop(life, notes, dice).await,
        13 => lift_one(life, notes, dice).await,
        14 => hold(life, notes, dice).await,
        _ => release_one(life, notes, dice).await,
    }
}

fn asked_step(
    asked: Duration,
    campaign: &str,
    person: &str,
    number: u8,
    account: &AccountId,
    wait: Option<StepWait>,
) -> AskedStep {
    let text = format!("{campaign} {person} step {number}");
    let (campaign, person, key) = (campaign.to_owned(), person.to_owned(), format!("key {text}"));
    AskedStep { campaign, person, number, wait, account: account.clone(), key, text, asked, id: None }
}

fn message(step: &AskedStep) -> NewMessage {
    let to = match step.person.strip_prefix('k') {
        Some(_) => to_chat(&step.person, ""),
        None => to_user(&step.person, Inbox::OfPolicy),
    };
    let message = NewMessage {
        account_id: step.account.clone(),
        text: step.text.clone(),
        campaign: Some(step.campaign.clone()),
        step: Some(Step { number: step.number, wait: step.wait }),
        ..to
    };
    keyed(&step.key, message)
}

/// Queues sequences for people who have none in the campaign, in any order within the batch.
async fn begin(life: &Life<'_>, notes: &mut Notes, dice: &mut Dice) {
    let campaign = CAMPAIGNS[below(dice, CAMPAIGNS.len())];
    let now = life.universe.clock.monotonic();
    let mut steps = Vec::new();
    for _ in 0..dice.random_range(1..4) {
        let person = PEOPLE[below(dice, PEOPLE.len())];
        let account = account(&below(dice, 3).to_string());
        let is_taken = |step: &AskedStep| step.campaign == campaign && step.person == person;
        if notes.steps.iter().chain(&steps).any(is_taken) {
            continue;
        }
        for number in 1..=dice.random_range(2..5) {
            let wait = (number > 1).then(|| draw_wait(dice));
            let place = below(dice, steps.len() + 1);
            steps.insert(place, asked_step(now, campaign, person, number, &account, wait));
        }
    }
    for step in &steps {
        notes.asked.push(Asked {
            key: step.key.clone(),
            account: step.account.to_string(),
            text: step.text.clone(),
            not_before: None,
            expires_at: None,
            acknowledged: false,
            cancelled: None,
        });
    }
    notes.steps.extend(steps.iter().cloned());
    give(life, notes, &steps).await;
}

/// Queues the steps of a person again: with other words and keys, and for people perhaps from another account.
async fn again(life: &Life<'_>, notes: &mut Notes, dice: &mut Dice) {
    if notes.steps.is_empty() {
        return;
    }
    let chosen = notes.steps[below(dice, notes.steps.len())].clone();
    let mut same: Vec<AskedStep> = notes.steps.clone();
    same.retain(|step| step.campaign == chosen.campaign && step.person == chosen.person);
    // What was not acknowledged is repeated as it was, as a producer does.
    if same.iter().all(|step| step.id.is_some()) && below(dice, 2) == 0 {
        let seat = account(&below(dice, 3).to_string());
        for step in &mut same {
            step.text += " again";
            step.key += " again";
            if !step.person.starts_with('k') {
                step.account = seat.clone();
            }
        }
    }
    give(life, notes, &same).await;
}

/// Adds a step after the last one of a person.
async fn one_more(life: &Life<'_>, notes: &mut Notes, dice: &mut Dice) {
    let last = |step: &&AskedStep| {
        let next = format!("{} {} step {}", step.campaign, step.person, step.number + 1);
        step.id.is_some() && step.number < 6 && !notes.steps.iter().any(|other| other.text == next)
    };
    let lasts: Vec<AskedStep> = notes.steps.iter().filter(last).cloned().collect();
    if lasts.is_empty() {
        return;
    }
    let last = &lasts[below(dice, lasts.len())];
    let now = life.universe.clock.monotonic();
    let next =
        asked_step(now, &last.campaign, &last.person, last.number + 1, &last.account, Some(draw_wait(dice)));
    notes.asked.push(Asked {
        key: next.key.clone(),
        account: next.account.to_string(),
        text: next.text.clone(),
        not_before: None,
        expires_at: None,
        acknowledged: false,
        cancelled: None,
    });
    notes.steps.push(next.clone());
    give(life, notes, &[next]).await;
}

/// Enqueues steps; notes which are acknowledged, and every verdict that is wrong.
async fn give(life: &Life<'_>, notes: &mut Notes, steps: &[AskedStep]) {
    let now = life.handle().settled_now().await;
    let rows = steps.iter().map(message).collect();
    let verdicts = life.store.enqueue_with(rows, Vec::new(), EnqueueMode::Each, now).await;
    for (step, verdict) in steps.iter().zip(verdicts.expect("the queue answers")) {
        let own = |other: &&mut AskedStep| {
            other.campaign == step.campaign && other.person == step.person && other.number == step.number
        };
        let known = notes.steps.iter_mut().find(own).expect("it was noted");
        match (verdict, known.id) {
            (Enqueued::Accepted(id) | Enqueued::Duplicate(id), None) => {
                known.id = Some(id);
                let asked = notes.asked.iter_mut().find(|asked| asked.key == step.key);
                asked.expect("it was noted").acknowledged = true;
            }
            (Enqueued::Duplicate(id), Some(stored)) if id == stored => {}
            (Enqueued::Suppressed, _) if has_opted_out(life, &step.person) => {}
            // Nothing follows a step that has ended, or that was not taken.
            (Enqueued::OutOfStep(_), None) if has_ended(life, step) => {}
            (verdict, stored) => {
                notes.unexplained.push(format!("{}, stored as {stored:?}: {verdict:?}", step.text));
            }
        }
    }
    life.handle().wake_everything().await.expect("the queue answers");
}

fn has_opted_out(life: &Life<'_>, person: &str) -> bool {
    let reacted = life.universe.carrier.reacted();
    reacted.iter().any(|one| one.says == Says::OptOut && one.to.contains(&format!(" {person} ")))
}

/// Returns whether the step before this one will not be sent, or is not in the queue.
fn has_ended(life: &Life<'_>, step: &AskedStep) -> bool {
    const GOES_ON: &str = "SELECT count(*) FROM messages WHERE text = ?1 \
         AND state NOT IN ('failed', 'cancelled', 'expired', 'rejected')";
    let before = format!("{} {} step {}", step.campaign, step.person, step.number - 1);
    life.universe.carrier.count(GOES_ON, &[&before]) == 0
}

fn some_stored(notes: &Notes, dice: &mut Dice) -> Option<AskedStep> {
    let stored: Vec<&AskedStep> = notes.steps.iter().filter(|step| step.id.is_some()).collect();
    (!stored.is_empty()).then(|| stored[below(dice, stored.len())].clone())
}

async fn cancel(life: &Life<'_>, notes: &mut Notes, dice: &mut Dice) {
    let Some(step) = some_stored(notes, dice) else { return };
    acts::cancel(life, notes, &step.key, step.id.expect("it is stored")).await;
}

/// Stops a person, a chat or a campaign, half of the time with an end.
async fn stop(life: &Life<'_>, notes: &mut Notes, dice: &mut Dice) {
    let Some(step) = some_stored(notes, dice) else { return };
    let what = match below(dice, 3) {
        0 => What::Campaign(step.campaign),
        _ => What::Person(step.person),
    };
    let now = life.handle().settled_now().await;
    let until = (below(dice, 2) == 0).then(|| now + seconds(dice.random_range(60..2 * DAY)));
    let key = key_of(&what);
    // The later stop replaces the earlier one. If the process dies meanwhile, either may hold.
    end(notes, &what, life.universe.clock.monotonic());
    let stop = NewStop {
        key,
        reason: StopReason::Stopped,
        until,
        has_length: false,
        actor: "operator".to_owned(),
        note: None,
    };
    life.store.stop(vec![stop], now).await.expect("the queue answers");
    notes.stopped.push(StopNote { what, from: life.universe.clock.monotonic(), to: None, until });
    life.handle().wake_everything().await.expect("the queue answers");
}

fn key_of(what: &What) -> StopKey {
    let (scope, key) = match what {
        What::Campaign(campaign) => (StopScope::Campaign, campaign),
        What::Person(person) if person.starts_with('k') => (StopScope::Chat, person),
        What::Person(person) => (StopScope::Person, person),
        What::Step(_) => unreachable!("a step is held, not stopped"),
    };
    StopKey { scope, key: key.clone(), account_id: None }
}

fn end(notes: &mut Notes, what: &What, at: Duration) {
    let same = |stop: &&mut StopNote| stop.what == *what && stop.to.is_none();
    notes.stopped.iter_mut().filter(same).for_each(|stop| stop.to = Some(at));
}

fn in_force(notes: &Notes, holds: bool) -> Vec<What> {
    let in_force = notes.stopped.iter().filter(|stop| stop.to.is_none());
    in_force.map(|stop| stop.what.clone()).filter(|what| matches!(what, What::Step(_)) == holds).collect()
}

async fn lift(life: &Life<'_>, notes: &mut Notes, what: &What) {
    end(notes, what, life.universe.clock.monotonic());
    let now = life.handle().settled_now().await;
    life.store.lift(key_of(what), None, now).await.expect("the queue answers");
    life.handle().wake_everything().await.expect("the queue answers");
}

async fn lift_one(life: &Life<'_>, notes: &mut Notes, dice: &mut Dice) {
    let stops = in_force(notes, false);
    if !stops.is_empty() {
        lift(life, notes, &stops[below(dice, stops.len())]).await;
    }
}

/// Lifts every stop and releases every message.
pub(super) async fn lift_all(life: &Life<'_>, notes: &mut Notes) {
    // Also what a process that died had begun.
    let people = PEOPLE.iter().map(|person| What::Person((*person).to_owned()));
    let campaigns = CAMPAIGNS.iter().map(|campaign| What::Campaign((*campaign).to_owned()));
    for what in people.chain(campaigns) {
        lift(life, notes, &what).await;
    }
    let steps: Vec<MessageId> = notes.steps.iter().filter_map(|step| step.id).collect();
    for id in steps {
        release(life, notes, id).await;
    }
}

/// Notes what an audit finds wrong with steps and stops.
pub(super) async fn audit(life: &Life<'_>, notes: &mut Notes) {
    let found = life.store.breaches(100).await.expect("the queue answers");
    let wrong = found.into_iter().filter(|one| one.promise == "P5" || one.what.contains(" step "));
    notes
        .unexplained
        .extend(wrong.map(|one| format!("the audit says of {:?}: {}", one.message_id, one.what)));
}

async fn command(life: &Life<'_>, id: MessageId, command: Command) -> Commanded {
    let done = queue::command(&life.store, id, command, life.handle().settled_now().await).await;
    life.handle().wake_everything().await.expect("the queue answers");
    done.expect("an answer")
}

async fn hold(life: &Life<'_>, notes: &mut Notes, dice: &mut Dice) {
    let Some(step) = some_stored(notes, dice) else { return };
    let id = step.id.expect("it is stored");
    if matches!(command(life, id, Command::Hold).await, Commanded::Done { .. }) {
        let from = life.universe.clock.monotonic();
        notes.stopped.push(StopNote { what: What::Step(id), from, to: None, until: None });
    }
}

async fn release(life: &Life<'_>, notes: &mut Notes, id: MessageId) {
    end(notes, &What::Step(id), life.universe.clock.monotonic());
    command(life, id, Command::Release).await;
}

async fn release_one(life: &Life<'_>, notes: &mut Notes, dice: &mut Dice) {
    let held = in_force(notes, true);
    if held.is_empty() {
        return;
    }
    if let What::Step(id) = held[below(dice, held.len())] {
        release(life, notes, id).await;
    }
}

impl Evidence<'_> {
    /// Steps: each arrives at most once for a person, after the one before arrived and its wait has passed, in the same
    /// chat; nothing arrives after a step that will not be sent, nor while it is stopped or held.
    pub(super) fn steps_keep_their_order(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for step in &self.notes.steps {
            let arrived: Vec<&Delivery> =
                self.deliveries.iter().filter(|one| one.text.starts_with(&step.text)).collect();
            if arrived.len() > 1 {
                wrong.push(format!("{} arrived {} times: {arrived:?}", step.text, arrived.len()));
            }
            let calls: Vec<&Left> = self.left.iter().filter(|call| call.text == step.text).collect();
            wrong.extend(calls.iter().filter_map(|call| self.is_stopped(step, call)));
            if step.number == 1 || calls.is_empty() {
                continue;
            }
            let before = format!("{} {} step {}", step.campaign, step.person, step.number - 1);
            let Some(first) = self.deliveries.iter().find(|one| one.text == before) else {
                wrong.push(format!("{} left, and the step before it never arrived", step.text));
                continue;
            };
            let (state, chat, by) = self.end_of(&before);
            if state != "sent" {
                wrong.push(format!("{} left after a step that is {state}", step.text));
            }
            // What a person decided is dated by its call, which arrived some time after that.
            let last = self.left.iter().rfind(|call| call.text == before).map(|call| call.at);
            let since = last.filter(|_| by.as_deref() == Some("person")).unwrap_or(first.at_monotonic);
            for call in &calls {
                let earliest = self.earliest(step, since, call);
                if call.at + ROUNDING < earliest {
                    wrong.push(format!(
                        "{} left at {:?}, before {earliest:?}; the step before arrived at {:?}, and its wait is {:?}",
                        step.text, call.at, first.at_monotonic, step.wait
                    ));
                }
            }
            for delivery in arrived {
                let is_in_place = chat.is_none() || delivery.kind == DeliveryKind::Message;
                if delivery.chat_id != first.chat_id || !is_in_place {
                    let went = (delivery.kind, &delivery.chat_id);
                    wrong.push(format!(
                        "{} went {went:?}; the step before went into {}",
                        step.text, first.chat_id
                    ));
                }
            }
        }
        wrong
    }

    /// P5: no step leaves after the person answered on its account, nor while the person is away or the owner has
    /// written: from the moment on at which the read before the call could show it. Whether nothing goes to a
    /// suppressed person on other accounts, the order of the events tells.
    pub(super) fn p5_never_after_an_answer(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for reaction in self.universe.carrier.reacted() {
            let to = self.notes.steps.iter().find(|step| reaction.to.starts_with(&step.text));
            let to = to.expect("only steps are reacted to");
            let of_person = |step: &&AskedStep| step.person == to.person && step.account == to.account;
            for step in self.notes.steps.iter().filter(of_person) {
                let calls = self.left.iter().filter(|call| call.text == step.text);
                for call in calls.filter(|call| self.is_against(&reaction, step, call)) {
                    wrong.push(format!(
                        "{} left at {:?}, {}, after {reaction:?}",
                        step.text, call.at, call.wall
                    ));
                }
            }
        }
        wrong.extend(self.lines(
            "SELECT m.text || ' got its intent after ' || s.detail FROM events s \
             JOIN messages m ON m.thread = 'user:' || (s.detail ->> '$.key') \
             JOIN events e ON e.message_id = m.id AND e.kind = 'message.sending' AND e.seq > s.seq \
             WHERE s.kind = 'stop.set' AND s.reason = 'suppressed' AND s.detail ->> '$.scope' = 'person'",
        ));
        wrong
    }

    /// Returns whether a call was made although something that was written before forbids it.
    fn is_against(&self, reaction: &Reaction, step: &AskedStep, call: &Left) -> bool {
        if call.at <= reaction.at + READ_AHEAD {
            return false;
        }
        let length = match reaction.says {
            // It stops what had been queued, and all of a campaign that had begun.
            Says::Reply => {
                let begun = |one: &&Delivery| {
                    one.account_id == call.account
                        && one.text == format!("{} {} step 1", step.campaign, step.person)
                        && one.at_monotonic < reaction.at
                };
                return step.asked < reaction.at || self.deliveries.iter().any(|one| begun(&one));
            }
            Says::OptOut => return true,
            Says::OutOfOffice => seconds(7 * DAY),
            Says::Owner => seconds(3 * DAY),
        };
        // These end by the wall clock.
        let is_set = self.notes.sets.iter().any(|set| *set <= call.at);
        call.at + ROUNDING < reaction.at + length && !is_set
    }

    /// Returns the state of the message with this text, its chat, and by whom it is known to be sent.
    fn end_of(&self, text: &str) -> (String, Option<String>, Option<String>) {
        const SQL: &str = "SELECT state, chat_id, settled_by FROM messages WHERE text = ?1";
        let row = self.sql.query_row(SQL, [text], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
        row.unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn is_stopped(&self, step: &AskedStep, call: &Left) -> Option<String> {
        let holds = |stop: &&StopNote| {
            let during = call.at > stop.from && stop.to.is_none_or(|to| call.at < to);
            stop.concerns(step) && during && stop.until.is_none_or(|until| call.wall < until)
        };
        let stop = self.notes.stopped.iter().find(holds)?;
        Some(format!("{} left at {:?}, {} during {stop:?}", step.text, call.at, call.wall))
    }

    /// Returns the earliest time at which a step may leave: the wait passes from `since` on, by the monotonic clock
    /// (for days, by the civil clock of the account's zone), and not while a stop interrupts it. What a person released
    /// from review goes at once, if its wait itself has passed.
    fn earliest(&self, step: &AskedStep, since: Duration, call: &Left) -> Duration {
        let wait = match step.wait.expect("it is not the first") {
            StepWait::Seconds(wait) => seconds(wait.into()),
            // A clock that was set may be on the other side of a change of the zone's clocks.
            StepWait::Days(days) if self.notes.sets.iter().any(|set| *set <= call.at) => {
                seconds(u64::from(days) * DAY - 3600)
            }
            StepWait::Days(days) => {
                let zone = self.policy(&call.account).zone.clone();
                let from = (at(0) + since).to_zoned(zone);
                let to = from.checked_add(i64::from(days).days()).expect("a time");
                Duration::try_from(to.timestamp().duration_since(from.timestamp())).expect("later")
            }
        };
        const REVIEWED: &str = "SELECT count(*) FROM events e JOIN messages m ON m.id = e.message_id \
             WHERE m.text = ?1 AND e.kind = 'message.review'";
        // A stop may have an end that the clock was set past.
        let is_set = self.notes.sets.iter().any(|set| since <= *set && *set <= call.at);
        let was_in_review = self.universe.carrier.count(REVIEWED, &[&step.text]) > 0;
        let mut stops: Vec<(Duration, Duration)> = self
            .notes
            .stopped
            .iter()
            .filter(|stop| stop.concerns(step) && !matches!(stop.what, What::Step(_)) && stop.until.is_none())
            .filter(|_| !was_in_review && !is_set)
            .map(|stop| (stop.from.max(since), stop.to.unwrap_or(call.at)))
            .collect();
        stops.sort_unstable();
        let (mut end, mut last) = (since + wait, since);
        for (from, to) in stops {
            let from = from.max(last);
            if from < end && from < to {
                end += to - from;
                last = to;
            }
        }
        end
    }
}

/// Returns the zone of the account with this number.
pub(super) fn zone(account: usize) -> TimeZone {
    TimeZone::posix(ZONES[account]).expect("a zone")
}
