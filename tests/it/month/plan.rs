//! What happens when: the faults with the alerts that must fire for them, and the seeded life between them.

use std::time::Duration;

use outboxd::clock::Dice;
use rand::RngExt;

/// Something that goes wrong for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The network to the API is cut.
    ApiUnreachable,
    /// Unipile refuses the key once; a person resumes.
    KeyRefused,
    /// An account is disconnected; its owner signs in again.
    AccountDown,
    /// A person pauses everything.
    Paused,
    /// A call breaks off and its chat never shows it; a person drops the message.
    Lost,
    /// Webhooks come with a wrong signature.
    WrongSignature,
    /// A receiver answers 500.
    ReceiverFails,
    /// A receiver answers 410; a person enables it.
    ReceiverGone,
    /// Receivers take 30 s for an answer.
    ReceiversSlow,
    /// A command hangs, until a reload takes it out of the configuration.
    CommandHangs,
    /// The daemon is not started again.
    Down,
    /// No webhook comes.
    WebhooksSilent,
    /// A webhook lacks what an answer must have.
    WebhookIncomplete,
    /// A reload finds a mistake in the configuration, until the next one.
    ConfigRefused,
    /// Another program keeps the queue locked.
    Locked,
}

impl Fault {
    /// Returns the alert that must fire, if one must.
    pub(super) fn alert(self) -> Option<&'static str> {
        match self {
            Self::ApiUnreachable => Some("ApiUnreachable"),
            Self::KeyRefused => Some("KeyRefused"),
            Self::AccountDown => Some("AccountDown"),
            Self::Paused => Some("PausedLong"),
            Self::Lost => Some("Review"),
            Self::WrongSignature => Some("WebhooksRefused"),
            Self::ReceiverGone | Self::CommandHangs => Some("ReceiverDisabled"),
            Self::Down => Some("Down"),
            Self::WebhooksSilent => Some("WebhooksSilent"),
            Self::WebhookIncomplete => Some("WebhooksUnreadable"),
            Self::ConfigRefused => Some("ConfigRefused"),
            Self::Locked => Some("StorageTrouble"),
            Self::ReceiverFails | Self::ReceiversSlow => None,
        }
    }
}

impl Fault {
    /// Returns whether the fault may make this alert fire.
    pub(super) fn explains(self, alert: &str) -> bool {
        // What waited for the lock goes late.
        self.alert() == Some(alert) || (self == Self::Locked && alert == "Late")
    }
}

/// What happens at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    Begin(Fault),
    End(Fault),
    /// Messages for the day: a batch by HTTP, and plain INSERTs.
    Enqueue,
    Import,
    Backup,
    Reload,
    Restart,
    Kill,
    /// A client opens a stream of events and never reads it.
    Stall,
    /// The figures are read.
    Measure,
}

/// A run.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) days: u64,
    /// Accounts that send.
    pub(crate) accounts: usize,
    /// The hour at which work ends.
    pub(crate) closes: i8,
    /// Day, hour and minute at which each fault begins, and how many minutes it lasts. The first day is a Sunday.
    pub(crate) faults: Vec<(u64, u64, u64, Fault, u64)>,
    /// Days at whose end the figures are read.
    pub(crate) measured: [u64; 2],
}

impl Plan {
    /// Returns 30 days with every fault.
    pub(crate) fn month(seed: u64) -> Self {
        let faults = vec![
            (0, 9, 30, Fault::CommandHangs, 5 * 1440),
            (2, 10, 0, Fault::ApiUnreachable, 50),
            (3, 10, 0, Fault::KeyRefused, 90),
            (4, 10, 0, Fault::AccountDown, 240),
            (5, 12, 0, Fault::Paused, 26 * 60),
            (8, 10, 0, Fault::Lost, 360),
            (9, 10, 0, Fault::WrongSignature, 60),
            (9, 14, 0, Fault::ReceiversSlow, 1440),
            (10, 15, 0, Fault::ReceiverFails, 1440),
            (12, 10, 0, Fault::ReceiverGone, 120),
            (12, 15, 0, Fault::Down, 20),
            (15, 9, 30, Fault::WebhooksSilent, 30 * 60),
            (18, 11, 0, Fault::Locked, 30),
            (19, 10, 0, Fault::ConfigRefused, 40),
            (23, 10, 0, Fault::WebhookIncomplete, 360),
        ];
        Self { seed, days: 30, accounts: 10, closes: 18, faults, measured: [5, 30] }
    }

    /// Returns two days with a few faults.
    pub(crate) fn short(seed: u64) -> Self {
        let faults = vec![
            (1, 9, 30, Fault::ReceiversSlow, 150),
            (1, 9, 30, Fault::ReceiverGone, 60),
            (1, 10, 0, Fault::WrongSignature, 60),
            (1, 11, 0, Fault::ApiUnreachable, 50),
            (1, 12, 20, Fault::Down, 20),
        ];
        Self { seed, days: 2, accounts: 3, closes: 13, faults, measured: [1, 2] }
    }

    /// Returns everything that happens, in order.
    pub(super) fn acts(&self) -> Vec<(Duration, Act)> {
        let mut dice: Dice = outboxd::clock::dice(self.seed);
        let mut acts = Vec::new();
        for (day, hour, minute, fault, lasts) in &self.faults {
            let from = at(*day, *hour, *minute);
            acts.push((from, Act::Begin(*fault)));
            acts.push((from + Duration::from_secs(lasts * 60), Act::End(*fault)));
        }
        for day in 0..self.days {
            // In the evening of the first day, before the others.
            acts.push((at(day, 21, dice.random_range(0..60)), Act::Enqueue));
            acts.push((at(day, 22, dice.random_range(0..60)), Act::Backup));
            acts.push((at(day, 20, dice.random_range(0..60)), Act::Stall));
            if day % 7 == 1 {
                acts.push((at(day, 9, dice.random_range(0..60)), Act::Import));
            }
            if day % 4 == 2 {
                acts.push((at(day, 16, dice.random_range(0..60)), Act::Reload));
            }
            match day % 3 {
                0 => acts.push((at(day, 23, dice.random_range(0..60)), Act::Restart)),
                1 => acts.push((at(day, 17, dice.random_range(0..50)), Act::Kill)),
                _ => {}
            }
        }
        acts.extend(self.measured.iter().map(|day| (at(*day, 8, 50), Act::Measure)));
        acts.sort_by_key(|(at, _)| *at);
        acts
    }

    pub(super) fn end(&self) -> Duration {
        at(self.days, 8, 55)
    }
}

/// Returns the time of the scene at an hour of a day: it begins on a Sunday at 09:00.
pub(super) fn at(day: u64, hour: u64, minute: u64) -> Duration {
    Duration::from_secs((day * 24 * 60 + hour * 60 + minute).saturating_sub(9 * 60) * 60)
}
