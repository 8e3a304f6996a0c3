//! `/campaigns/{label}`: what became of a campaign, and when it will be done. The answers of `campaign show`.

use std::collections::BTreeMap;
use std::sync::Arc;

use askama::Template;
use axum::extract::{Query, State};
use axum::response::Response;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::charts::{self, Curve};
use super::command::{command, path, query};
use super::error::PageError;
use super::frame::{Action, Frame, Markup, When, html, line, note};
use crate::http::body::Id;
use crate::http::{App, campaigns, forecast};
use crate::types::account::SentOnDay;
use crate::types::campaign::{Campaign, CampaignCounts};
use crate::types::forecast::{CampaignForecast, ExpectedMessage, Forecast};

#[derive(Template)]
#[template(path = "campaign.html")]
struct Page {
    frame: Frame,
    when: When,
    campaign: Campaign,
    forecast: Option<CampaignForecast>,
    days: Option<Markup>,
    /// What was sent so far, and what the forecast adds.
    curve: Option<Markup>,
    actions: Vec<Action>,
}

pub(super) async fn show(frame: Frame, State(state): App, Id(label): Id) -> Result<Response, PageError> {
    let campaign = campaigns::named(&state, &label).await?;
    let asked = Query(vec![("campaign".to_owned(), label.clone())]);
    let mut forecast = forecast::forecast(State(Arc::clone(&state)), asked).await?.0;
    let days = days(&forecast);
    let curve = curve(&campaign, &forecast);
    let is_it = |of: &CampaignForecast| of.campaign.as_deref() == Some(label.as_str());
    let place = forecast.campaigns.iter().position(is_it);
    Ok(html(&Page {
        when: When::new(forecast.now.into(), None),
        days: (!days.is_empty())
            .then(|| charts::columns(&days, "Planned sends by day, all messages of its accounts")),
        curve,
        forecast: place.map(|place| forecast.campaigns.swap_remove(place)),
        actions: frame.offers(actions(&campaign)),
        campaign,
        frame,
    }))
}

/// Returns how many sends each day has, over the accounts of the campaign.
pub(super) fn days(forecast: &Forecast) -> Vec<(String, u32)> {
    let mut days: BTreeMap<&str, u32> = BTreeMap::new();
    for day in forecast.accounts.iter().flat_map(|account| &account.days) {
        *days.entry(&day.date).or_default() += day.sends;
    }
    days.into_iter().map(|(date, sends)| (date.to_owned(), sends)).collect()
}

/// Draws how many messages of the campaign were sent by each day, and how many will be by the forecast.
fn curve(campaign: &Campaign, forecast: &Forecast) -> Option<Markup> {
    let zone = TimeZone::system();
    let today = zone.to_datetime(forecast.now.into()).date();
    let parse = |day: &SentOnDay| Some((day.date.parse::<Date>().ok()?, day.sent));
    let sent: Vec<(Date, u32)> = campaign.sent_by_day.iter().flatten().filter_map(parse).collect();
    let mut ahead: BTreeMap<Date, u32> = BTreeMap::new();
    let is_it = |message: &&ExpectedMessage| message.campaign.as_deref() == Some(campaign.campaign.as_str());
    for at in forecast.messages.iter().filter(is_it).filter_map(|message| message.at) {
        *ahead.entry(zone.to_datetime(at.into()).date().max(today)).or_default() += 1;
    }
    let first = sent.first().map_or(today, |(date, _)| *date).min(today);
    let last = ahead.keys().next_back().copied().unwrap_or(today).max(today);
    let place = |date: Date| u32::try_from((date - first).get_days()).unwrap_or(0);
    let mut sum = 0;
    let mut done: Vec<(u32, u32)> = sent.iter().map(|(date, n)| (place(*date), add(&mut sum, *n))).collect();
    if done.last().is_none_or(|(day, _)| *day < place(today)) {
        done.push((place(today), sum));
    }
    let mut expected = vec![(place(today), sum)];
    expected.extend(ahead.iter().map(|(date, n)| (place(*date), add(&mut sum, *n))));
    let curves = [
        Curve { name: "Sent", class: "done", points: done },
        Curve { name: "Forecast", class: "ahead", points: expected },
    ];
    (sum > 0).then(|| charts::curves(&curves, &first.to_string(), &last.to_string()))
}

fn add(sum: &mut u32, n: u32) -> u32 {
    *sum += n;
    *sum
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
