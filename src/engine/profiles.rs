//! Before a message for a public name, reads the person's profile, which shows the user id; before one that needs a
//! connection, reads whether the person is one.
//!
//! `preflight.rs` calls this. Reads of profiles have caps of their own (`caps.profile`), and a pause between two of
//! them that is drawn like the gap. What is known needs no read; what a read showed is kept (`store/transitions/resolving.rs`).

use std::sync::OnceLock;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::Shared;
use super::fresh_read::{Failed, Look, failed, is_about_the_user, read, refuse};
use super::run::{AccountRun, Wake};
use crate::domain::caps::{LEDGER_REACH, Ledger};
use crate::domain::ids;
use crate::domain::kind::Kind;
use crate::domain::message::UserId;
use crate::domain::observed::Unread;
use crate::domain::outcome::{CANNOT_CONNECT, NOT_WRITTEN, ProviderError, UNTYPED_ANSWER};
use crate::domain::person::{Person, next_profile_read};
use crate::domain::policy::Policy;
use crate::domain::reason::Reason;
use crate::domain::time_text;
use crate::policy::pace::draw_gap;
use crate::policy::quota;
use crate::policy::settle::after;
use crate::policy::warm_up::Lowering;
use crate::store::{Candidate, Deferral, ForProfiles, StoreError};

/// How long a name that does not exist is not looked up again.
const ABSENT_FOR: SignedDuration = SignedDuration::from_hours(24);

/// Finds out whom `candidate` is for, if it names the person by a public name.
pub(super) async fn look(
    shared: &Shared,
    run: &mut AccountRun,
    candidate: &Candidate,
    policy: &Policy,
    now: Timestamp,
) -> Result<Look, StoreError> {
    let Some(name) = candidate.public_name() else {
        return match &candidate.unconnected {
            Some(person) => connection(shared, run, candidate, person, policy, now).await,
            None => Ok(Look::Clear),
        };
    };
    let known = shared.store.user_id_of(name.as_str()).await?;
    if known != name.as_str() {
        let person = Person::new(UserId::new(known), [None, None, None]);
        return resolved(shared, run, name, person, None, now).await;
    }
    if shared.store.is_absent(name, now.checked_sub(ABSENT_FOR).unwrap_or(Timestamp::MIN)).await? {
        return absent(shared, run, name, None, now).await;
    }
    match allowance(shared, run, policy, now).await? {
        Allowance::Free => {}
        closed => return put_off(shared, run, ForProfiles::Names, closed, policy, now).await,
    }
    let (number, reading) = match profile(shared, run, name, policy, now).await {
        Err(wake) => return Ok(Look::Wake(wake)),
        Ok(read) => read,
    };
    match reading {
        Ok(person) => {
            run.preflight.failed = 0;
            resolved(shared, run, name, person, number, now).await
        }
        Err(unread) => match failed(shared, run, unread, now).await? {
            Failed::Elsewhere => Ok(Look::Wake(Wake::Now)),
            Failed::Until { until, problem } => {
                let error = format!("the profile could not be read: {problem}");
                let until = with_allowance(shared, run, policy, until, now).await?;
                shared.store.defer(candidate.seq, Reason::Resolving, until, error, now).await?;
                Ok(Look::Wake(Wake::Now))
            }
            Failed::ForGood(problem) if is_missing(&problem) => absent(shared, run, name, number, now).await,
            Failed::ForGood(problem) => {
                let error = format!("the profile of {name} cannot be read: {problem}");
                tracing::warn!(account_id = %run.id, message_id = %candidate.id, %problem, "failed: a profile cannot be read");
                let account = run.id.clone();
                shared.store.fail_person(account, name.clone(), Reason::Refused, error, None, now).await?;
                Ok(Look::Wake(Wake::Now))
            }
        },
    }
}

/// Finds out whether the person is a connection, at most once a day; until then the message waits.
async fn connection(
    shared: &Shared,
    run: &mut AccountRun,
    candidate: &Candidate,
    person: &UserId,
    policy: &Policy,
    now: Timestamp,
) -> Result<Look, StoreError> {
    let later = async |at: Timestamp, why: String| {
        shared.store.defer(candidate.seq, Reason::NotConnected, at, why, now).await?;
        Ok(Look::Wake(Wake::Now))
    };
    // LinkedIn counts a read whose answer did not come as well.
    if let Some(read_at) = candidate.profile_asked_at.filter(|at| next_profile_read(*at) > now) {
        let why =
            format!("not known to be a connection; the profile was last asked for at {}", time_text(read_at));
        return later(next_profile_read(read_at), why).await;
    }
    match allowance(shared, run, policy, now).await? {
        Allowance::Free => {
            let (number, reading) = match profile(shared, run, person, policy, now).await {
                Err(wake) => return Ok(Look::Wake(wake)),
                Ok(read) => read,
            };
            match reading {
                Ok(read) => {
                    run.preflight.failed = 0;
                    // The answer may have another id of the same person.
                    let read = Person { user_id: person.clone(), ..read };
                    let accounts = shared.store.learn(run.id.clone(), read, now).await?;
                    shared.wakeups.add(accounts.into_iter().map(|account| (account, now)));
                    Ok(Look::Wake(Wake::Now))
                }
                Err(unread) => match failed(shared, run, unread, now).await? {
                    Failed::Elsewhere => Ok(Look::Wake(Wake::Now)),
                    Failed::Until { until, problem } => {
                        let until = number.map_or(until, |_made| next_profile_read(now).max(until));
                        let until = with_allowance(shared, run, policy, until, now).await?;
                        later(until, format!("the profile could not be read: {problem}")).await
                    }
                    Failed::ForGood(problem) if is_missing(&problem) => {
                        let error = format!("LinkedIn has no person with this id: {problem}");
                        refuse(shared, run, candidate, error, now).await?;
                        Ok(Look::Wake(Wake::Now))
                    }
                    // A webhook may still report the connection.
                    Failed::ForGood(problem) => {
                        later(next_profile_read(now), format!("the profile cannot be read: {problem}")).await
                    }
                },
            }
        }
        closed => put_off(shared, run, ForProfiles::Connections, closed, policy, now).await,
    }
}

/// Defers what needs a profile until one can be read; what needs none goes first. During the pause between two reads,
/// each message waits for a read of its own.
async fn put_off(
    shared: &Shared,
    run: &AccountRun,
    which: ForProfiles,
    closed: Allowance,
    policy: &Policy,
    now: Timestamp,
) -> Result<Look, StoreError> {
    let deferral = match closed {
        Allowance::Free => return Ok(Look::Clear),
        Allowance::Paused(until) => {
            let why = "profiles are read one at a time, with a pause after each".to_owned();
            Deferral { which, until, apart: (policy.gap.min + policy.gap.max) / 2, why }
        }
        Allowance::UsedUp(until, why) => Deferral { which, until, apart: Duration::ZERO, why },
    };
    shared.store.defer_for_profiles(run.id.clone(), deferral, now).await?;
    Ok(Look::Wake(Wake::Now))
}

/// Returns whether the read certainly did not reach LinkedIn: no request left, Unipile's own limiter refused it, or a
/// gateway did.
fn is_not_made(problem: &ProviderError) -> bool {
    match problem.kind.as_str() {
        CANNOT_CONNECT | NOT_WRITTEN | "api/too_many_requests" => true,
        UNTYPED_ANSWER => matches!(problem.status, Some(307 | 308 | 400..=407 | 409..=498)),
        _ => false,
    }
}

/// Returns whether the provider does not know the person.
fn is_missing(problem: &ProviderError) -> bool {
    problem.kind == "provider/resource_not_found" || is_about_the_user(problem)
}

async fn resolved(
    shared: &Shared,
    run: &AccountRun,
    name: &UserId,
    person: Person,
    read: Option<i64>,
    now: Timestamp,
) -> Result<Look, StoreError> {
    let person = Person {
        // An answer may leave out the name under which the person was found.
        public_identifier: ids::name_of(name.as_str()).map(str::to_owned),
        ..person
    };
    let accounts = shared.store.resolve(run.id.clone(), name.clone(), person, read, now).await?;
    shared
        .wakeups
        .add(accounts.into_iter().filter(|account| *account != run.id).map(|account| (account, now)));
    Ok(Look::Wake(Wake::Now))
}

async fn absent(
    shared: &Shared,
    run: &AccountRun,
    name: &UserId,
    read: Option<i64>,
    now: Timestamp,
) -> Result<Look, StoreError> {
    let shown = ids::name_of(name.as_str()).unwrap_or(name.as_str());
    let error = format!(
        "LinkedIn has no person with the public name {shown:?}; check the address of the profile, or give the user id"
    );
    let reason = Reason::NoSuchPerson;
    let failed = shared.store.fail_person(run.id.clone(), name.clone(), reason, error, read, now).await?;
    tracing::warn!(account_id = %run.id, messages = failed, "failed: no person has this public name");
    Ok(Look::Wake(Wake::Now))
}

/// Whether a profile may be read now.
enum Allowance {
    Free,
    /// The pause between two reads lasts until this time.
    Paused(Timestamp),
    /// A cap has room again at this time.
    UsedUp(Timestamp, String),
}

async fn allowance(
    shared: &Shared,
    run: &AccountRun,
    policy: &Policy,
    now: Timestamp,
) -> Result<Allowance, StoreError> {
    let since = now.checked_sub(LEDGER_REACH).unwrap_or(Timestamp::MIN);
    let reads = shared.store.profile_reads(&run.id, since).await?;
    // A time further away than any pause is from before the clock was set.
    let latest = after(now, policy.gap.max);
    if let Some(next_at) = reads.next_at.filter(|at| *at > now && *at <= latest) {
        return Ok(Allowance::Paused(next_at));
    }
    let Some(view) = shared.store.account(&run.id).await? else { return Ok(Allowance::Free) };
    let account = view.account;
    let lowering = Lowering::of(policy, &account, now);
    let ledger = Ledger::new(reads.at.into_iter().map(|at| (at, Kind::Message)));
    Ok(match quota::profiles_used_up(policy, &lowering, &ledger, now) {
        None => Allowance::Free,
        Some(budget) => {
            let (most, window) = (budget.cap.most, budget.cap.window.as_str());
            let why = format!("caps.profile {most}/{window}, {} of {} used", budget.used, budget.limit);
            Allowance::UsedUp(budget.frees_at, why)
        }
    })
}

/// Returns when a profile can be read again that is to be read at `until`: the failed read may have used up a cap.
async fn with_allowance(
    shared: &Shared,
    run: &AccountRun,
    policy: &Policy,
    until: Timestamp,
    now: Timestamp,
) -> Result<Timestamp, StoreError> {
    Ok(match allowance(shared, run, policy, now).await? {
        Allowance::UsedUp(at, _) | Allowance::Paused(at) => until.max(at),
        Allowance::Free => until,
    })
}

/// Reads a profile, and records that before the request is made. Returns the number of the read, unless no request was
/// made, and what it showed; the error says when the account runs again.
async fn profile(
    shared: &Shared,
    run: &mut AccountRun,
    person: &UserId,
    policy: &Policy,
    now: Timestamp,
) -> Result<(Option<i64>, Result<Person, Unread>), Wake> {
    let next_at = after(now, draw_gap(&mut run.dice, policy.gap));
    let (account, person) = (run.id.clone(), person.clone());
    let number = OnceLock::new();
    let reading = read(shared, run, |_pages| {
        Box::pin(async {
            let begun = shared.store.begin_profile_read(account.clone(), person.clone(), next_at, now).await;
            let begun = begun.map_err(|error| {
                let problem = ProviderError::local("not_recorded", error.to_string());
                Unread { problem: Box::new(problem), down: None, hold: None }
            })?;
            number.get_or_init(|| begun);
            shared.provider.profile(account, person).await
        })
    });
    let reading = reading.await?;
    let mut number = number.get().copied();
    if let Some(not_made) =
        number.take_if(|_| reading.as_ref().is_err_and(|unread| is_not_made(&unread.problem)))
    {
        // If this fails, the read counts for the cap although it was not made.
        if let Err(error) = shared.store.forget_profile_read(not_made, now).await {
            tracing::debug!(%error, "a read of a profile that was not made stays recorded");
        }
    }
    Ok((number, reading))
}
