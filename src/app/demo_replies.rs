//! `outboxd demo --replies`: a campaign of three steps to six people who receive, read and answer, in about a minute
//! and a half.
//!
//! The sandbox's people answer by signed webhooks and in their chats: one answers, one asks to be left alone, one is
//! out of office, one account is disconnected for a while. At the end the sandbox's ledger is compared with what each
//! of them should have received.

use std::collections::{BTreeMap, HashMap};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, ensure};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::Application;
use super::demo::{DemoOptions, dashboard, settings, until_seen};
use crate::clock::{Clock, SystemClock, ambient_seed};
use crate::domain::message::MessageId;
use crate::domain::reason::Reason;
use crate::domain::state::StateName;
use crate::sandbox::{Behaviour, Language, Sandbox, SandboxConfig};
use crate::store::{MessageFilter, MessageView};

/// Timeout of the demo.
const PATIENCE: Duration = Duration::from_secs(180);
/// How long the account of [`DISCONNECTED`] stays disconnected.
const AWAY: Duration = Duration::from_secs(20);
/// The account that is disconnected after its first send.
const DISCONNECTED: &str = "acc_mira";
const CAMPAIGN: &str = "autumn";

/// The people: account, user, first message, and what should come of the two follow-ups.
const PEOPLE: [(&str, &str, &str, Ending); 6] = [
    ("acc_anna", "Bruno", "Hi Bruno, are you still looking for a data engineer?", Ending::Replied),
    (
        "acc_anna",
        "Carla",
        "Hi Carla, I saw your talk in Porto. A quarter of an hour next week?",
        Ending::Sent,
    ),
    (
        "acc_anna",
        "Dimitri",
        "Good morning Dimitri, may I send you the details of a role?",
        Ending::Suppressed,
    ),
    ("acc_jonas", "Elif", "Hi Elif, your profile fits a role that we are filling.", Ending::Waiting),
    ("acc_jonas", "Frida", "Hi Frida, a short question about your post on queues.", Ending::Sent),
    (DISCONNECTED, "Hana", "Hi Hana, shall we continue the conversation here?", Ending::Sent),
];

/// What comes of a person's follow-ups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Sent,
    Replied,
    Suppressed,
    Waiting,
}

impl Ending {
    fn words(self) -> &'static str {
        match self {
            Self::Sent => "did not answer: both follow-ups were sent",
            Self::Replied => "answered: both follow-ups were cancelled",
            Self::Suppressed => "asked to be left alone: both were cancelled, and nothing new is taken",
            Self::Waiting => "is out of office: both follow-ups wait",
        }
    }
}

/// Runs the demo.
///
/// # Errors
/// Returns an error if the demo cannot run. A broken promise is not an error but a failing exit code.
pub async fn demo_replies(options: DemoOptions) -> anyhow::Result<ExitCode> {
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let sandbox = Sandbox::start(SandboxConfig::default()).await.context("cannot start the sandbox")?;
    let clock = SystemClock::new();
    people(&sandbox, clock.now());
    let seed = options.seed.unwrap_or_else(ambient_seed);
    let (listen, secret) = endpoint(&sandbox)?;
    let hears = [("OUTBOXD_WEBHOOKS_LISTEN", listen), ("OUTBOXD_WEBHOOKS_SECRET", secret)];
    let settings = settings(folder.path(), &sandbox, seed, &hears)?;
    let application = Application::start(&settings, Vec::new()).await?;
    if !options.json {
        println!(
            "outboxd demo: a campaign of three messages to each of six people on three accounts (seed {seed})."
        );
        println!("The people are the sandbox's: they receive, read, answer, opt out or are away.\n");
    }
    let dashboard = dashboard(options, &application).await?;
    let client = reqwest::Client::builder().unix_socket(application.socket.clone()).build()?;
    let began = clock.monotonic();
    let mut campaign = Campaign { client, clock, began, shown: HashMap::new(), quiet: options.json };
    campaign.run(&application, &sandbox).await?;
    let broken = campaign.broken(&application, &sandbox).await?;
    let delivered = sandbox.world().deliveries().len();
    until_seen(dashboard).await?;
    application.stop().await?;
    sandbox.stop().await;
    report(&options, seed, delivered, &broken);
    Ok(if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Decides how the people behave.
fn people(sandbox: &Sandbox, now: Timestamp) {
    let seconds = Duration::from_secs;
    let back = now.to_zoned(jiff::tz::TimeZone::UTC).date().saturating_add(jiff::Span::new().days(9));
    let world = sandbox.world();
    world.set_people(Behaviour::reads(seconds(4)));
    world.set_person("Bruno", Behaviour::answers(seconds(6), "Yes, I am. Tuesday at ten?"));
    world.set_person("Dimitri", Behaviour::opts_out(seconds(5), Language::English));
    world.set_person("Elif", Behaviour::out_of_office(seconds(3), Some(back)));
}

/// Registers the daemon's listener with the sandbox. Returns its address and the secret of its signatures.
fn endpoint(sandbox: &Sandbox) -> anyhow::Result<(String, String)> {
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let listen = free.context("no free port on loopback")?.to_string();
    let events = [
        "message.new",
        "message.receipt.delivery",
        "message.receipt.read",
        "account.status.disconnected",
        "account.status.running",
    ];
    let body = json!({ "url": format!("http://{listen}/webhooks/unipile"), "trigger_events": events });
    let request = axum::http::Request::post("/v2/webhooks/endpoints/")
        .header("x-api-key", SandboxConfig::default().api_key)
        .header("content-type", "application/json")
        .body(body.to_string().into_bytes())?;
    let answer = sandbox.world().answer(request).into_body();
    let endpoint: Value = serde_json::from_slice(&answer)?;
    let secret = endpoint["secret"].as_str().context("the sandbox gave the endpoint no secret")?;
    Ok((listen, secret.to_owned()))
}

/// A producer that queues the campaign, and prints what becomes of it.
struct Campaign {
    client: reqwest::Client,
    clock: SystemClock,
    began: Duration,
    /// What was printed of each message.
    shown: HashMap<MessageId, Vec<String>>,
    quiet: bool,
}

impl Campaign {
    async fn enqueue(&self, message: &Value) -> anyhow::Result<(u16, Value)> {
        let answer = self.client.post("http://outboxd/v1/messages").json(message).send().await?;
        Ok((answer.status().as_u16(), answer.json().await?))
    }

    /// Queues the first messages, follow-ups as soon as their chats are known, and waits for the end.
    async fn run(&mut self, application: &Application, sandbox: &Sandbox) -> anyhow::Result<()> {
        for (account, user, text, _) in PEOPLE {
            let first =
                json!({ "account_id": account, "users_ids": user, "text": text, "campaign": CAMPAIGN });
            let (status, answer) = self.enqueue(&first).await?;
            ensure!(status == 201, "the socket refused a message: {answer}");
        }
        let mut followed: Vec<&str> = Vec::new();
        let mut away: Option<Duration> = None;
        loop {
            let messages = messages(application).await?;
            for message in &messages {
                self.show(message);
            }
            for (account, user, text, _) in PEOPLE {
                let first = messages.iter().find(|message| message.text.as_deref() == Some(text));
                let chat = first.filter(|first| first.state == StateName::Sent);
                let Some(chat_id) = chat.and_then(|first| first.chat_id.as_deref()) else { continue };
                if followed.contains(&user) {
                    continue;
                }
                followed.push(user);
                for step in [2, 3] {
                    let text = follow_up(user, step);
                    let next = json!({ "account_id": account, "chat_id": chat_id, "text": text, "campaign": CAMPAIGN });
                    self.enqueue(&next).await?;
                }
                if account == DISCONNECTED {
                    sandbox.world().disconnect(DISCONNECTED);
                    self.line(DISCONNECTED, "", "the account is disconnected");
                    away = Some(self.clock.monotonic());
                }
            }
            if away.is_some_and(|since| self.clock.monotonic() > since + AWAY) {
                sandbox.world().reconnect(DISCONNECTED);
                self.line(DISCONNECTED, "", "the account is connected again");
                away = None;
            }
            let waits = |message: &&MessageView| {
                message.state == StateName::Queued && message.reason != Reason::OutOfOffice
            };
            let is_over = followed.len() == PEOPLE.len() && !messages.iter().any(|message| waits(&message));
            let all_read =
                messages.iter().all(|message| message.state != StateName::Sent || is_seen(message));
            if (is_over && all_read) || self.clock.monotonic() > self.began + PATIENCE {
                return Ok(());
            }
            self.clock.sleep(Duration::from_millis(250)).await;
        }
    }

    /// Prints what is new about a message.
    fn show(&mut self, message: &MessageView) {
        let text = message.text.as_deref().unwrap_or_default();
        let Some((user, step)) = whose(text) else { return };
        let times = [
            (message.delivered_at, "delivered"),
            (message.read_at, "read"),
            (message.replied_at, "answered"),
        ];
        let mut news: Vec<String> = Vec::new();
        match message.state {
            StateName::Sent => news.push("sent".to_owned()),
            StateName::Cancelled => news.push(format!("cancelled: {}", message.reason.as_str())),
            StateName::Queued if message.reason == Reason::OutOfOffice => {
                news.push("waits: out_of_office".to_owned());
            }
            _ => {}
        }
        news.extend(times.iter().filter(|(at, _)| at.is_some()).map(|(_, word)| (*word).to_owned()));
        let shown = self.shown.entry(message.id).or_default();
        let new: Vec<String> = news.into_iter().filter(|word| !shown.contains(word)).collect();
        shown.extend(new.iter().cloned());
        for word in new {
            self.line(message.account.id.as_str(), user, &format!("message {step} {word}"));
        }
    }

    fn line(&self, account: &str, user: &str, what: &str) {
        if !self.quiet {
            let at = (self.clock.monotonic() - self.began).as_secs_f64();
            println!("{at:>6.1} s  {account:<10} {user:<8} {what}");
        }
    }

    /// Returns what is not as it should be.
    async fn broken(&self, application: &Application, sandbox: &Sandbox) -> anyhow::Result<Vec<String>> {
        let mut broken = Vec::new();
        let deliveries = sandbox.world().deliveries();
        let mut arrivals: BTreeMap<&str, Vec<Duration>> = BTreeMap::new();
        for delivery in &deliveries {
            arrivals.entry(&delivery.account_id).or_default().push(delivery.at_monotonic);
        }
        for (account, mut at) in arrivals {
            at.sort_unstable();
            if at.windows(2).any(|pair| pair[1] - pair[0] < Duration::from_secs(10)) {
                broken.push(format!("P3: {account} sent twice within 10 s"));
            }
        }
        let messages = messages(application).await?;
        for (_, user, _, ending) in PEOPLE {
            let theirs = |text: &str| whose(text).is_some_and(|(whose, _)| whose == user);
            let received = deliveries.iter().filter(|delivery| theirs(&delivery.text)).count();
            let follow_ups = messages.iter().filter(|message| {
                message.text.as_deref().and_then(whose).is_some_and(|(whose, step)| whose == user && step > 1)
            });
            let as_it_should = follow_ups.filter(|message| match ending {
                Ending::Sent => message.state == StateName::Sent && message.read_at.is_some(),
                Ending::Replied => message.reason == Reason::Replied,
                Ending::Suppressed => message.reason == Reason::Suppressed,
                Ending::Waiting => {
                    message.state == StateName::Queued && message.reason == Reason::OutOfOffice
                }
            });
            let expected = if ending == Ending::Sent { 3 } else { 1 };
            if (received, as_it_should.count()) != (expected, 2) {
                broken.push(format!("P5: {user} received {received} of {expected} messages"));
            }
        }
        let again = json!({ "account_id": "acc_jonas", "users_ids": "Dimitri", "text": "Hello again" });
        if self.enqueue(&again).await?.0 != 409 {
            broken.push("P5: a message to Dimitri was taken after the wish to be left alone".to_owned());
        }
        Ok(broken)
    }
}

/// Returns every message, with its text.
async fn messages(application: &Application) -> anyhow::Result<Vec<MessageView>> {
    let now = application.engine().now();
    let page =
        application.store().messages(&MessageFilter { limit: 100, ..MessageFilter::default() }, now).await?;
    let mut messages = Vec::with_capacity(page.messages.len());
    for message in page.messages.iter().rev() {
        messages.extend(application.store().message(message.id, now).await?);
    }
    Ok(messages)
}

fn follow_up(user: &str, step: u8) -> String {
    match step {
        2 => format!("{user}, did my message reach you?"),
        _ => format!("{user}, I will not bother you again. All the best!"),
    }
}

/// Returns whose message has this text, and its place in the campaign.
fn whose(text: &str) -> Option<(&'static str, u8)> {
    PEOPLE.iter().find_map(|(_, user, first, _)| match text {
        text if text == *first => Some((*user, 1)),
        text if text == follow_up(user, 2) => Some((*user, 2)),
        text if text == follow_up(user, 3) => Some((*user, 3)),
        _ => None,
    })
}

/// Returns whether the person has read a message, as far as that is heard: automatic answers leave it unread, and a
/// disconnected account reports nothing.
fn is_seen(message: &MessageView) -> bool {
    let of = message.text.as_deref().and_then(whose);
    message.read_at.is_some() || matches!(of, Some(("Elif", _) | ("Hana", 1)))
}

fn report(options: &DemoOptions, seed: u64, delivered: usize, broken: &[String]) {
    if options.json {
        println!("{}", json!({ "seed": seed, "delivered": delivered, "broken": broken }));
        return;
    }
    println!("\nDelivered by the sandbox's own ledger: {delivered} messages.\n");
    for (_, user, _, ending) in PEOPLE {
        println!("  {user:<8} {}", ending.words());
    }
    if broken.is_empty() {
        println!(
            "\nEvery promise held: no message after an answer, none to a person who asked to be left alone."
        );
    }
    for broken in broken {
        println!("\nBROKEN {broken}");
    }
}
