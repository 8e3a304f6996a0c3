//! Seeds whose messages name people by their public names, or wait for a connection: the profiles that reads show, when
//! each person becomes a connection, and the checkers for both.

use std::time::Duration;

use outboxd::clock::Clock;
use outboxd::domain::message::{AccountId, NewMessage, Target, UserId};
use outboxd::domain::need::Need;
use outboxd::domain::observed::Unread;
use outboxd::domain::outcome::ProviderError;
use outboxd::domain::person::{Distance, Person};

use super::carrier::{Carrier, count};
use super::checkers::{Evidence, ROUNDING};
use crate::engine_pace::time::seconds;

/// One seed in ten.
pub(super) const fn has_names(seed: u64) -> bool {
    seed % 10 == 9
}

/// Most reads of profiles in any hour of an account of these seeds.
pub(super) const MOST: usize = 6;
pub(super) const CAP: &str = "6/hour";
const HOUR: Duration = Duration::from_secs(3600);
/// The public name that no person has.
const ABSENT: &str = "in/nobody";

/// Returns when a person becomes a connection, by the monotonic clock: some are one at once.
fn connects_at(user: &str) -> Duration {
    let number: u64 = user.bytes().map(u64::from).sum();
    seconds(number % 4 * 12 * 3600)
}

/// Makes `message` one for a public name, one that needs a connection, or both.
pub(super) fn named(message: &mut NewMessage, draw: u64) {
    let Target::User { user_id, .. } = &mut message.target else { return };
    if draw.is_multiple_of(2) {
        let name = format!("in/name-{}", user_id.as_str());
        *user_id = UserId::new(if draw.is_multiple_of(10) { ABSENT } else { &name });
    }
    if draw.is_multiple_of(3) {
        message.needs = Some(Need::Connection);
    }
}

impl Carrier {
    /// Reads a profile. LinkedIn counts the read whether or not its answer arrives.
    pub(super) async fn read_profile(&self, account: AccountId, person: UserId) -> Result<Person, Unread> {
        self.stop.point().await;
        let number = count(&mut self.sky().reads, account.as_str());
        let now = self.clock.monotonic();
        self.sky().profiles.push((account.to_string(), now));
        let failed = |problem| Unread { problem: Box::new(problem), down: None, hold: None };
        if !self.fault_plan().answers_read(account.as_str(), number) {
            return Err(failed(ProviderError::local("timeout", "as decided")));
        }
        self.sky().knows_time = true;
        if person.as_str() == ABSENT {
            let kind = "provider/resource_not_found".to_owned();
            return Err(failed(ProviderError { status: Some(404), kind, ..ProviderError::local("", "") }));
        }
        let user = person.as_str().trim_start_matches("in/name-").to_owned();
        let distance = if now >= connects_at(&user) { Distance::First } else { Distance::Second };
        let name = format!("name-{user}");
        let person = Person::new(UserId::new(&user), [Some(name), None, None]);
        Ok(Person { distance: Some(distance), ..person })
    }
}

impl Evidence<'_> {
    /// No call goes to a public name or, if the message needs a connection, to a person who is not one; and reads of
    /// profiles keep their cap and their pause.
    pub(super) fn profiles_are_read_first(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for one in
            self.deliveries.iter().filter(|one| one.recipients.iter().any(|who| who.starts_with("in/")))
        {
            wrong.push(format!("{:?} went to the public name {:?}", one.text, one.recipients));
        }
        // Several messages share these words, and only some of them need a connection.
        for (account, text, user) in self.needy().into_iter().filter(|needy| needy.1 != "the same words") {
            let since = connects_at(&user);
            let early =
                self.left.iter().find(|call| call.account == account && call.text == text && call.at < since);
            if let Some(call) = early {
                wrong.push(format!(
                    "{text:?} left at {:?}, and {user} is a connection from {since:?} on",
                    call.at
                ));
            }
        }
        let reads = self.universe.carrier.profiles();
        for (index, (account, at)) in
            reads.iter().enumerate().filter(|_| super::profiles::has_names(self.universe.seed))
        {
            let before: Vec<Duration> =
                reads[..index].iter().filter(|(other, _)| other == account).map(|(_, at)| *at).collect();
            let in_hour =
                before.iter().filter(|before| **before + HOUR.saturating_sub(ROUNDING) > *at).count();
            if in_hour >= MOST {
                wrong.push(format!("{account} read a profile at {at:?} after {in_hour} in an hour"));
            }
            let least = self.policy(account).gap.min.saturating_sub(ROUNDING);
            if let Some(last) = before.last().filter(|last| *at - **last < least) {
                wrong.push(format!(
                    "{account} read a profile at {at:?}, only {:?} after the last",
                    *at - *last
                ));
            }
        }
        wrong
    }

    /// Returns account, text and person of each message that needs a connection and was called.
    fn needy(&self) -> Vec<(String, String, String)> {
        let sql = "SELECT account_id, text, substr(thread, 6) FROM messages WHERE needs IS NOT NULL AND attempts > 0 \
             AND substr(thread, 1, 5) = 'user:'";
        let mut statement = self.sql.prepare(sql).expect("SQL");
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).expect("rows");
        rows.collect::<Result<_, _>>().expect("text")
    }
}
