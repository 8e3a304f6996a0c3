//! What one seed decides: the messages, the fault plan of the network, when people interfere, how each process ends
//! and for how long none runs.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use outboxd::clock::{Clock, Dice, dice};
use outboxd::domain::attachment::{Attachment, Blob};
use outboxd::domain::calendar::{Calendar, parse_spans};
use outboxd::domain::caps::parse_caps;
use outboxd::domain::lane::Precedence;
use outboxd::domain::message::{ChatId, Extras, Inbox, MessageId, NewMessage, Target, UserId};
use outboxd::domain::policy::Absent;
use outboxd::provider::Call;
use outboxd::store::StoreError;
use rand::RngExt;

use super::acts;
use super::carrier::{Fate, FaultPlan, With};
use super::checkers::{Evidence, Notes};
use super::life::{Life, Universe};
use super::people::{Hand, Says};
use super::profiles;
use super::sequences;
use crate::engine_pace::bench::policy;
use crate::engine_pace::time::seconds;
use crate::queue::{account, at, keyed, to_chat, to_user};

const ACCOUNTS: u64 = 3;
const DAY: u64 = 86_400;

/// Result of a seed.
#[derive(Debug, Default, Clone)]
pub(super) struct Told {
    pub(super) wrongs: Vec<String>,
    pub(super) passed: Duration,
    pub(super) messages: u64,
    pub(super) deliveries: u64,
    pub(super) calls: u64,
    pub(super) kills: u64,
    pub(super) clean_stops: u64,
    pub(super) clock_steps: u64,
    pub(super) refused_instances: u64,
    pub(super) by_evidence: u64,
    pub(super) reviews: u64,
    pub(super) resends: u64,
    pub(super) cooldowns: u64,
    pub(super) by_hand: u64,
    pub(super) steps: u64,
    pub(super) replied: u64,
    pub(super) profiles: u64,
    pub(super) waited: u64,
}

impl Told {
    pub(super) fn add(&mut self, other: &Self) {
        self.passed += other.passed;
        let pairs = [
            (&mut self.messages, other.messages),
            (&mut self.deliveries, other.deliveries),
            (&mut self.calls, other.calls),
            (&mut self.kills, other.kills),
            (&mut self.clean_stops, other.clean_stops),
            (&mut self.clock_steps, other.clock_steps),
            (&mut self.refused_instances, other.refused_instances),
            (&mut self.by_evidence, other.by_evidence),
            (&mut self.reviews, other.reviews),
            (&mut self.resends, other.resends),
            (&mut self.cooldowns, other.cooldowns),
            (&mut self.by_hand, other.by_hand),
            (&mut self.steps, other.steps),
            (&mut self.replied, other.replied),
            (&mut self.profiles, other.profiles),
            (&mut self.waited, other.waited),
        ];
        pairs.into_iter().for_each(|(sum, one)| *sum += one);
    }
}

/// Decides by the seed and the number of the call, so that the order of accounts changes nothing.
struct Storm(u64);

/// No faults.
struct Calm;

/// Another seed in ten has campaigns with steps.
const fn has_steps(seed: u64) -> bool {
    seed % 10 == 7
}

/// Half of these have people who answer; no webhook tells so.
const fn people_answer(seed: u64) -> bool {
    seed % 20 == 7
}

fn own_dice(seed: u64, what: &str, account: &str, number: u64) -> Dice {
    let named = what.bytes().chain(account.bytes());
    let hash = named.fold(seed ^ number.rotate_left(32), |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    dice(hash)
}

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

impl FaultPlan for Storm {
    fn of_call(&self, call: &Call, number: u64) -> Fate {
        let mut dice = own_dice(self.0, "call", call.account_id.as_str(), number);
        let soon = ms(dice.random_range(20..2000));
        let answered = soon + ms(dice.random_range(1..3000));
        let delivered = (dice.random_range(0..2) == 0).then_some(soon);
        let arrives = |with: With| Fate::Arrives { delivered, answered, with };
        let refused = |status, kind, after| Fate::Arrives {
            delivered: None,
            answered,
            with: With::Error(status, kind, after),
        };
        match dice.random_range(0..100) {
            0..=3 => Fate::NoConnection,
            4..=6 => refused(429, "api/too_many_requests", Some(30)),
            7 => arrives(With::Error(429, "provider/too_many_requests", None)),
            8..=10 => refused(407, "api/proxy_auth_error", None),
            11 => refused(422, "provider/unprocessable_entity", None),
            12 => refused(401, "provider/invalid_authorization", None),
            13 => refused(401, "api/expired_authorization", None),
            14..=18 => arrives(With::Cut),
            19..=22 => arrives(With::Error(500, "api/internal_error", None)),
            23..=25 => arrives(With::Garbage(502)),
            26..=27 => arrives(With::Garbage(200)),
            // The client times out: the message was delivered before, is delivered after, or never.
            28..=30 => {
                let delivered = Some(ms(dice.random_range(0..160_000)));
                Fate::Arrives { delivered, answered: seconds(200), with: With::Answer }
            }
            31 => Fate::Arrives { delivered: None, answered: seconds(200), with: With::Cut },
            32..=39 => {
                let late = ms(dice.random_range(1000..60_000));
                Fate::Arrives { delivered: Some(late), answered: late + ms(200), with: With::Answer }
            }
            _ => Fate::Arrives { delivered: Some(soon), answered, with: With::Answer },
        }
    }

    fn answers_read(&self, account: &str, number: u64) -> bool {
        own_dice(self.0, "read", account, number).random_range(0..6) > 0
    }

    fn by_hand(&self, account: &str, number: u64) -> Option<Hand> {
        let mut dice = own_dice(self.0, "hand", account, number);
        match dice.random_range(0..12) {
            0 => Some(Hand::Before(dice.random_range(2..60))),
            1 => Some(Hand::Before(dice.random_range(60..7200))),
            2 => Some(Hand::Deleted),
            3..=4 => Some(Hand::NotQuite),
            _ => None,
        }
    }

    fn reaction(&self, account: &str, number: u64) -> Option<(Says, Duration)> {
        if !people_answer(self.0) {
            return None;
        }
        let mut dice = own_dice(self.0, "reaction", account, number);
        let says = match dice.random_range(0..12) {
            0..=1 => Says::Reply,
            2 => Says::OutOfOffice,
            3 => Says::OptOut,
            4 => Says::Owner,
            _ => return None,
        };
        let after = match dice.random_range(0..3) {
            0 => ms(dice.random_range(500..60_000)),
            1 => seconds(dice.random_range(60..7200)),
            _ => seconds(dice.random_range(7200..2 * DAY)),
        };
        Some((says, after))
    }

    fn lag(&self, account: &str, number: u64) -> Duration {
        ms(own_dice(self.0, "lag", account, number).random_range(0..55_000))
    }
}

impl FaultPlan for Calm {
    fn of_call(&self, _: &Call, _: u64) -> Fate {
        Fate::Arrives { delivered: Some(ms(100)), answered: ms(300), with: With::Answer }
    }
    fn answers_read(&self, _: &str, _: u64) -> bool {
        true
    }
    fn lag(&self, _: &str, _: u64) -> Duration {
        Duration::ZERO
    }
}

/// Attaches a file of this name, and returns its bytes.
fn attach(message: &mut NewMessage, filename: &str) -> Blob {
    let bytes = format!("%PDF {filename}").into_bytes();
    let file = Attachment {
        filename: filename.to_owned(),
        content_type: "application/pdf".into(),
        send_mode: None,
        voice_note: false,
        duration: None,
        size: bytes.len() as u64,
        sha256: bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
    };
    let blob = Blob { sha256: file.sha256.clone(), bytes: Arc::new(bytes) };
    message.extras.attachments.push(file);
    blob
}

/// A scenario while it runs.
struct Teller {
    seed: u64,
    dice: Dice,
    notes: Notes,
    given: Vec<(String, MessageId)>,
    numbered: u64,
    /// Whether messages belong to one of 200 campaigns, with dates and priorities of their own.
    many_campaigns: bool,
    /// Whether campaigns have steps.
    has_steps: bool,
    told: Told,
}

/// Runs the scenario of `seed` to its end and checks it.
pub(super) fn tell(seed: u64) -> Told {
    let mut dice = dice(seed);
    let mut default = policy();
    default.typing.enabled = dice.random_range(0..2) == 0;
    default.retry.max_retries = 4;
    default.reconcile.absent = Absent::Resend;
    // One seed in ten mixes campaigns that wait for dates, caps, hours and rests.
    let many_campaigns = seed % 10 == 3;
    if many_campaigns {
        default.order.per_recipient = seconds(3600);
    }
    let has_steps = has_steps(seed);
    if has_steps {
        // Their clocks change.
        default.zone = sequences::zone(1);
        default.reply.check = people_answer(seed);
    }
    if profiles::has_names(seed) {
        default.caps.profile = parse_caps(None, profiles::CAP).unwrap();
    }
    let mut careful = default.clone();
    careful.reconcile.absent = Absent::Review;
    // One account has caps, one works by day on some seeds, one has no limits.
    let mut capped = default.clone();
    capped.caps.list = parse_caps(None, "4/hour, 20/24h").unwrap();
    let mut hours = Vec::new();
    if seed.is_multiple_of(5) || many_campaigns {
        let by_day = parse_spans("08:00-20:00").unwrap();
        let week = std::array::from_fn(|_| by_day.clone());
        careful.calendar = Some(Calendar { week, ..Calendar::always() });
        hours.push(("acc_2".to_owned(), 8..20));
    }
    if has_steps {
        (capped.zone, careful.zone) = (sequences::zone(0), sequences::zone(2));
    }
    let accounts = HashMap::from([(account("0"), capped), (account("2"), careful)]);
    let mut universe = Universe::new(seed, Arc::new(Storm(seed)), default, accounts);
    // It wakes 90 times in an interval.
    universe.poll = people_answer(seed).then_some(seconds(3 * DAY));
    let caps = vec![("acc_0".to_owned(), seconds(3600), 4), ("acc_0".to_owned(), seconds(DAY), 20)];
    let notes = Notes { caps, hours, ..Notes::default() };
    let (given, told) = (Vec::new(), Told::default());
    let mut teller = Teller { seed, dice, notes, given, numbered: 0, many_campaigns, has_steps, told };
    if many_campaigns {
        teller.campaigns_begin(&universe);
    }
    for _ in 0..teller.dice.random_range(4..8) {
        teller.one_life(&universe);
        teller.nobody_runs(&universe);
    }
    teller.last_life(&universe);
    teller.judge(&universe)
}

impl Teller {
    fn below(&mut self, n: u64) -> u64 {
        self.dice.random_range(0..n)
    }

    /// Runs a process that takes in so many messages of so many campaigns that nearly each has its own.
    fn campaigns_begin(&mut self, universe: &Universe) {
        universe.stop.arm(None);
        let told = universe.live(async |life| {
            for _ in 0..self.dice.random_range(50..110) {
                self.give_one(life).await;
            }
            life.pass(seconds(120)).await;
            acts::explain(life, &mut self.notes).await;
        });
        assert_eq!(told, Some(()), "seed {}", self.seed);
    }

    /// Runs a process with everything that happens to it.
    fn one_life(&mut self, universe: &Universe) {
        // One process in two ends at one of its calls, whichever that is.
        let stop = (self.below(2) == 0).then(|| self.below(120));
        universe.stop.arm(stop);
        let says_goodbye = self.below(3) == 0;
        let told = universe.live(async |life| {
            for _ in 0..self.dice.random_range(2..7) {
                self.something_happens(life).await;
                let pause = match self.below(6) {
                    0..=2 => self.below(40_000),
                    3..=4 => self.below(400_000),
                    _ => self.below(4_000_000),
                };
                life.pass(ms(pause)).await;
                acts::explain(life, &mut self.notes).await;
            }
            if says_goodbye {
                life.stop(seconds(30)).await;
            }
        });
        match told {
            Some(()) if says_goodbye => self.told.clean_stops += 1,
            _ => self.told.kills += 1,
        }
    }

    async fn something_happens(&mut self, life: &mut Life<'_>) {
        if self.has_steps && self.below(3) > 0 {
            return sequences::happen(life, &mut self.notes, &mut self.dice).await;
        }
        match self.below(12) {
            0..=4 => {
                for _ in 0..self.dice.random_range(1..7) {
                    self.give_one(life).await;
                }
            }
            5 if !self.given.is_empty() => {
                let chosen = usize::try_from(self.below(self.given.len() as u64)).unwrap();
                let (key, id) = self.given[chosen].clone();
                acts::cancel(life, &mut self.notes, &key, id).await;
            }
            6 => {
                let account = self.some_account();
                let duration = (self.below(2) == 0).then(|| seconds(20 + self.dice.random_range(0..3000)));
                acts::pause(life, &mut self.notes, account.as_deref(), duration).await;
            }
            7 => {
                let account = self.some_account();
                acts::resume(life, &mut self.notes, account.as_deref()).await;
            }
            8 => self.set_clock(life.universe),
            9 => {
                let second = life.universe.open().await;
                assert!(matches!(second, Err(StoreError::Locked(_))), "seed {}", self.seed);
                self.told.refused_instances += 1;
            }
            10 => {
                let drops = self.below(2) == 0;
                self.told.reviews += u64::try_from(acts::in_review(life)).unwrap();
                acts::review(life, drops).await;
            }
            // Resumes everything that is down.
            _ => {
                for account in [None, Some("acc_0"), Some("acc_1"), Some("acc_2")] {
                    acts::resume(life, &mut self.notes, account).await;
                }
            }
        }
    }

    fn some_account(&mut self) -> Option<String> {
        let which = self.below(ACCOUNTS + 1);
        (which < ACCOUNTS).then(|| format!("acc_{which}"))
    }

    async fn give_one(&mut self, life: &mut Life<'_>) {
        let mut message = self.draw_message(life);
        let key = message.dedupe_key.clone().unwrap();
        let mut blobs = Vec::new();
        if matches!(message.target, Target::Chat(_)) {
            match self.below(6) {
                0 => message.extras.quote_id = Some(format!("q{}", self.below(2))),
                1 => {
                    // A file, in half of the cases with a text.
                    let file = format!("cv {}.pdf", self.numbered);
                    blobs.push(attach(&mut message, &file));
                    if self.below(2) == 0 {
                        message.text.clear();
                    }
                }
                _ => {}
            }
        }
        if profiles::has_names(self.seed) {
            profiles::named(&mut message, self.below(30));
        }
        let id = acts::give(life, &mut self.notes, message, blobs).await;
        self.given.push((key, id));
    }

    fn draw_message(&mut self, life: &Life<'_>) -> NewMessage {
        self.numbered += 1;
        let number = self.numbered;
        let key = format!("key {number}");
        // Now and then the same text is meant to go twice.
        let text = if self.below(8) == 0 { "the same words".to_owned() } else { format!("message {number}") };
        let target = match self.below(10) {
            0..=1 => to_user(&format!("u{}", self.below(3)), Inbox::OfPolicy).target,
            2..=4 if profiles::has_names(self.seed) => {
                to_user(&format!("u{}", self.below(6)), Inbox::OfPolicy).target
            }
            2 => Target::Group {
                users_ids: vec![UserId::new(format!("g{}", self.below(5))), UserId::new("h")],
                inbox: Inbox::OfPolicy,
            },
            3 => Target::Forward {
                source_chat_id: ChatId::new("source"),
                source_message_id: format!("m{}", self.below(5)),
                chat_id: ChatId::new(format!("c{}", self.below(4))),
            },
            _ => to_chat(&format!("c{}", self.below(4)), "").target,
        };
        let name = matches!(target, Target::Group { .. }).then(|| format!("group {number}"));
        let now = life.universe.clock.now();
        let extras = Extras { name, ..Extras::default() };
        let (rare, far) = if self.many_campaigns { (2, 3 * DAY) } else { (8, 7200) };
        let not_before = (self.below(rare) == 0).then(|| now + seconds(self.below(far)));
        let expires_at = (self.below(8) == 0).then(|| now + seconds(7200 + self.below(DAY)));
        let account_id = account(&self.below(ACCOUNTS).to_string());
        let mut precedence = Precedence { allow_repeat: true, ..Precedence::default() };
        let mut campaign = None;
        if self.many_campaigns {
            campaign = (self.below(10) > 0).then(|| format!("campaign {:03}", self.below(200)));
            precedence.priority = i8::try_from(self.below(4)).unwrap() - 2;
            precedence.urgent = self.below(20) == 0;
            precedence.ignore_hours = false;
        }
        keyed(
            &key,
            NewMessage {
                account_id,
                precedence,
                target,
                extras,
                not_before,
                expires_at,
                campaign,
                ..to_chat("", &text)
            },
        )
    }

    /// Sets the wall clock, as a person or NTP would.
    fn set_clock(&mut self, universe: &Universe) {
        let steps = [2, 15, 60, 600, 3600, 26 * 3600, 2 * 86_400];
        let by = steps[usize::try_from(self.below(7)).unwrap()];
        let by = SignedDuration::from_secs(by);
        // Without a boot id, a clock that was set forward right before a death, or between two runs, cannot be
        // detected.
        let may_be_ahead = universe.tells_boot();
        let by = if self.below(2) == 0 && may_be_ahead { by } else { -by };
        self.note_step(universe, by);
        universe.clock.set_wall_by(by);
        self.told.clock_steps += 1;
    }

    fn note_step(&mut self, universe: &Universe, by: SignedDuration) {
        self.notes.sets.push(universe.clock.monotonic());
        if let Ok(by) = Duration::try_from(by) {
            self.notes.forward.push((universe.clock.monotonic(), by));
        }
    }

    /// Lets time pass between two processes.
    fn nobody_runs(&mut self, universe: &Universe) {
        let pause = match self.below(10) {
            0..=3 => self.below(5_000),
            4..=5 => self.below(120_000),
            6..=7 => self.below(8 * 3_600_000),
            _ => self.below(14 * DAY * 1000),
        };
        let end = universe.clock.monotonic() + ms(pause);
        if self.below(4) == 0 {
            self.set_clock(universe);
        }
        // Requests that had left arrive.
        while let Some(due) = universe.carrier.next_delivery().filter(|due| *due <= end) {
            universe.clock.advance_to_next(due);
            universe.carrier.deliver();
        }
        universe.clock.advance_to_next(end);
    }

    /// Runs the last process: no faults, the right clock, and everything settles.
    fn last_life(&mut self, universe: &Universe) {
        universe.stop.arm(None);
        universe.carrier.set_weather(Arc::new(Calm));
        let right = at(0) + universe.clock.monotonic();
        let by = right.duration_since(universe.clock.now());
        self.note_step(universe, by);
        if universe.tells_boot() {
            universe.clock.set_wall_by(by);
        }
        let told = universe.live(async |life| {
            if !universe.tells_boot() {
                universe.clock.set_wall_by(by);
            }
            for account in [None, Some("acc_0"), Some("acc_1"), Some("acc_2")] {
                acts::resume(life, &mut self.notes, account).await;
            }
            if self.has_steps {
                sequences::lift_all(life, &mut self.notes).await;
            }
            acts::explain(life, &mut self.notes).await;
            let finished = acts::finish(life, seconds(1800), 1200).await;
            if self.has_steps {
                sequences::audit(life, &mut self.notes).await;
            }
            life.stop(seconds(30)).await;
            finished
        });
        if told != Some(true) {
            self.told.wrongs.push("P1: the queue does not come to its end".to_owned());
        }
    }

    fn judge(mut self, universe: &Universe) -> Told {
        let evidence = Evidence::new(universe, &self.notes);
        self.told.wrongs.extend(evidence.wrongs());
        if !self.told.wrongs.is_empty() && std::env::var_os("OUTBOXD_SIM_SEED").is_some() {
            println!("{}", evidence.chronicle());
        }
        let sql = rusqlite::Connection::open(universe.database()).unwrap();
        let count = |what: &str| -> u64 {
            let sum: i64 = sql.query_row(&format!("SELECT {what}"), [], |row| row.get(0)).unwrap();
            sum.try_into().unwrap()
        };
        self.told.passed = universe.clock.monotonic();
        self.told.messages = count("count(*) FROM messages");
        self.told.by_evidence = count("count(*) FROM messages WHERE settled_by = 'evidence'");
        self.told.resends = count("coalesce(sum(resends), 0) FROM messages");
        self.told.cooldowns = count("count(*) FROM events WHERE reason = 'cooldown'");
        self.told.deliveries = universe.carrier.world.delivered_count() as u64;
        self.told.calls = universe.carrier.left().len() as u64;
        self.told.by_hand = universe.carrier.by_hand();
        self.told.replied = count("count(*) FROM messages WHERE reason = 'replied'");
        self.told.profiles = universe.carrier.profiles().len() as u64;
        self.told.waited = count("count(*) FROM messages WHERE needs IS NOT NULL AND state = 'sent'");
        self.told.steps = count("count(*) FROM messages WHERE step > 1 AND state = 'sent'");
        self.told
    }
}
