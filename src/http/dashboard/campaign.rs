//! `/campaigns/{label}`: what became of a campaign, and when it will be done. The answers of `campaign show`.

use std::collections::BTreeMap;
use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::response::Response;

use super::charts;
use super::command::{command, path, query};
use super::error::PageError;
use super::frame::{Action, Frame, Markup, When, html, line, note};
use crate::http::{AppState, campaigns, forecast};
use crate::types::campaign::{Campaign, CampaignCounts};
use crate::types::forecast::{CampaignForecast, Forecast};

#[derive(Template)]
#[template(path = "campaign.html")]
struct Page {
    frame: Frame,
    when: When,
    campaign: Campaign,
    forecast: Option<CampaignForecast>,
    days: Option<Markup>,
    actions: Vec<Action>,
}

pub(super) async fn show(
    frame: Frame,
    State(state): State<Arc<AppState>>,
    Path(label): Path<String>,
) -> Result<Response, PageError> {
    let campaign = campaigns::show(State(Arc::clone(&state)), Path(label.clone())).await?.0;
    let asked = Query(vec![("campaign".to_owned(), label.clone())]);
    let mut forecast = forecast::forecast(State(Arc::clone(&state)), asked).await?.0;
    let days = days(&forecast);
    let is_it = |of: &CampaignForecast| of.campaign.as_deref() == Some(label.as_str());
    let place = forecast.campaigns.iter().position(is_it);
    Ok(html(&Page {
        when: When::new(forecast.now.into(), None),
        days: (!days.is_empty())
            .then(|| charts::columns(&days, "Planned sends by day, all messages of its accounts")),
        forecast: place.map(|place| forecast.campaigns.swap_remove(place)),
        actions: frame.offers(actions(&campaign)),
        campaign,
        frame,
    }))
}

/// Returns how many sends each day has, over the accounts of the campaign.
fn days(forecast: &Forecast) -> Vec<(String, u32)> {
    let mut days: BTreeMap<&str, u32> = BTreeMap::new();
    for day in forecast.accounts.iter().flat_map(|account| &account.days) {
        *days.entry(&day.date).or_default() += day.sends;
    }
    days.into_iter().map(|(date, sends)| (date.to_owned(), sends)).collect()
}

fn actions(campaign: &Campaign) -> Vec<Action> {
    let label = campaign.campaign.as_str();
    let to = |verb: &str| path("/campaigns", &[label, verb]);
    let length = line("for", "For", String::new(), "2h or 1d; empty: until it is resumed");
    let pause = match campaign.is_paused {
        true => Action::new(to("resume"), "Resume", command(&["campaign", "resume", label])),
        false => {
            Action::new(to("pause"), "Pause", command(&["campaign", "pause", label])).asks([length, note()])
        }
    };
    let stop =
        Action::new("/bulk".to_owned(), "Cancel what is queued", command(&["campaign", "cancel", label]))
            .with("command", "cancel")
            .with("campaign", label);
    vec![pause, stop]
}

impl Page {
    fn messages(&self, state: &str) -> String {
        query("/messages", &[("campaign", &self.campaign.campaign), ("state", state)])
    }

    /// Draws a count as a part of the step.
    fn bar(&self, part: &u64, of: &CampaignCounts) -> Markup {
        let whole = u32::try_from(of.messages).unwrap_or(u32::MAX);
        let part = u32::try_from(*part).unwrap_or(u32::MAX);
        charts::bar(part, whole, &format!("{part} of {whole}"))
    }
}
