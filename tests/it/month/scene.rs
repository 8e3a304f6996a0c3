//! Lets a plan happen, and judges what the daemon made of it.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use outboxd::clock::Clock;
use rusqlite::Connection;
use serde_json::Value;

use super::alerts::{Alerts, EVERY};
use super::daemon::{Daemon, Order};
use super::idle;
use super::outside::Outside;
use super::plan::{Act, Fault, Plan};
use super::report::{Figures, Report};
use crate::engine_pace::time::FakeClock;

/// How time moves while accounts may send, and otherwise. A send takes a few steps, and may take 5 minutes in all.
const STEPS: [Duration; 2] = [Duration::from_secs(20), Duration::from_secs(900)];
/// After so long an alert that a fault causes must have fired.
const WITHIN: Duration = Duration::from_secs(2 * 3600);

const CONFIGURATION: &str = r#"
[inbound]
poll = "6h"
[policy.default]
gap.min = "5m"
gap.max = "12m"
zone = "UTC"
hours = { monday = "HOURS", tuesday = "HOURS", wednesday = "HOURS", thursday = "HOURS", friday = "HOURS", saturday = "", sunday = "" }
caps.all = "30/24h, 150/7d"
[retention]
bodies = "8d"
files = "8d"
events = "8d"
"#;

pub(super) struct Scene {
    pub(super) plan: Plan,
    pub(super) folder: tempfile::TempDir,
    clock: FakeClock,
    pub(super) outside: Outside,
    daemon: Option<Daemon>,
    alerts: Alerts,
    next_read: Duration,
    pub(super) hangs: bool,
    pub(super) is_mistaken: bool,
    pub(super) lock: Option<Connection>,
    stalled: Vec<UnixStream>,
    pub(super) persons: usize,
    pub(super) report: Report,
}

/// Runs a plan.
pub(crate) fn run(plan: Plan) -> Report {
    let _installed_before = rustls::crypto::ring::default_provider().install_default();
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    let clock = FakeClock::new();
    let mut scene = Scene {
        outside: Outside::start(&clock),
        folder: folder.expect("a folder"),
        daemon: None,
        alerts: Alerts::default(),
        next_read: Duration::ZERO,
        hangs: false,
        is_mistaken: false,
        lock: None,
        stalled: Vec::new(),
        persons: 0,
        report: Report::default(),
        clock,
        plan,
    };
    scene.prepare();
    scene.start();
    for (at, act) in scene.plan.acts() {
        scene.pass(at);
        scene.act(act);
    }
    scene.pass(scene.plan.end());
    scene.judge();
    scene.report
}

impl Scene {
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn now(&self) -> Duration {
        self.clock.monotonic()
    }

    /// Writes what the daemon and its producers read.
    fn prepare(&mut self) {
        let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let listen = free.expect("a port").to_string();
        let secret = self.outside.endpoint(&format!("http://{listen}/webhooks/unipile"));
        std::fs::write(self.path("webhook_secret"), secret).expect("a file");
        std::fs::write(self.path("listen"), listen).expect("a file");
        std::fs::write(self.path("secret"), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("a file");
        std::fs::write(self.path("hello.txt"), "Hi {{ first_name }}, shall we talk?").expect("a file");
        std::fs::write(self.path("nudge.txt"), "Hi {{ first_name }}, one more word.").expect("a file");
        for secret in ["webhook_secret", "secret"] {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            std::fs::set_permissions(self.path(secret), mode).expect("a mode");
        }
        self.configure();
    }

    fn configure(&self) {
        let path = |name: &str| self.path(name).display().to_string();
        let listen = std::fs::read_to_string(self.path("listen")).expect("it was written");
        let hours = format!("09:00-{:02}:00", self.plan.closes);
        let configuration = CONFIGURATION.replace("HOURS", &hours);
        let mut text = format!(
            "{configuration}[store]\npath = \"{}\"\n[api]\nsocket = \"{}\"\n[unipile]\nbase_url = \"{}\"\napi_key = \"sandbox-key\"\n\
             [engine]\nseed = {}\n[webhooks]\nlisten = \"{listen}\"\nsecret_file = \"{}\"\n\
             [outbound.command.reads]\nrun = [\"/bin/sh\", \"-c\", \"exec cat >/dev/null\"]\nevents = \"account.*, daemon.*\"\ntimeout = \"10m\"\n",
            path("queue.db"),
            path("queue.sock"),
            self.outside.api,
            self.plan.seed.max(1),
            path("webhook_secret"),
        );
        for (name, url) in ["slow", "fails", "gone"].iter().zip(&self.outside.urls) {
            text += &format!(
                "[outbound.webhook.{name}]\nurl = \"{url}\"\nsecret_file = \"{}\"\n",
                path("secret")
            );
        }
        if self.hangs {
            text += "[outbound.command.hangs]\nrun = [\"/bin/sh\", \"-c\", \"exec sleep 100000\"]\ntimeout = \"30s\"\n";
        }
        if self.is_mistaken {
            text += "[polciy]\n";
        }
        std::fs::write(self.path("outboxd.toml"), text).expect("a file");
    }

    pub(super) fn start(&mut self) {
        self.daemon = Some(Daemon::start(self.folder.path(), &self.clock));
    }

    /// Ends the daemon; time passes meanwhile as it needs.
    pub(super) fn end(&mut self, order: Order) {
        let daemon = self.daemon.take().expect("it runs");
        daemon.order(order);
        while !daemon.has_ended() {
            idle::pause(Duration::from_millis(5));
            self.clock.advance_to(self.now() + Duration::from_millis(200));
        }
        daemon.join();
    }

    /// Lets time pass until `until`.
    fn pass(&mut self, until: Duration) {
        while self.now() < until {
            idle::wait();
            let step = STEPS[usize::from(!self.is_open())];
            if self.lock.is_some() {
                // The store waits for locks of other programs by the clock of the machine.
                idle::pause(Duration::from_millis(50));
            }
            self.clock.advance_to((self.now() + step).min(until).min(self.next_read));
            if self.now() >= self.next_read {
                idle::wait();
                self.read_metrics();
            }
        }
        idle::wait();
    }

    /// Returns whether accounts may send.
    fn is_open(&self) -> bool {
        let now = self.clock.now().to_zoned(TimeZone::UTC);
        let is_weekend = [Weekday::Saturday, Weekday::Sunday].contains(&now.weekday());
        !is_weekend && (9..self.plan.closes).contains(&now.hour())
    }

    fn read_metrics(&mut self) {
        assert!(self.daemon.as_ref().is_none_or(|daemon| !daemon.has_ended()), "the daemon ended");
        let answer = self.ask("GET", "/metrics", "");
        let printed = answer.as_ref().map(|(status, body)| {
            assert_eq!(*status, 200, "{body}");
            body.as_str()
        });
        #[expect(clippy::cast_precision_loss, reason = "Prometheus has no other numbers")]
        let unix = self.clock.now().as_second() as f64;
        self.alerts.read(printed, self.now(), unix);
        self.next_read = self.now() + EVERY[usize::from(!self.is_open())];
    }

    /// Returns the status and the body of an answer of the daemon; `None` while it does not run.
    pub(super) fn ask(&self, method: &str, path: &str, body: &str) -> Option<(u16, String)> {
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n\r\n{body}"
        );
        self.daemon.as_ref()?;
        let socket = self.path("queue.sock");
        self.wait_for(move || {
            let mut stream = UnixStream::connect(socket).ok()?;
            stream.write_all(request.as_bytes()).ok()?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).ok()?;
            let (head, body) = answer.split_once("\r\n\r\n")?;
            Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
        })
    }

    /// Runs `work` on a thread; time passes if it takes long, because the daemon may wait for that.
    pub(super) fn wait_for<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, is_done) = mpsc::channel();
        std::thread::spawn(move || done.send(work()));
        loop {
            match is_done.recv_timeout(Duration::from_millis(50)) {
                Ok(result) => return result,
                Err(RecvTimeoutError::Timeout) => self.clock.advance_to(self.now() + Duration::from_secs(1)),
                Err(RecvTimeoutError::Disconnected) => panic!("it panicked"),
            }
        }
    }

    /// Posts what the daemon must accept.
    pub(super) fn post(&self, path: &str, body: &Value) -> Value {
        let (status, answer) = self.ask("POST", path, &body.to_string()).expect("it runs");
        assert!((200..300).contains(&status), "{path}: {status} {answer}");
        serde_json::from_str(&answer).unwrap_or(Value::Null)
    }

    pub(super) fn sql(&self) -> Connection {
        let connection = Connection::open(self.path("queue.db")).expect("the queue");
        connection.busy_timeout(Duration::from_secs(5)).expect("busy timeout");
        connection
    }

    pub(super) fn count(&self, sql: &str) -> i64 {
        self.sql().query_row(sql, [], |row| row.get(0)).expect("a number")
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Begin(fault) => self.begin(fault),
            Act::End(fault) => self.finish(fault),
            Act::Enqueue => self.enqueue(),
            Act::Import => self.import(),
            Act::Backup => self.back_up(),
            Act::Reload => self.reload(),
            Act::Restart => {
                self.end(Order::Stop);
                self.start();
            }
            Act::Kill => {
                self.end(Order::Kill);
                self.start();
            }
            Act::Stall => {
                let mut stream = UnixStream::connect(self.path("queue.sock")).expect("it listens");
                let request =
                    "GET /v1/events?after=0 HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n\r\n";
                stream.write_all(request.as_bytes()).expect("it reads");
                self.stalled.push(stream);
                if self.stalled.len() > 10 {
                    self.stalled.remove(0);
                }
            }
            Act::Measure => self.measure(),
        }
    }

    pub(super) fn reload(&self) {
        self.configure();
        self.daemon.as_ref().expect("it runs").order(Order::Reload);
    }

    fn measure(&mut self) {
        let length = |name: &str| std::fs::metadata(self.path(name)).map_or(0, |file| file.len());
        let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
        let pages = pages.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
        let figures = Figures {
            at: self.now(),
            rss_bytes: pages.unwrap_or(0) * 4096,
            database_bytes: length("queue.db"),
            wal_bytes: length("queue.db-wal"),
            events: self.count("SELECT count(*) FROM events"),
            messages: self.count("SELECT count(*) FROM messages"),
            sent: self.count("SELECT count(*) FROM messages WHERE state = 'sent'"),
            promises_broken: self.alerts.history.sum("outboxd_promises_broken_total", ""),
        };
        self.report.figures.push(figures);
    }

    /// Compares what happened with what had to happen.
    fn judge(&mut self) {
        let fired: Vec<(&'static str, Duration)> =
            self.alerts.fired.iter().map(|fired| (fired.name, fired.at)).collect();
        let window = |fault: &(u64, u64, u64, Fault, u64)| {
            let (day, hour, minute, fault, lasts) = *fault;
            let from = super::plan::at(day, hour, minute);
            (fault, from..from + Duration::from_secs(lasts * 60) + WITHIN)
        };
        let faults: Vec<_> = self.plan.faults.iter().map(window).collect();
        for (fault, when) in &faults {
            let name = fault.alert();
            if name.is_some_and(|name| !fired.iter().any(|(found, at)| *found == name && when.contains(at))) {
                self.report.wrongs.push(format!("{fault:?}: {name:?} did not fire"));
            }
        }
        for (name, at) in &fired {
            if !faults.iter().any(|(fault, when)| fault.explains(name) && when.contains(at)) {
                self.report.wrongs.push(format!("{name} fired at {} h without a fault", at.as_secs() / 3600));
            }
        }
        let newest = self.count("SELECT max(seq) FROM events");
        for (name, receiver) in ["slow", "fails", "gone"].iter().zip(&self.outside.receivers) {
            let (missed, got) =
                (receiver.missed.load(Ordering::SeqCst), receiver.newest.load(Ordering::SeqCst));
            if missed > 0 || got + 50 < newest {
                self.report
                    .wrongs
                    .push(format!("{name} missed {missed} events and got those to {got} of {newest}"));
            }
            self.report.delivered += receiver.accepted.load(Ordering::SeqCst);
        }
        self.report.judge();
        self.report.fired = fired;
        self.end(Order::Stop);
    }
}
