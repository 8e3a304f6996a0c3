//! The daemon as a process: a runtime on a thread of its own, which is stopped or killed. Its monotonic clock begins with it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use outboxd::app::{Application, Reloader};
use outboxd::clock::Clock;
use outboxd::config::Settings;
use outboxd::provider::{Dialect, Unipile, UnipileOptions};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::idle::pause;
use crate::engine_pace::time::{FakeClock, LifeClock};

/// An order to the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Reload,
    Stop,
    Kill,
}

/// A running daemon.
pub(super) struct Daemon {
    thread: Option<JoinHandle<()>>,
    orders: UnboundedSender<Order>,
    folder: PathBuf,
}

impl Daemon {
    /// Starts a daemon with the configuration in `folder`; returns when it answers.
    pub(super) fn start(folder: &Path, clock: &FakeClock) -> Self {
        let (orders, received) = unbounded_channel();
        let (ready, is_ready) = mpsc::channel();
        let life = Arc::new(LifeClock { clock: clock.clone(), born: clock.monotonic(), tells_boot: true });
        let path = folder.to_owned();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
            runtime.expect("a runtime").block_on(run(path, life, received, ready));
        });
        // A start waits for no time of the scene.
        is_ready.recv_timeout(Duration::from_secs(60)).expect("the daemon starts");
        Self { thread: Some(thread), orders, folder: folder.to_owned() }
    }

    pub(super) fn order(&self, order: Order) {
        self.orders.send(order).expect("it runs");
    }

    /// Returns whether it has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits until it has ended and SQLite's threads as well, which a killed process does not have.
    pub(super) fn join(mut self) {
        let thread = self.thread.take().expect("it was started");
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let ours = |entry: std::fs::DirEntry| {
            let path = self.folder.join("queue.db");
            std::fs::read_link(entry.path()).is_ok_and(|target| target.starts_with(&path))
        };
        for _ in 0..30_000 {
            if !std::fs::read_dir("/proc/self/fd").expect("Linux").flatten().any(ours) {
                return;
            }
            pause(Duration::from_millis(1));
        }
        panic!("a dead daemon keeps the queue open");
    }
}

async fn run(
    folder: PathBuf,
    clock: Arc<LifeClock>,
    mut orders: UnboundedReceiver<Order>,
    ready: mpsc::Sender<()>,
) {
    let file = folder.join("outboxd.toml");
    let loaded = Settings::load(Some(&file), std::iter::empty()).expect("the configuration is right");
    let unipile = &loaded.settings.unipile;
    let options = UnipileOptions {
        base_url: unipile.base_url.clone(),
        api_key: loaded.settings.require_api_key().expect("a key"),
        ca: Vec::new(),
        dialect: Dialect::Specifics,
        connect_timeout: unipile.connect_timeout,
        request_timeout: unipile.request_timeout,
        clock: Arc::clone(&clock) as Arc<dyn Clock>,
    };
    let provider = Arc::new(Unipile::new(&options).expect("a client"));
    let started = Application::start_with(&loaded.settings, Vec::new(), provider, clock).await;
    let application = started.unwrap_or_else(|error| panic!("{error:#}"));
    let mut reloader = Reloader::new(&application, loaded);
    ready.send(()).expect("the scene waits");
    let tasks = application.all_tasks();
    loop {
        tokio::select! {
            order = orders.recv() => match order {
                Some(Order::Reload) => reloader.reload().await,
                Some(Order::Stop) => return application.stop().await.expect("it stops in good order"),
                Some(Order::Kill) | None => return,
            },
            ended = tasks[0].ended() => panic!("{ended}"),
            ended = tasks[1].ended() => panic!("{ended}"),
            ended = tasks[2].ended() => panic!("{ended}"),
        }
    }
}
