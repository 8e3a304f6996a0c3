//! What is kept of an account between its steps, and the result of a step.
//!
//! The supervisor keeps one [`AccountRun`] per account and passes it to each step.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::Shared;
use super::api_guard::{Kind, Permit};
use super::ledger::KeptLedger;
use super::promises::{CallWatch, ShownWait};
use super::selection::Selected;
use crate::clock::{self, KeptDice};
use crate::domain::message::{AccountId, ChatId, InboxId, MessageId};
use crate::domain::policy::Policy;
use crate::domain::reason::Reason;
use crate::policy::decide::Verdict;
use crate::policy::hours::{self, account_seed};
use crate::policy::pace;
use crate::store::Candidate;
use crate::traces::Span;

/// Accounts that become free within this time after midnight were held by a cap of the day.
const SAME_MOMENT: SignedDuration = SignedDuration::from_secs(2);

/// When an account runs again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wake {
    Now,
    /// At this time, or earlier if it is woken.
    At(Timestamp),
    /// When it is woken.
    Idle,
}

/// What is kept of an account between its steps. Losing it breaks no promise: pace and pauses are in the store.
pub(super) struct AccountRun {
    pub(super) id: AccountId,
    pub(super) dice: KeptDice,
    /// The dice for the pauses alone, so that a forecast with the same seed draws the same ones.
    pub(super) gap_dice: KeptDice,
    /// How long to type before this message; drawn once.
    plan: Option<(MessageId, Duration)>,
    /// Whether a step of this account panicked: its call may be open, and no task waits for the answer.
    pub(super) lost_call: bool,
    /// The preflight results for the next message.
    pub(super) preflight: KeptPreflight,
    /// Until when on the monotonic clock the account is known to exist at Unipile, if it was read for that.
    pub(super) exists_until: Option<Duration>,
    /// The policy of the last step.
    policy: Option<Arc<Policy>>,
    /// What the account last waited for, if that ends for many accounts at one moment.
    waited_for: Option<Reason>,
    /// What the account has sent.
    pub(super) sent: KeptLedger,
    /// Its calls, to check the promises.
    pub(super) calls: CallWatch,
    shown_wait: ShownWait,
    /// The message that goes next, why it waits, and since when; for its trace.
    traced_wait: Option<(MessageId, Reason, Timestamp)>,
}

impl AccountRun {
    pub(super) fn new(id: AccountId, shared: &Shared) -> Self {
        let seed = shared.seed;
        let dice = clock::kept_dice(seed ^ account_seed(id.as_str()));
        let gap_dice = clock::kept_dice(gap_seed(seed, &id));
        let (preflight, sent) = (KeptPreflight::default(), KeptLedger::default());
        let (calls, shown_wait) = (CallWatch::default(), ShownWait::new(shared.store.metrics()));
        Self {
            id,
            dice,
            gap_dice,
            plan: None,
            lost_call: false,
            preflight,
            exists_until: None,
            policy: None,
            waited_for: None,
            sent,
            calls,
            shown_wait,
            traced_wait: None,
        }
    }

    /// Asks for a permit. Without one, the guard keeps the account's place and wakes it.
    pub(super) fn ask(&mut self, shared: &Shared, kind: Kind) -> Option<Permit> {
        let permit = shared.api.ask(&self.id, kind);
        if permit.is_none() {
            self.calls.waits_for_permit();
        }
        permit
    }

    /// Records how long a message waited and why, once the reason changes or the wait ends.
    pub(super) fn trace_wait(
        &mut self,
        shared: &Shared,
        message: MessageId,
        verdict: &Verdict,
        now: Timestamp,
    ) {
        let reason = match verdict {
            Verdict::Wait { reason, .. } => Some(*reason),
            Verdict::Send | Verdict::Stop { .. } => None,
        };
        let (traces, before) = (shared.store.traces(), self.traced_wait);
        if !traces.are_on() || before.is_some_and(|(id, why, _)| id == message && reason == Some(why)) {
            return;
        }
        if let Some((id, why, since)) = before {
            traces.record(|| Span::new(id, "wait", since, now).with("reason", why.as_str()));
        }
        self.traced_wait = reason.map(|reason| (message, reason, now));
    }

    /// Returns whether the rules on look-ups, by which messages may be deferred, changed since the last step.
    pub(super) fn looks_up_otherwise(&mut self, policy: &Arc<Policy>) -> bool {
        let before = self.policy.replace(Arc::clone(policy));
        before.is_some_and(|before| {
            before.caps.profile != policy.caps.profile || before.inmail.reserve != policy.inmail.reserve
        })
    }

    /// Remembers what the account waits for; `None`: it has no message that may go.
    pub(super) fn note_wait(&mut self, shared: &Shared, verdict: Option<&Verdict>, now: Timestamp) {
        self.calls.waits(verdict, now, shared.clock.monotonic());
        self.shown_wait.waits(verdict);
        let Some(Verdict::Wait { reason, .. }) = verdict else { return };
        self.waited_for = Some(*reason).filter(|reason| is_shared(*reason));
    }

    /// Delays the first send after a moment at which many accounts become free (resume of all, a new day) by a time
    /// of the account's own within its gap, so that they do not all send at once; returns whether it did. Hours have
    /// a spread of their own (`Calendar::spread`).
    pub(super) fn starts_late(&mut self, shared: &Shared, selected: &Selected) -> bool {
        let Some(reason) = self.waited_for.take() else { return false };
        let (now, policy) = (selected.now, &selected.policy);
        let by_cap = matches!(reason, Reason::Cap | Reason::WarmUp | Reason::HalfCaps);
        // A rolling window frees one account at a time; midnight frees all accounts of a zone.
        let midnight = hours::day_of(&policy.zone, policy.zone.to_datetime(now).date());
        if by_cap && now.duration_since(midnight) > SAME_MOMENT {
            return false;
        }
        let delay = pace::draw_start(&mut self.dice, policy.gap);
        let monotonic = shared.clock.monotonic();
        shared.pace.delay(&self.id, monotonic + delay, monotonic);
        true
    }

    pub(super) fn typing_time(&mut self, candidate: &Candidate, policy: &Policy) -> Duration {
        match self.plan {
            Some((id, duration)) if id == candidate.id => duration,
            _ => {
                let chars = candidate.text.chars().count();
                let duration = pace::draw_typing(&mut self.dice, &policy.typing, chars);
                self.plan = Some((candidate.id, duration));
                duration
            }
        }
    }
}

/// The preflight results of a run. Most accounts have none, which takes no memory.
#[derive(Default)]
pub(super) struct KeptPreflight(Option<Box<Preflight>>);

#[derive(Default)]
pub(super) struct Preflight {
    /// The message that may go, until this time on the monotonic clock.
    pub(super) cleared: Option<(MessageId, Duration)>,
    /// Where a first message goes: into the existing chat, if there is one.
    pub(super) routed: Option<Routed>,
    /// The message whose chat shows no answer, until this time on the monotonic clock.
    pub(super) unanswered: Option<(MessageId, Duration)>,
    /// Other chats of the person that need not be read until this time on the monotonic clock.
    pub(super) others: Vec<(ChatId, Duration)>,
    /// The message whose person's chats were looked up, what was found, and until when it is valid on the monotonic clock.
    pub(super) chats: Option<(MessageId, Vec<ChatId>, Duration)>,
    /// The inbox that was checked, until this time on the monotonic clock.
    pub(super) inbox: Option<(InboxId, Duration)>,
    /// Look-ups that failed in a row.
    pub(super) failed: u32,
}

pub(super) struct Routed {
    pub(super) message_id: MessageId,
    /// The existing chat, if there is one.
    pub(super) chat_id: Option<ChatId>,
    /// Valid until this time on the monotonic clock.
    pub(super) until: Duration,
}

impl KeptPreflight {
    /// Drops the results for a message when its attempt begins: the next one is looked up again.
    pub(super) fn forget(&mut self) {
        let inbox = self.0.take().and_then(|kept| kept.inbox);
        self.0 = inbox.map(|inbox| Box::new(Preflight { inbox: Some(inbox), ..Preflight::default() }));
    }
}

impl Deref for KeptPreflight {
    type Target = Preflight;

    fn deref(&self) -> &Preflight {
        static NONE: Preflight = Preflight {
            cleared: None,
            routed: None,
            unanswered: None,
            others: Vec::new(),
            chats: None,
            inbox: None,
            failed: 0,
        };
        self.0.as_deref().unwrap_or(&NONE)
    }
}

impl DerefMut for KeptPreflight {
    fn deref_mut(&mut self) -> &mut Preflight {
        self.0.get_or_insert_default()
    }
}

/// Returns the seed for the pauses of an account.
pub(super) fn gap_seed(seed: u64, account: &AccountId) -> u64 {
    (seed ^ account_seed(account.as_str())).rotate_left(32)
}

/// Returns whether `reason` ends for many accounts at one moment.
fn is_shared(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::DaemonPaused
            | Reason::KeyRefused
            | Reason::Restored
            | Reason::Cap
            | Reason::WarmUp
            | Reason::HalfCaps
    )
}
