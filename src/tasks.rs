//! Essential tasks (P9): each has a name, and an unexpected end is reported.
//!
//! `store/`, `engine/` and `app/` each spawn their tasks through a [`Tasks`]; `app` waits for the first report and
//! ends the process. A [`Pulse`] checks whether a task that runs in a loop still makes progress.

use std::future::Future;
use std::sync::{Arc, Mutex};

use tokio::sync::{Notify, watch};
use tokio::task::{AbortHandle, JoinHandle};
use tokio_util::task::TaskTracker;

/// A group of named tasks. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    ended: watch::Sender<Option<TaskEnded>>,
    tracker: TaskTracker,
}

#[derive(Debug, Default)]
struct State {
    may_end: bool,
    running: Vec<(&'static str, AbortHandle)>,
}

impl Default for Shared {
    fn default() -> Self {
        Self { state: Mutex::default(), ended: watch::Sender::new(None), tracker: TaskTracker::new() }
    }
}

/// A task that ended unexpectedly.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the {name} {}", if *.panicked { "panicked; this is a bug, please report it" } else { "ended" })]
pub struct TaskEnded {
    /// Name of the task.
    pub name: &'static str,
    /// Whether it panicked.
    pub panicked: bool,
}

/// Reports the end of a task, however it ends.
struct Report {
    name: &'static str,
    tasks: Tasks,
}

impl Drop for Report {
    fn drop(&mut self) {
        let mut state = self.tasks.state();
        state.running.retain(|(name, _)| *name != self.name);
        if !state.may_end {
            let ended = TaskEnded { name: self.name, panicked: std::thread::panicking() };
            self.tasks.shared.ended.send_if_modified(|first| {
                let is_first = first.is_none();
                first.get_or_insert(ended);
                is_first
            });
        }
    }
}

impl Tasks {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.shared.state.lock().expect("nothing panics while holding it")
    }

    /// Runs `task` under `name`.
    pub fn spawn<T: Send + 'static>(
        &self,
        name: &'static str,
        task: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        let report = Report { name, tasks: self.clone() };
        let handle = self.shared.tracker.spawn(async move {
            let _report = report;
            task.await
        });
        let mut state = self.state();
        if !handle.is_finished() {
            state.running.push((name, handle.abort_handle()));
        }
        drop(state);
        handle
    }

    /// Stops reporting ends of tasks, because the daemon is stopping.
    pub fn may_end(&self) {
        self.state().may_end = true;
    }

    /// Completes when a task has ended unexpectedly.
    pub async fn ended(&self) -> TaskEnded {
        let mut ended = self.shared.ended.subscribe();
        let found = ended.wait_for(Option::is_some).await.expect("the sender lives as long as `self`");
        found.clone().expect("it was waited for")
    }

    /// Returns the names of the running tasks.
    #[doc(hidden)]
    pub fn names(&self) -> Vec<&'static str> {
        self.state().running.iter().map(|(name, _)| *name).collect()
    }

    /// Ends the task `name` like a bug, for tests; returns whether it exists.
    #[doc(hidden)]
    pub fn end(&self, name: &str) -> bool {
        let state = self.state();
        let found = state.running.iter().find(|(running, _)| *running == name);
        found.is_some_and(|(_, handle)| {
            handle.abort();
            true
        })
    }
}

/// Checks whether the loop of a task still makes progress.
#[derive(Debug, Default)]
pub struct Pulse {
    asked: Notify,
    rounds: watch::Sender<u64>,
}

impl Pulse {
    /// Requests a round of the loop, and completes after it.
    pub async fn beat(&self) {
        let mut rounds = self.rounds.subscribe();
        self.ask();
        let _the_sender_lives_as_long_as_self = rounds.changed().await;
    }

    /// Requests a round of the loop.
    pub fn ask(&self) {
        self.asked.notify_one();
    }

    /// Completes when a round is requested; for the task itself.
    pub async fn asked(&self) {
        self.asked.notified().await;
    }

    /// Records a completed round; for the task itself.
    pub fn round(&self) {
        self.rounds.send_modify(|rounds| *rounds = rounds.wrapping_add(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_task_that_ends_or_panics_is_named() {
        let tasks = Tasks::default();
        let _waits = tasks.spawn("sleeper", std::future::pending::<()>());
        let _panics = tasks.spawn("worker", async { panic!("on purpose") });
        assert_eq!(tasks.ended().await, TaskEnded { name: "worker", panicked: true });
        assert_eq!(tasks.names(), ["sleeper"]);
        assert!(tasks.end("sleeper") && !tasks.end("nothing"));
        assert_eq!(tasks.ended().await.name, "worker", "the first one stays the reason");

        let tasks = Tasks::default();
        tasks.spawn("worker", async {}).await.unwrap();
        assert_eq!(tasks.ended().await, TaskEnded { name: "worker", panicked: false });
    }

    #[tokio::test]
    async fn tasks_that_may_end_are_not_reported() {
        let tasks = Tasks::default();
        tasks.may_end();
        tasks.spawn("worker", async {}).await.unwrap();
        tokio::select! {
            biased;
            ended = tasks.ended() => panic!("{ended:?}"),
            () = std::future::ready(()) => {}
        }
    }
}
