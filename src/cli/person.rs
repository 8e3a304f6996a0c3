//! `outboxd person`, and the cancellation of everything that is queued for one person.

use clap::Args;

use super::change::confirmed;
use super::client::{Client, parse_id, segment};
use super::exit::{Exit, Failure};
use super::times::{self, Times};
use super::{Json, read, render, stop};
use crate::types::counted;
use crate::types::person::{EraseRequest, Erased, InboundMessage, Person as Shown, PersonOnAccount};
use crate::types::stop::Stop;

/// `outboxd person`.
#[derive(Debug, Args)]
pub(super) struct Person {
    /// User id, public name or address of the profile
    #[arg(value_name = "USER", value_parser = parse_id)]
    user: String,
    #[command(flatten)]
    json: Json,
}

/// Shows everything about one person.
pub(super) async fn person(client: &Client, person: Person) -> Result<Exit, Failure> {
    let answer = client.get(&format!("/v1/people/{}", segment(&person.user)), &[]).await?;
    answer.show(person.json, |found| shown(&found, &Times::of(times::zone(None))))
}

/// `outboxd erase`.
#[derive(Debug, Args)]
pub(super) struct Erase {
    /// User id, public name or address of the profile
    #[arg(value_name = "USER", value_parser = parse_id)]
    user: String,
    /// Why; the event keeps it, so leave out names
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    /// Do it without asking
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    json: Json,
}

/// Erases a person. Ends with [`Exit::Refused`] if messages that are not settled were left.
pub(super) async fn erase(client: &Client, erase: Erase) -> Result<Exit, Failure> {
    let will = "every text, name and file of this person would be removed for good, what is queued cancelled, and \
                nothing ever sent to them again";
    if !erase.yes && !confirmed(will)? {
        render::note("nothing was changed");
        return Ok(Exit::Refused);
    }
    let request = EraseRequest { note: erase.note };
    let answer = client.post(&format!("/v1/people/{}/erase", segment(&erase.user)), &request).await?;
    let done: Erased = answer.read()?;
    match erase.json.json {
        true => answer.pass_on().map(drop)?,
        false => render::print(&erased(&done, &erase.user))?,
    }
    Ok(if done.unsettled.is_empty() { Exit::Done } else { Exit::Refused })
}

fn erased(erased: &Erased, user: &str) -> String {
    let Erased { messages, accounts, inbound, stops, .. } = erased;
    let unresolved = erased.unresolved.as_deref().map(stop::unresolved).unwrap_or_default();
    if messages + accounts + inbound + stops == 0 && erased.unsettled.is_empty() {
        return format!(
            "nothing is known of {}, so there was nothing to remove; check the id if there should be something.\nNothing is ever sent to them.\n{unresolved}",
            render::line(user)
        );
    }
    let mut said = format!(
        "erased: {} ({}), {},\nwhat {} knew, {}, {}; nothing is ever sent to them again\n",
        counted(*messages, "message", "messages"),
        counted(
            erased.cancelled,
            "of them was queued and is cancelled",
            "of them were queued and are cancelled"
        ),
        counted(erased.files, "file", "files"),
        counted(*accounts, "account", "accounts"),
        counted(*inbound, "record of a reply", "records of replies"),
        counted(*stops, "stop", "stops")
    );
    said += &unresolved;
    if !erased.unsettled.is_empty() {
        said += "not settled, so nothing of these was removed:\n";
        for id in &erased.unsettled {
            said += &render::text(id);
        }
        said += "wait until they are, or decide with `outboxd review`; then erase again\n";
    }
    said
}

fn shown(person: &Shown, times: &Times) -> String {
    if let Some(at) = person.erased_at {
        let at = times.show(Some(at));
        return format!("erased at {at}: only a hash is left, and nothing is ever sent to them\n");
    }
    let facts = [
        ("id", Some(person.id.clone())),
        ("name", person.name.clone()),
        ("public name", person.public_identifier.clone()),
        ("profile", person.profile_url.clone()),
    ];
    let mut shown = render::pairs(&render::known(facts));
    for account in &person.accounts {
        shown += &format!("\n{}:\n", render::line(&account.account_id));
        shown += &render::text(&of_account(account, times));
    }
    if !person.stops.is_empty() {
        shown += "\nstops:\n";
        let lines: Vec<String> = person.stops.iter().map(|stop| of_stop(stop, times)).collect();
        shown += &render::text(&lines.join("\n"));
    }
    if !person.inbound.is_empty() {
        shown += "\nheard:\n";
        let lines: Vec<String> = person.inbound.iter().map(|one| of_inbound(one, times)).collect();
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
    let rows = |times: &Times| -> Vec<Vec<String>> {
        person.messages.iter().map(|listed| without_person(read::row(&listed.message, times))).collect()
    };
    let header = ["id", "account", "state", "why", &format!("when ({})", times.zone())].map(str::to_owned);
    shown += &match render::is_terminal() {
        true => render::table_or_brief(&header, &rows(times), &rows(&times.brief())),
        false => render::tabbed(&rows(times)),
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
    let known = render::known(facts);
    match known.is_empty() {
        true => "nothing but the name".to_owned(),
        false => render::pairs(&known),
    }
}

/// Says who wrote when, and what, if the text was stored.
fn of_inbound(one: &InboundMessage, times: &Times) -> String {
    let kind = match one.kind.as_str() {
        "owner" => "the account's owner wrote".to_owned(),
        kind => kind.replace('_', " "),
    };
    let said = one.text.as_deref().map(|text| format!(": {}", render::line(text))).unwrap_or_default();
    format!("{} on {}: {kind}{said}", times.show(Some(one.at)), one.account_id)
}

fn of_stop(stop: &Stop, times: &Times) -> String {
    let on = stop.account_id.as_deref().unwrap_or("every account");
    let until = stop.until.map(|at| format!(" until {}", times.show(Some(at)))).unwrap_or_default();
    let note = stop.note.as_deref().map(|note| format!(": {note}")).unwrap_or_default();
    format!("{} on {on}{until}, since {}{note}", stop.reason.replace('_', " "), times.show(Some(stop.at)))
}
