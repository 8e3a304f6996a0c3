//! Group commit: the requests that arrived while the writer committed the last transaction, each with the caller that
//! waits for its result.

use std::time::Duration;

use jiff::Timestamp;
use sqlx::SqliteConnection;
use tokio::sync::oneshot;

use crate::clock::{Clock, SystemClock};
use crate::store::StoreError;
use crate::store::sqlite::rows::Result;
use crate::store::transitions::admission::{self, Admission};
use crate::store::transitions::attempts::{self, Begun, Intent, Settlement};
use crate::store::transitions::batch::{EnqueueBatch, Enqueued};
use crate::store::transitions::calls;
use crate::store::transitions::enqueue::{self, KnownAccounts};
use crate::store::transitions::webhooks::{self, ReceivedWebhook};

/// Waiting for the commit of the same group is part of writing an intent and not a delay: the call itself takes
/// longer.
const A_COMMIT: Duration = Duration::from_millis(20);

/// A request and the channel for its result.
pub(in crate::store) struct Ticket<Q, A> {
    pub(super) ask: Q,
    /// When it was requested, by the writer's clock.
    pub(super) asked_at: Duration,
    pub(super) reply: oneshot::Sender<Result<A>>,
}

/// The requests of one transaction.
#[derive(Default)]
pub(super) struct Group {
    pub(super) enqueues: Vec<Ticket<EnqueueBatch, Vec<Enqueued>>>,
    pub(super) admissions: Vec<Ticket<Vec<Admission>, usize>>,
    pub(super) begins: Vec<Ticket<Intent, Begun>>,
    pub(super) settlements: Vec<Ticket<Settlement, bool>>,
    pub(super) webhooks: Vec<Ticket<ReceivedWebhook, bool>>,
}

/// The results of a group's statements, in the order of its tickets.
#[derive(Default)]
pub(super) struct Answers {
    pub(super) enqueues: Vec<Vec<Enqueued>>,
    pub(super) admissions: Vec<usize>,
    pub(super) begins: Vec<Begun>,
    pub(super) settlements: Vec<bool>,
    pub(super) webhooks: Vec<bool>,
}

impl Answers {
    /// Whether a message was stored.
    pub(super) fn have_stored(&self) -> bool {
        self.enqueues.iter().flatten().any(|stored| matches!(stored, Enqueued::Accepted(_)))
    }

    /// Returns the answers of a group that has only settlements and intents.
    pub(super) fn of_calls((settlements, begins): (Vec<bool>, Vec<Begun>)) -> Self {
        Self { settlements, begins, ..Self::default() }
    }
}

impl Group {
    pub(super) fn len(&self) -> usize {
        self.enqueues.len()
            + self.admissions.len()
            + self.begins.len()
            + self.settlements.len()
            + self.webhooks.len()
    }

    pub(super) fn rows(&self) -> usize {
        self.enqueues.iter().map(|ticket| ticket.ask.len()).sum::<usize>()
            + self.admissions.iter().map(|ticket| ticket.ask.len()).sum::<usize>()
            + self.begins.len()
            + self.settlements.len()
            + self.webhooks.len()
    }

    /// Returns when the first request of the group was made.
    pub(super) fn asked_at(&self) -> Timestamp {
        let enqueues = self.enqueues.iter().map(|ticket| ticket.ask.now());
        let admissions = self.admissions.iter().filter_map(|ticket| ticket.ask.first()).map(Admission::at);
        let begins = self.begins.iter().map(|ticket| ticket.ask.at);
        let settlements = self.settlements.iter().map(|ticket| ticket.ask.at);
        let webhooks = self.webhooks.iter().map(|ticket| ticket.ask.at);
        let first = enqueues.chain(admissions).chain(begins).chain(settlements).chain(webhooks).min();
        first.unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// Returns whether one statement suffices, so that the group needs no BEGIN and COMMIT.
    pub(super) fn is_one_statement(&self, known: &KnownAccounts) -> bool {
        let only_enqueues = self.len() == self.enqueues.len();
        let only_admissions = self.len() == self.admissions.len();
        let only_webhooks = self.len() == self.webhooks.len();
        only_webhooks
            || (only_enqueues
                && self.enqueues.iter().all(|ticket| enqueue::is_one_statement(&ticket.ask, known)))
            || (only_admissions
                && self
                    .admissions
                    .iter()
                    .flat_map(|ticket| &ticket.ask)
                    .all(|one| one.is_one_statement(known)))
    }

    /// Returns whether the group is one message of one producer, who waits for it.
    pub(super) fn is_one_message(&self) -> bool {
        self.enqueues.len() == 1 && self.rows() == 1
    }

    /// Returns whether the group has only intents and settlements that are written with one call.
    pub(super) fn is_one_call(&self) -> bool {
        self.len() == self.begins.len() + self.settlements.len()
            && calls::is_one_call(self.settlements.iter().map(|ticket| &ticket.ask))
    }

    pub(super) fn settlements(&self) -> Vec<&Settlement> {
        self.settlements.iter().map(|ticket| &ticket.ask).collect()
    }

    /// Returns the intents as of `now`. An intent carries the time of its request; if it then waited for the lock,
    /// its expiry and the pauses are checked against the time at which it is written (P5).
    pub(super) fn dated_begins(&self, now: Duration) -> Vec<Intent> {
        let dated = |one: &Ticket<Intent, Begun>| match now.saturating_sub(one.asked_at) {
            waited if waited < A_COMMIT => one.ask.clone(),
            waited => one.ask.later_by(waited),
        };
        self.begins.iter().map(dated).collect()
    }

    /// Splits the group into groups of one member each.
    pub(super) fn alone(self) -> impl Iterator<Item = Self> {
        let enqueues = self.enqueues.into_iter().map(|one| Self { enqueues: vec![one], ..Self::default() });
        let admissions =
            self.admissions.into_iter().map(|one| Self { admissions: vec![one], ..Self::default() });
        let begins = self.begins.into_iter().map(|one| Self { begins: vec![one], ..Self::default() });
        let settlements =
            self.settlements.into_iter().map(|one| Self { settlements: vec![one], ..Self::default() });
        let webhooks = self.webhooks.into_iter().map(|one| Self { webhooks: vec![one], ..Self::default() });
        settlements.chain(enqueues).chain(admissions).chain(webhooks).chain(begins)
    }

    pub(super) fn answer(self, answers: Answers) {
        fn each<Q, A>(tickets: Vec<Ticket<Q, A>>, answers: Vec<A>) {
            for (ticket, answer) in tickets.into_iter().zip(answers) {
                let _the_caller_may_have_left = ticket.reply.send(Ok(answer));
            }
        }
        each(self.enqueues, answers.enqueues);
        each(self.admissions, answers.admissions);
        each(self.begins, answers.begins);
        each(self.settlements, answers.settlements);
        each(self.webhooks, answers.webhooks);
    }

    /// Sends `error` to the only member.
    pub(super) fn refuse(self, error: StoreError) {
        fn first<Q, A>(tickets: Vec<Ticket<Q, A>>) -> Option<oneshot::Sender<Result<A>>> {
            tickets.into_iter().next().map(|ticket| ticket.reply)
        }
        if let Some(reply) = first(self.enqueues) {
            let _the_caller_may_have_left = reply.send(Err(error));
        } else if let Some(reply) = first(self.admissions) {
            let _the_caller_may_have_left = reply.send(Err(error));
        } else if let Some(reply) = first(self.begins) {
            let _the_caller_may_have_left = reply.send(Err(error));
        } else if let Some(reply) = first(self.settlements) {
            let _the_caller_may_have_left = reply.send(Err(error));
        } else if let Some(reply) = first(self.webhooks) {
            let _the_caller_may_have_left = reply.send(Err(error));
        }
    }
}

/// Runs the statements of a group: first those that free an account, last those that occupy it.
pub(super) async fn statements(
    connection: &mut SqliteConnection,
    run: i64,
    known: &mut KnownAccounts,
    clock: SystemClock,
    group: &Group,
) -> Result<Answers> {
    let settlements = attempts::settle(connection, &group.settlements()).await?;
    let enqueues: Vec<&EnqueueBatch> = group.enqueues.iter().map(|ticket| &ticket.ask).collect();
    let enqueues = enqueue::enqueue(connection, run, known, &enqueues).await?;
    let admissions: Vec<&Vec<Admission>> = group.admissions.iter().map(|ticket| &ticket.ask).collect();
    let admissions = admission::admit(connection, run, known, &admissions).await?;
    let received: Vec<&ReceivedWebhook> = group.webhooks.iter().map(|ticket| &ticket.ask).collect();
    let webhooks = webhooks::keep(connection, &received).await?;
    let begins = group.dated_begins(clock.monotonic());
    let begins = attempts::begin(connection, run, &begins).await?;
    Ok(Answers { enqueues, admissions, begins, settlements, webhooks })
}
