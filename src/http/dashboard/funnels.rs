//! The campaigns of the overview. They are counted at each request while that is quick. Counts that take long are shown for a
//! while, with the time at which they were made, and made anew meanwhile: no page waits until 200,000 messages are counted.
//! When each campaign is done, and when accounts send soon, comes from a forecast of everything, which no page waits for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{Query, State};
use jiff::Timestamp;

use super::error::PageError;
use crate::domain::message::AccountId;
use crate::engine::{ForecastRequest, Forecasts};
use crate::http::{AppState, campaigns};
use crate::types::campaign::Campaign;
use crate::types::{Page, Time};

/// Campaigns on the overview; the rest is behind a link.
const LISTED: &str = "10";
/// Counts that take longer are kept.
const SLOW: Duration = Duration::from_millis(10);
/// The rest between two counts, as a multiple of the time that one takes: 0.25 % of a core.
const REST: u32 = 400;
/// Older counts are not shown.
const MOST_AGE: Duration = Duration::from_secs(30);

/// The same between two forecasts: 0.2 % of a core.
const FORECAST_REST: u32 = 500;
/// How far ahead sends are listed.
const SOON: Duration = Duration::from_secs(40 * 60);
/// The shortest rest between two forecasts.
const LEAST_REST: Duration = Duration::from_secs(30);
/// A forecast that did not end by then, because it panicked, is made anew.
const GIVEN_UP: Duration = Duration::from_secs(600);
/// How long the first page waits for the first forecast.
const FIRST: Duration = Duration::from_millis(10);

/// The last slow counts, and the last forecast.
#[derive(Debug, Default)]
pub(in crate::http) struct Funnels {
    counted: Mutex<Option<Counted>>,
    forecast: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    outlook: Arc<Outlook>,
    /// When to forecast again, on the monotonic clock.
    next: Duration,
}

/// What a forecast of everything says.
#[derive(Debug, Default)]
pub(super) struct Outlook {
    /// When each campaign is done.
    pub(super) ends: BTreeMap<String, Time>,
    /// When each account sends within the next [`SOON`], in order.
    pub(super) sends: BTreeMap<AccountId, Vec<Timestamp>>,
}

/// The campaigns of one moment.
#[derive(Debug, Clone)]
pub(super) struct Counted {
    pub(super) campaigns: Arc<Page<Campaign>>,
    /// How many messages of all campaigns were answered.
    pub(super) replied: u64,
    /// When they were counted, if that was not just now.
    pub(super) at: Option<Time>,
    /// On the monotonic clock.
    made: Duration,
    took: Duration,
}

impl Funnels {
    /// Returns the last slow counts while they may be shown, and whether the caller must count anew for later.
    fn last(&self, now: Duration) -> Option<(Counted, bool)> {
        let mut kept = self.counted.lock().expect("nothing panics while holding it");
        let counted = kept.as_mut().filter(|counted| now.saturating_sub(counted.made) < MOST_AGE)?;
        let found = counted.clone();
        let is_due = now.saturating_sub(counted.made) >= counted.took * REST;
        if is_due {
            // Others who ask now leave the work to this caller.
            counted.took = MOST_AGE;
        }
        Some((found, is_due))
    }

    /// Returns how many messages of all campaigns were answered, if it was slow to count.
    fn replied(&self) -> Option<u64> {
        let kept = self.counted.lock().expect("nothing panics while holding it");
        kept.as_ref().map(|counted| counted.replied)
    }

    /// Returns whether the caller must forecast anew.
    fn must_forecast(&self, now: Duration) -> bool {
        let mut kept = self.forecast.lock().expect("nothing panics while holding it");
        let is_due = now >= kept.next;
        if is_due {
            kept.next = now + GIVEN_UP;
        }
        is_due
    }

    /// Returns the last forecast.
    fn outlook(&self) -> Arc<Outlook> {
        Arc::clone(&self.forecast.lock().expect("nothing panics while holding it").outlook)
    }
}

impl Outlook {
    fn new(mut found: Forecasts) -> Self {
        let of_accounts = found.accounts.iter_mut();
        let sends = of_accounts.map(|of| (of.account_id.clone(), std::mem::take(&mut of.soon))).collect();
        Self { ends: campaigns::ends(found), sends }
    }
}

/// Returns a forecast that may be some time old; nothing before the first one is made.
pub(super) async fn outlook(state: &Arc<AppState>) -> Arc<Outlook> {
    let begun = state.engine.clock().monotonic();
    if state.funnels.must_forecast(begun) {
        let work = Arc::clone(state);
        let forecast = state.tasks.spawn(async move {
            let soon = work.engine.now().checked_add(SOON).ok();
            let request = ForecastRequest { soon, ..campaigns::to_the_end(BTreeSet::new()) };
            let found = work.engine.forecast(request).await;
            let now = work.engine.clock().monotonic();
            let rest = (now.saturating_sub(begun) * FORECAST_REST).max(LEAST_REST);
            let mut kept = work.funnels.forecast.lock().expect("nothing panics while holding it");
            match found {
                Ok(found) => kept.outlook = Arc::new(Outlook::new(found)),
                Err(_) => tracing::debug!("campaigns cannot be forecast"),
            }
            kept.next = now + rest;
        });
        // A short queue is forecast within the page.
        tokio::time::timeout(FIRST, forecast).await.ok();
    }
    state.funnels.outlook()
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
    // The further pages show the last slow count.
    let kept = if is_first { None } else { state.funnels.replied() };
    let replied = match kept {
        Some(replied) => replied,
        None => state.store.campaigns_replied().await?,
    };
    let (made, campaigns) = (now(), Arc::new(found));
    let counted = Counted { campaigns, replied, at: None, made, took: made.saturating_sub(begun) };
    if is_first {
        let is_slow = counted.took >= SLOW;
        let kept = is_slow.then(|| Counted { at: Some(state.engine.now().into()), ..counted.clone() });
        *state.funnels.counted.lock().expect("nothing panics while holding it") = kept;
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
        let counted =
            Counted { campaigns, replied: 0, at: None, made: second(100), took: Duration::from_millis(50) };
        let funnels = Funnels { counted: Mutex::new(Some(counted)), ..Funnels::default() };
        let due = |at| funnels.last(second(at)).map(|(_, is_due)| is_due);
        assert_eq!([due(101), due(120), due(121), due(130)], [Some(false), Some(true), Some(false), None]);
    }

    #[test]
    fn one_caller_forecasts_at_a_time() {
        let funnels = Funnels::default();
        assert_eq!([funnels.must_forecast(FIRST), funnels.must_forecast(FIRST)], [true, false]);
        assert!(funnels.must_forecast(FIRST + GIVEN_UP), "the first one ended without a result");
    }
}
