//! A provider that gives scripted answers and records its calls and their times.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use outboxd::clock::Clock;
use outboxd::domain::message::{AccountId, ChatId, InboxId, UserId};
use outboxd::domain::observed::{
    Credits, ObservedAccount, ObservedGroup, ObservedInbox, ObservedMessage, ProviderTime, Unread,
};
use outboxd::domain::outcome::{DownCause, Hold, Outcome, Phase, ProviderError};
use outboxd::domain::person::Person;
use outboxd::provider::{Call, CallTarget, Composing, Pages, Provider, Recipients, Reply};

use super::time::FakeClock;
use crate::queue::at;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Send,
    Composing,
    Read,
    /// A read of the account itself, its inboxes or its credits.
    Fact,
}

/// A call as the provider saw it.
#[derive(Debug, Clone)]
pub(super) struct Recorded {
    pub(super) kind: Kind,
    pub(super) account: String,
    pub(super) chat: String,
    pub(super) text: String,
    /// Milliseconds of the monotonic clock.
    pub(super) at_ms: u64,
    pub(super) wall: Timestamp,
}

/// What the provider does with a send.
#[derive(Debug, Clone, Copy)]
pub(super) enum Answer {
    Sent,
    SentAfter(Duration),
    Refused,
    /// Refused because the account lacks a permission.
    Forbidden,
    /// A gateway's page instead of an answer.
    Page403,
    /// Unipile itself had no time for the request.
    ApiBusy408,
    /// Refused, in words that hint at spent credits.
    RefusedForCredits,
    NotSent,
    NoConnection,
    ApiLimited(Duration),
    Throttled,
    Unknown,
    /// The provider behind Unipile did not answer in time.
    ProviderTimeout,
    Disconnected,
    KeyRefused,
    Hang,
    Panic,
}

#[derive(Default)]
struct Seen {
    calls: Vec<Recorded>,
    accepted: Vec<Recorded>,
    script: VecDeque<Answer>,
    script_of: HashMap<String, VecDeque<Answer>>,
    composing_is_broken: bool,
    /// The messages that each chat shows, oldest first.
    shown: HashMap<String, Vec<ObservedMessage>>,
    /// By how much the wall clock is set during the next read of a chat.
    set_clock_by: Option<SignedDuration>,
    /// The chats with each user.
    chats_with: HashMap<String, Vec<String>>,
    /// Number of reads of a chat that still fail.
    unreadable: usize,
    /// Inboxes instead of the one that every account has.
    inboxes: Option<Vec<ObservedInbox>>,
    /// InMail credits left, instead of ten.
    credits: Option<Credits>,
    /// Status of the accounts at Unipile; running unless it is set.
    status: Option<&'static str>,
    /// What cannot be read: "account", "inboxes", "credits", "groups".
    broken_facts: Vec<&'static str>,
    /// Failures of the reads of these kinds, or of "chats_with".
    unread: HashMap<&'static str, Unread>,
    /// What is read in vain: these reads never return.
    hanging_facts: Vec<&'static str>,
    in_flight: HashMap<String, usize>,
    most_on_one: usize,
    most: usize,
    held: usize,
}

pub(super) struct FakeProvider {
    clock: FakeClock,
    seen: Mutex<Seen>,
}

impl FakeProvider {
    pub(super) fn new(clock: FakeClock) -> Self {
        Self { clock, seen: Mutex::default() }
    }

    /// Returns the number of calls that wait on purpose: their steps are alive but not at work.
    pub(super) fn held(&self) -> usize {
        self.seen().held
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("nothing panics while holding it")
    }

    /// Sets the answers to the next sends; after them every send is accepted.
    pub(super) fn script(&self, answers: Vec<Answer>) {
        self.seen().script.extend(answers);
    }

    /// Sets the answers to the sends of one account, which come before the others.
    pub(super) fn script_of(&self, account: &AccountId, answers: Vec<Answer>) {
        self.seen().script_of.entry(account.to_string()).or_default().extend(answers);
    }

    pub(super) fn break_composing(&self) {
        self.seen().composing_is_broken = true;
    }

    pub(super) fn set_inboxes(&self, inboxes: &[(&str, bool)]) {
        let inbox =
            |(id, disabled): &(&str, bool)| ObservedInbox { id: InboxId::new(*id), disabled: *disabled };
        self.seen().inboxes = Some(inboxes.iter().map(inbox).collect());
    }

    pub(super) fn set_status(&self, status: &'static str) {
        self.seen().status = Some(status);
    }

    pub(super) fn set_credits(&self, credits: &[(&str, u64)]) {
        self.seen().credits = Some(credits.iter().map(|(product, n)| ((*product).to_owned(), *n)).collect());
    }

    pub(super) fn break_facts(&self, which: &[&'static str]) {
        self.seen().broken_facts = which.to_vec();
    }

    /// Lets `chat` show that the account wrote `text`, as the message whose id each accepted send has.
    pub(super) fn show(&self, chat: &str, text: &str, at: Timestamp) {
        self.show_by(chat, ("m", true), text, at);
    }

    /// Lets `chat` show that the other person answered.
    pub(super) fn show_answer(&self, chat: &str, at: Timestamp) {
        self.show_by(chat, ("answer", false), "Gladly.", at);
    }

    fn show_by(&self, chat: &str, (id, is_sender): (&str, bool), text: &str, at: Timestamp) {
        let message = ObservedMessage {
            id: id.into(),
            is_sender: Some(is_sender),
            sender_id: None,
            at,
            text: text.into(),
            attachments: Vec::new(),
            quote: None,
            forward: None,
            subject: None,
            is_deleted: false,
            is_edited: false,
            is_silent: false,
            is_seen: false,
            is_delivered: true,
        };
        self.seen().shown.entry(chat.to_owned()).or_default().push(message);
    }

    /// Sets the wall clock during the next read of a chat.
    pub(super) fn set_clock_at_next_read(&self, by: SignedDuration) {
        self.seen().set_clock_by = Some(by);
    }

    /// Makes reads of this kind fail; `None` makes them work again.
    pub(super) fn set_unread(&self, which: &'static str, unread: Option<Unread>) {
        match unread {
            Some(unread) => _ = self.seen().unread.insert(which, unread),
            None => _ = self.seen().unread.remove(which),
        }
    }

    /// Removes all answers of [`FakeProvider::script`].
    pub(super) fn forget_script(&self) {
        self.seen().script.clear();
    }

    pub(super) fn hang_facts(&self, which: &[&'static str]) {
        self.seen().hanging_facts = which.to_vec();
    }

    pub(super) fn set_chats_with(&self, user: &str, chats: &[&str]) {
        self.seen().chats_with.insert(user.into(), chats.iter().map(|chat| (*chat).to_owned()).collect());
    }

    /// Records a read of account data, and fails if it is broken.
    async fn fact(&self, account: &AccountId, which: &'static str) -> Result<(), Unread> {
        self.record(Kind::Fact, account, which.into(), String::new());
        self.answers(which).await
    }

    async fn answers(&self, which: &'static str) -> Result<(), Unread> {
        if self.seen().hanging_facts.contains(&which) {
            let _held = Held::begin(self);
            std::future::pending::<()>().await;
        }
        if let Some(unread) = self.seen().unread.get(which) {
            return Err(unread.clone());
        }
        match self.seen().broken_facts.contains(&which) {
            true => Err(Unread { problem: Box::new(problem("outboxd/timeout")), down: None, hold: None }),
            false => Ok(()),
        }
    }

    pub(super) fn calls_of(&self, kind: Kind) -> Vec<Recorded> {
        self.seen().calls.iter().filter(|call| call.kind == kind).cloned().collect()
    }

    pub(super) fn accepted(&self) -> Vec<Recorded> {
        self.seen().accepted.clone()
    }

    pub(super) fn most_at_once_on_one_account(&self) -> usize {
        self.seen().most_on_one
    }

    pub(super) fn most_at_once(&self) -> usize {
        self.seen().most
    }

    fn record(&self, kind: Kind, account: &AccountId, chat: String, text: String) -> Recorded {
        let at_ms = u64::try_from(self.clock.monotonic().as_millis()).expect("less than a long time");
        let wall = self.clock.now();
        let call = Recorded { kind, account: account.to_string(), chat, text, at_ms, wall };
        self.seen().calls.push(call.clone());
        call
    }

    async fn answer(&self, call: Call) -> Reply {
        let chat = match &call.target {
            CallTarget::Chat { chat_id, .. } | CallTarget::Forward { chat_id, .. } => chat_id.to_string(),
            CallTarget::Start { recipients, inbox_id, .. } => {
                let inbox = inbox_id.as_ref().map_or("none", |inbox| inbox.as_str());
                match recipients {
                    Recipients::One(user_id) => format!("user {user_id} from {inbox}"),
                    Recipients::Group { users_ids, .. } => {
                        format!("group of {} from {inbox}", users_ids.len())
                    }
                }
            }
        };
        let recorded = self.record(Kind::Send, &call.account_id, chat, call.text);
        let _in_flight = InFlight::begin(self, recorded.account.clone());
        let scripted = {
            let mut seen = self.seen();
            let own = seen.script_of.get_mut(&recorded.account).and_then(VecDeque::pop_front);
            own.or_else(|| seen.script.pop_front())
        };
        let answer = scripted.unwrap_or(Answer::Sent);
        match answer {
            Answer::SentAfter(duration) => {
                let _held = Held::begin(self);
                self.clock.sleep(duration).await;
            }
            Answer::Hang => {
                let _held = Held::begin(self);
                std::future::pending::<()>().await;
            }
            Answer::Panic => panic!("the provider panics because the test asked for it"),
            _ => {}
        }
        let (phase, outcome) = outcome_of(answer);
        if matches!(outcome, Outcome::Accepted { .. }) {
            self.seen().accepted.push(recorded);
        }
        Reply { phase, outcome }
    }
}

fn problem(kind: &str) -> ProviderError {
    ProviderError { kind: kind.into(), detail: Some("as scripted".into()), ..ProviderError::default() }
}

fn outcome_of(answer: Answer) -> (Phase, Outcome) {
    let down = |cause, kind| Outcome::AccountDown { cause, problem: problem(kind) };
    let not_sent = |hold, kind| Outcome::NotSent { problem: problem(kind), hold };
    let outcome = match answer {
        Answer::Sent | Answer::SentAfter(_) | Answer::Hang | Answer::Panic => {
            Outcome::Accepted { chat_id: None, message_ids: vec!["m".into()] }
        }
        Answer::Refused => Outcome::Refused(problem("provider/unprocessable_entity")),
        Answer::Forbidden => Outcome::Refused(problem("provider/insufficient_permissions")),
        Answer::Page403 => {
            let page = ProviderError { status: Some(403), ..problem("outboxd/untyped_answer") };
            Outcome::NotSent { problem: page, hold: Hold::Api }
        }
        Answer::ApiBusy408 => {
            let busy = ProviderError { status: Some(408), ..problem("api/request_timeout") };
            Outcome::NotSent { problem: busy, hold: Hold::Api }
        }
        Answer::RefusedForCredits => {
            let detail = Some("The account has no InMail credits left.".into());
            Outcome::Refused(ProviderError { detail, ..problem("provider/unprocessable_entity") })
        }
        Answer::NotSent => not_sent(Hold::Message, "api/proxy_auth_error"),
        Answer::NoConnection => {
            return (Phase::Connecting, not_sent(Hold::Api, "outboxd/cannot_connect"));
        }
        Answer::ApiLimited(wait) => not_sent(Hold::Account(Some(wait)), "api/too_many_requests"),
        Answer::Throttled => Outcome::Throttled(problem("provider/too_many_requests")),
        Answer::Unknown => {
            let problem = problem("outboxd/timeout");
            return (Phase::Written, Outcome::Uncertain { phase: Phase::Written, problem });
        }
        Answer::ProviderTimeout => {
            Outcome::Uncertain { phase: Phase::Answered, problem: problem("provider/timeout") }
        }
        Answer::Disconnected => down(DownCause::Disconnected, "provider/invalid_authorization"),
        Answer::KeyRefused => down(DownCause::Key, "api/expired_authorization"),
    };
    (Phase::Answered, outcome)
}

impl Provider for FakeProvider {
    fn send(&self, call: Call) -> BoxFuture<'_, Reply> {
        Box::pin(self.answer(call))
    }

    fn set_composing(
        &self,
        account_id: AccountId,
        chat_id: ChatId,
        _composing: Composing,
    ) -> BoxFuture<'_, Result<(), Unread>> {
        Box::pin(async move {
            self.record(Kind::Composing, &account_id, chat_id.to_string(), String::new());
            self.answers("composing").await?;
            let broken = self.seen().composing_is_broken;
            let problem = || Box::new(ProviderError::local("no_answer", "broken"));
            if broken { Err(Unread { problem: problem(), down: None, hold: None }) } else { Ok(()) }
        })
    }

    fn messages_since(
        &self,
        account_id: AccountId,
        chat_id: ChatId,
        since: Timestamp,
        _pages: Pages,
    ) -> BoxFuture<'_, Result<Vec<ObservedMessage>, Unread>> {
        Box::pin(async move {
            self.record(Kind::Read, &account_id, chat_id.to_string(), String::new());
            let mut seen = self.seen();
            if let Some(by) = seen.set_clock_by.take() {
                self.clock.set_wall_by(by);
            }
            if let Some(unread) = seen.unread.get("messages") {
                return Err(unread.clone());
            }
            if seen.unreadable > 0 {
                seen.unreadable -= 1;
                return Err(Unread { problem: Box::new(problem("outboxd/timeout")), down: None, hold: None });
            }
            let shown = seen.shown.get(chat_id.as_str()).into_iter().flatten();
            Ok(shown.filter(|message| message.at > since).rev().cloned().collect())
        })
    }

    fn chats_with(
        &self,
        account_id: AccountId,
        user_id: UserId,
    ) -> BoxFuture<'_, Result<Vec<ChatId>, Unread>> {
        Box::pin(async move {
            self.record(Kind::Read, &account_id, format!("user {user_id}"), String::new());
            if let Some(unread) = self.seen().unread.get("chats_with") {
                return Err(unread.clone());
            }
            if self.seen().broken_facts.contains(&"chats_with") {
                return Err(Unread { problem: Box::new(problem("outboxd/timeout")), down: None, hold: None });
            }
            Ok(self.seen().chats_with.get(user_id.as_str()).into_iter().flatten().map(ChatId::new).collect())
        })
    }

    fn profile(&self, account_id: AccountId, person: UserId) -> BoxFuture<'_, Result<Person, Unread>> {
        Box::pin(async move {
            self.record(Kind::Read, &account_id, format!("profile {person}"), String::new());
            Ok(Person::new(person, [None, None, None]))
        })
    }

    fn groups_since(
        &self,
        account_id: AccountId,
        _inbox_id: Option<InboxId>,
        _since: Timestamp,
        _pages: Pages,
    ) -> BoxFuture<'_, Result<Vec<ObservedGroup>, Unread>> {
        Box::pin(async move {
            self.record(Kind::Read, &account_id, "groups".into(), String::new());
            self.answers("groups").await.map(|()| Vec::new())
        })
    }

    fn inboxes(
        &self,
        account_id: AccountId,
        _pages: Pages,
    ) -> BoxFuture<'_, Result<Vec<ObservedInbox>, Unread>> {
        Box::pin(async move {
            self.fact(&account_id, "inboxes").await?;
            let usual = || vec![ObservedInbox { id: InboxId::new("CLASSIC_PRIMARY"), disabled: false }];
            Ok(self.seen().inboxes.clone().unwrap_or_else(usual))
        })
    }

    fn inmail_credits(&self, account_id: AccountId) -> BoxFuture<'_, Result<Credits, Unread>> {
        Box::pin(async move {
            self.fact(&account_id, "credits").await?;
            let usual = || Credits::from([("classic".to_owned(), 10)]);
            Ok(self.seen().credits.clone().unwrap_or_else(usual))
        })
    }

    fn account(&self, account_id: AccountId) -> BoxFuture<'_, Result<ObservedAccount, Unread>> {
        Box::pin(async move {
            self.fact(&account_id, "account").await?;
            Ok(ObservedAccount {
                name: None,
                provider: "linkedin".into(),
                status: self.seen().status.unwrap_or("running").into(),
                products: BTreeMap::new(),
                is_locked: false,
            })
        })
    }

    fn time(&self) -> Option<ProviderTime> {
        // Its clock is not set with ours.
        let now = at(0) + self.clock.monotonic();
        Some(ProviderTime { earliest: now, latest: now })
    }
}

/// A call in flight; ends when it is answered, dropped or panics.
struct InFlight<'a>(&'a FakeProvider, String);

impl<'a> InFlight<'a> {
    fn begin(provider: &'a FakeProvider, account: String) -> Self {
        let mut seen = provider.seen();
        let on_this = seen.in_flight.entry(account.clone()).or_default();
        *on_this += 1;
        seen.most_on_one = seen.most_on_one.max(*seen.in_flight.values().max().expect("this one"));
        seen.most = seen.most.max(seen.in_flight.values().sum());
        drop(seen);
        Self(provider, account)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        *self.0.seen().in_flight.get_mut(&self.1).expect("it began") -= 1;
    }
}

/// A call that waits on purpose: its step is alive but not at work.
struct Held<'a>(&'a FakeProvider);

impl<'a> Held<'a> {
    fn begin(provider: &'a FakeProvider) -> Self {
        provider.seen().held += 1;
        Self(provider)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.seen().held -= 1;
    }
}
