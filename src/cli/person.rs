//! `outboxd person`, and the cancellation of everything that is queued for one person.

use clap::Args;

use super::client::{Client, segment};
use super::exit::{Exit, Failure};
use super::times::{self, Times};
use super::{Json, read, render};
use crate::types::person::{Person as Shown, PersonOnAccount};
use crate::types::stop::Stop;

/// `outboxd person`.
#[derive(Debug, Args)]
pub(super) struct Person {
    /// User id, public name or address of the profile
    #[arg(value_name = "USER")]
    user: String,
    #[command(flatten)]
    json: Json,
}

/// Shows everything about one person.
pub(super) async fn person(client: &Client, person: Person) -> Result<Exit, Failure> {
    let answer = client.get(&format!("/v1/people/{}", segment(&person.user)), &[]).await?;
    if person.json.json {
        return answer.pass_on();
    }
    let times = Times::of(times::zone(None));
    render::print(&shown(&answer.read()?, &times)).map(|()| Exit::Done)
}

fn shown(person: &Shown, times: &Times) -> String {
    let facts = [
        ("id", Some(person.id.clone())),
        ("name", person.name.clone()),
        ("public name", person.public_identifier.clone()),
        ("profile", person.profile_url.clone()),
    ];
    let known: Vec<(&str, String)> =
        facts.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    let mut shown = render::pairs(&known);
    for account in &person.accounts {
        shown += &format!("\n{}:\n", render::line(&account.account_id));
        shown += &render::text(&of_account(account, times));
    }
    if !person.stops.is_empty() {
        shown += "\nstops:\n";
        let lines: Vec<String> = person.stops.iter().map(|stop| of_stop(stop, times)).collect();
        shown += &render::text(&lines.join("\n"));
    }
    if person.messages.is_empty() {
        return shown + "\nmessages: none\n";
    }
    shown += "\nmessages, newest first:\n";
    let without_person = |mut cells: Vec<String>| {
        cells.remove(3);
        cells
    };
    let rows = person.messages.iter().map(|listed| without_person(read::row(&listed.message, times)));
    let rows: Vec<Vec<String>> = rows.collect();
    let when = format!("when ({})", times.zone());
    shown += &match render::is_terminal() {
        true => render::table(&["id", "account", "state", "why", &when].map(str::to_owned), &rows),
        false => render::tabbed(&rows),
    };
    if person.next_cursor.is_some() {
        shown += &render::text("`outboxd list --all --person` with this id shows the older ones");
    }
    shown
}

/// Describes what one account has to do with the person, a line for each fact.
fn of_account(one: &PersonOnAccount, times: &Times) -> String {
    let yes = |flag: Option<bool>| flag.map(|flag| if flag { "yes" } else { "no" }.to_owned());
    let time = |at: Option<crate::types::Time>| at.map(|at| times.show(Some(at)));
    let counts: Vec<String> = one.counts.iter().map(|(state, n)| format!("{n} {state}")).collect();
    let facts = [
        ("messages", (!counts.is_empty()).then(|| counts.join(", "))),
        ("last sent", time(one.sent_at)),
        ("last answer", time(one.replied_at)),
        ("distance", one.distance.clone()),
        ("can get InMail", yes(one.can_send_inmail)),
        ("open profile", yes(one.is_open_profile)),
        ("profile read", time(one.read_at)),
        ("chats", (!one.chats.is_empty()).then(|| one.chats.join(", "))),
    ];
    let known: Vec<(&str, String)> =
        facts.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    match known.is_empty() {
        true => "nothing but the name".to_owned(),
        false => render::pairs(&known),
    }
}

fn of_stop(stop: &Stop, times: &Times) -> String {
    let on = stop.account_id.as_deref().unwrap_or("every account");
    let until = stop.until.map(|at| format!(" until {}", times.show(Some(at)))).unwrap_or_default();
    let note = stop.note.as_deref().map(|note| format!(": {note}")).unwrap_or_default();
    format!("{} on {on}{until}, since {}{note}", stop.reason.replace('_', " "), times.show(Some(stop.at)))
}
