//! `/accounts/{id}`: one account. The answers of `status ACCOUNT`, `budget`, `policy` and `forecast`.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Query, State};
use axum::response::Response;

use super::charts;
use super::command::{command, path, query};
use super::error::PageError;
use super::frame::{Action, Frame, Markup, When, html, line, note};
use crate::domain::message::AccountId;
use crate::http::body::Id;
use crate::http::{App, accounts, forecast, policy};
use crate::types::account::{Account, Cap};
use crate::types::forecast::{AccountForecast, ExpectedMessage};
use crate::types::policy::{AccountPolicy, Budget, WarmUp};

/// The next messages that are shown.
const NEXT: usize = 20;

#[derive(Template)]
#[template(path = "account.html")]
struct Page {
    frame: Frame,
    when: When,
    account: Account,
    budget: Budget,
    rules: AccountPolicy,
    /// The hours of the week, drawn and in words; `None` if it is always open.
    week: Option<(Markup, String)>,
    forecast: Option<AccountForecast>,
    days: Option<Markup>,
    spark: Markup,
    /// The percentage of the caps on each day of the warm-up.
    ramp: Option<Markup>,
    next: Vec<ExpectedMessage>,
    actions: Vec<Action>,
}

pub(super) async fn show(frame: Frame, State(state): App, Id(id): Id) -> Result<Response, PageError> {
    let of_it = || (State(Arc::clone(&state)), Id(id.clone()));
    let (at, key) = of_it();
    let account = accounts::show(at, key).await?.0;
    let (at, key) = of_it();
    let budget = policy::budget(at, key).await?.0;
    let (at, key) = of_it();
    let rules = policy::show(at, key).await?.0;
    let asked = Query(vec![("account_id".to_owned(), id.clone()), ("days".to_owned(), "14".to_owned())]);
    let mut expected = forecast::forecast(State(Arc::clone(&state)), asked).await?.0;
    expected.messages.retain(|message| message.at.is_some());
    expected.messages.sort_by_key(|message| message.at.map(|at| at.0));
    expected.messages.truncate(NEXT);
    let forecast = expected.accounts.pop();
    let days: Vec<(String, u32)> =
        forecast.iter().flat_map(|of| &of.days).map(|day| (day.date.clone(), day.sends)).collect();
    let calendar = state.engine.policy(&AccountId::new(&id)).calendar.clone();
    let ramp = budget.warm_up.as_ref().map(|warm_up| {
        let percent = (1..).zip(&warm_up.percent).map(|(day, percent)| (format!("day {day}"), *percent));
        charts::columns(&percent.collect::<Vec<_>>(), "Percent of each cap by day of the warm-up")
    });
    Ok(html(&Page {
        ramp,
        spark: charts::sparkline(&account.sent_by_day.iter().map(|day| day.sent).collect::<Vec<_>>()),
        when: When::new(budget.now.into(), account.zone.as_deref()),
        week: calendar.map(|calendar| (charts::week(&calendar), charts::week_text(&calendar))),
        days: (!days.is_empty()).then(|| charts::columns(&days, "Planned sends by day")),
        forecast,
        next: expected.messages,
        actions: frame.offers(actions(&account)),
        account,
        budget,
        rules,
        frame,
    }))
}

fn actions(account: &Account) -> Vec<Action> {
    let id = account.id.as_str();
    let to = |verb: &str| path("/accounts", &[id, verb]);
    let mut actions = Vec::new();
    if account.paused.is_some() || account.down.is_some() {
        actions.push(Action::new(to("resume"), "Resume", command(&["resume", id])));
    }
    if account.paused.is_none() {
        let length = line("for", "For", String::new(), "2h or 1d; empty: until it is resumed");
        actions.push(Action::new(to("pause"), "Pause", command(&["pause", id])).asks([length, note()]));
    }
    if account.hold.is_some() {
        actions.push(Action::new(to("lift"), "End the rest early", command(&["resume", id, "--lift-hold"])));
    }
    actions
}

impl Page {
    fn bar(&self, cap: &Cap) -> Markup {
        charts::bar(cap.used, cap.limit, &format!("{} of {} in {}", cap.used, cap.limit, cap.window))
    }

    /// Returns the percentage of the caps that the warm-up allows today.
    fn percent(&self, warm_up: &WarmUp) -> u32 {
        warm_up.percent.get(warm_up.day.saturating_sub(1)).copied().unwrap_or(100)
    }

    fn messages(&self, state: &str) -> String {
        query("/messages", &[("account_id", &self.account.id), ("state", state)])
    }
}
