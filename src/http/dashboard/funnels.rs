//! The campaigns of the overview. They are counted at each request while that is quick. Counts that take long are shown for a
//! while, with the time at which they were made, and made anew meanwhile: no page waits until 200,000 messages are counted.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{Query, State};

use super::error::PageError;
use crate::http::{AppState, campaigns};
use crate::types::campaign::Campaign;
use crate::types::{Page, Time};

/// Campaigns on the overview; the rest is behind a link.
const LISTED: &str = "10";
/// Counts that take longer are kept.
const SLOW: Duration = Duration::from_millis(10);
/// The rest between two counts, as a multiple of the time that one takes: 1 % of a core.
const REST: u32 = 100;
/// Older counts are not shown.
const MOST_AGE: Duration = Duration::from_secs(30);

/// The last slow counts.
#[derive(Debug, Default)]
pub(in crate::http) struct Funnels(Mutex<Option<Counted>>);

/// The campaigns of one moment.
#[derive(Debug, Clone)]
pub(super) struct Counted {
    pub(super) campaigns: Arc<Page<Campaign>>,
    /// When they were counted, if that was not just now.
    pub(super) at: Option<Time>,
    /// On the monotonic clock.
    made: Duration,
    took: Duration,
}

impl Funnels {
    /// Returns the last slow counts while they may be shown, and whether the caller must count anew for later.
    fn last(&self, now: Duration) -> Option<(Counted, bool)> {
        let mut kept = self.0.lock().expect("nothing panics while holding it");
        let counted = kept.as_mut().filter(|counted| now.saturating_sub(counted.made) < MOST_AGE)?;
        let found = counted.clone();
        let is_due = now.saturating_sub(counted.made) >= counted.took * REST;
        if is_due {
            // Others who ask now leave the work to this caller.
            counted.took = MOST_AGE;
        }
        Some((found, is_due))
    }
}

/// Returns the first campaigns, or those after `cursor`.
pub(super) async fn campaigns(
    state: &Arc<AppState>,
    cursor: Option<(String, String)>,
) -> Result<Counted, PageError> {
    if cursor.is_some() {
        return count(state, cursor).await;
    }
    let Some((counted, is_due)) = state.funnels.last(state.engine.clock().monotonic()) else {
        return count(state, None).await;
    };
    if is_due {
        let work = Arc::clone(state);
        state.tasks.spawn(async move {
            if count(&work, None).await.is_err() {
                tracing::debug!("campaigns cannot be counted");
            }
        });
    }
    Ok(counted)
}

async fn count(state: &Arc<AppState>, cursor: Option<(String, String)>) -> Result<Counted, PageError> {
    let now = || state.engine.clock().monotonic();
    let (begun, is_first) = (now(), cursor.is_none());
    let limit = ("limit".to_owned(), LISTED.to_owned());
    let asked = Query(cursor.into_iter().chain([limit]).collect());
    let found = campaigns::list(State(Arc::clone(state)), asked).await?.0;
    let (made, campaigns) = (now(), Arc::new(found));
    let counted = Counted { campaigns, at: None, made, took: made.saturating_sub(begun) };
    if is_first {
        let is_slow = counted.took >= SLOW;
        let kept = is_slow.then(|| Counted { at: Some(state.engine.now().into()), ..counted.clone() });
        *state.funnels.0.lock().expect("nothing panics while holding it") = kept;
    }
    Ok(counted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_counts_are_shown_for_a_while_and_one_caller_makes_them_anew() {
        let second = Duration::from_secs;
        let campaigns = Arc::new(Page { data: Vec::new(), next_cursor: None });
        let counted = Counted { campaigns, at: None, made: second(100), took: Duration::from_millis(50) };
        let funnels = Funnels(Mutex::new(Some(counted)));
        let due = |at| funnels.last(second(at)).map(|(_, is_due)| is_due);
        assert_eq!([due(101), due(105), due(106), due(130)], [Some(false), Some(true), Some(false), None]);
    }
}
