//! One connection that reads for the engine.
//!
//! The engine reads an account's turn and what it has sent (`turn.rs`, `ledger.rs`) on the way of every message to its
//! call. A connection of the pool costs two hops between threads more: sqlx tests it each time it is given back. So this
//! one is owned by a task, as the writer's is, and is asked in turn. People's questions go to the pool: a long list must
//! not keep the engine waiting.

use std::sync::Mutex;

use futures_util::future::BoxFuture;
use sqlx::SqliteConnection;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::StoreError;
use super::rows::Result;
use crate::tasks::Tasks;

/// Questions that may wait; beyond that whoever asks waits for room.
const QUEUE: usize = 1024;

type Question = Box<dyn for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, ()> + Send>;

/// The handle of the task.
pub(super) struct Reader {
    questions: Mutex<Option<mpsc::Sender<Question>>>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Reader {
    pub(super) fn start(connection: SqliteConnection, tasks: &Tasks) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let task = tasks.spawn("reader", serve(connection, receiver));
        Self { questions: Mutex::new(Some(sender)), task: Mutex::new(Some(task)) }
    }

    /// Answers `question`, after those that were asked before.
    pub(super) async fn read<A, F>(&self, question: F) -> Result<A>
    where
        A: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<A>> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let question: Question = Box::new(move |connection| {
            Box::pin(async move {
                let _the_caller_may_have_left = reply.send(question(connection).await);
            })
        });
        let questions = self.questions.lock().expect("nothing panics while holding it").clone();
        questions.ok_or(StoreError::Closed)?.send(question).await.map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// Answers what was asked, then ends.
    pub(super) async fn stop(&self) {
        drop(self.questions.lock().expect("nothing panics while holding it").take());
        let task = self.task.lock().expect("nothing panics while holding it").take();
        if let Some(task) = task {
            let _a_panic_was_reported_already = task.await;
        }
    }
}

async fn serve(mut connection: SqliteConnection, mut questions: mpsc::Receiver<Question>) {
    while let Some(question) = questions.recv().await {
        question(&mut connection).await;
    }
    use sqlx::Connection as _;
    let _nothing_to_write = connection.close().await;
}
