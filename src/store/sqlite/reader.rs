//! A connection that reads for the engine.
//!
//! Before each call, the engine reads the account's candidates and what it has sent (`views/candidates.rs`,
//! `views/ledger.rs`). A pooled connection costs two more hops between threads, because sqlx tests it each time it is
//! returned. So a task owns this connection, like the writer's, and serves requests in order. Reads for people use the
//! pool: a long list must not delay the engine.

use std::sync::Mutex;

use futures_util::future::BoxFuture;
use sqlx::SqliteConnection;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::rows::Result;
use crate::store::StoreError;
use crate::tasks::Tasks;

/// Requests that may wait; beyond that, callers wait for room.
const QUEUE: usize = 1024;

type Question = Box<dyn for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, ()> + Send>;

/// Handle of the reader task.
pub(in crate::store) struct Reader {
    questions: Mutex<Option<mpsc::Sender<Question>>>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Reader {
    pub(in crate::store) fn start(connection: SqliteConnection, tasks: &Tasks) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let task = tasks.spawn("reader", serve(connection, receiver));
        Self { questions: Mutex::new(Some(sender)), task: Mutex::new(Some(task)) }
    }

    /// Runs `question` after all earlier requests.
    pub(in crate::store) async fn read<A, F>(&self, question: F) -> Result<A>
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

    /// Serves the pending requests, then ends the task.
    pub(in crate::store) async fn stop(&self) {
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
