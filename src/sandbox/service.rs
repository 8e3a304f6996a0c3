//! What the handlers of the sandbox share.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::world::World;

#[derive(Debug, Clone)]
pub(super) struct Service {
    pub(super) world: Arc<World>,
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
}
