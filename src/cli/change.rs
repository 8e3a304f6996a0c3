//! Commands that change messages: `edit`, `move`, `priority`, `hold`, `release`, `retry` and `cancel`, each about ids,
//! ids from standard input, or the messages that a filter selects.
//!
//! All are one request, `POST /v1/messages/bulk`, in parts of 1,000 ids. More than [`MANY`] messages need a yes.

use std::io::{IsTerminal, Read, Write};

use clap::Args;
use serde_json::{Value, json};

use super::Json;
use super::client::{Client, parse_id};
use super::exit::{Exit, Failure};
use super::files::text_of;
use super::import::unknown_account;
use super::label::parse_label;
use super::refusals::Refusals;
use super::render;
use super::times::{self, Typed};
use crate::types::command::{BulkAnswer, BulkRequest, Commanded, MessageEdit};

/// Above this number of messages a command asks, or needs `--yes`.
const MANY: u64 = 20;

/// Maximum number of ids in one request.
const AT_ONCE: usize = 1000;

/// Which messages a command is about, and how it runs.
#[derive(Debug, Clone, Args)]
pub(super) struct Which {
    /// Ids of the messages, or their last 8 characters; `-` reads them from standard input
    #[arg(value_name = "ID", value_parser = parse_id)]
    pub(super) ids: Vec<String>,
    /// Instead of ids: messages of this account
    #[arg(long, value_name = "ACCOUNT")]
    account: Option<String>,
    /// Instead of ids: messages in these states, separated by commas; default: those that the command is for
    #[arg(long, value_name = "STATES")]
    state: Option<String>,
    /// Instead of ids: messages to this chat
    #[arg(long, value_name = "CHAT")]
    chat: Option<String>,
    /// Instead of ids: messages to this person, by user id
    #[arg(long, value_name = "USER")]
    person: Option<String>,
    /// Instead of ids: messages that waited or stopped for this reason at their last change
    #[arg(long, value_name = "REASON")]
    reason: Option<String>,
    /// Only say what it would do
    #[arg(long)]
    dry_run: bool,
    /// Do not ask, however many messages it changes
    #[arg(long)]
    yes: bool,
    /// Reason, recorded with the change
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    #[command(flatten)]
    pub(super) json: Json,
}

/// `outboxd hold`, `release`, `retry` and `cancel`.
#[derive(Debug, Args)]
pub(super) struct Plain {
    #[command(flatten)]
    which: Which,
    /// Instead of ids: messages with this label
    #[arg(long, value_name = "LABEL", value_parser = parse_label)]
    campaign: Option<String>,
}

/// `outboxd move`.
#[derive(Debug, Args)]
pub(super) struct Move {
    /// The account that sends them instead; a message into a chat cannot be moved
    #[arg(long, value_name = "ACCOUNT")]
    to: String,
    #[command(flatten)]
    plain: Plain,
}

/// `outboxd priority`.
#[derive(Debug, Args)]
pub(super) struct Priority {
    /// -100 to 100; the higher goes first
    #[arg(value_name = "NUMBER", allow_negative_numbers = true, value_parser = clap::value_parser!(i64).range(-100..=100))]
    number: i64,
    #[command(flatten)]
    plain: Plain,
}

/// `outboxd edit`.
#[derive(Debug, Args)]
pub(super) struct Edit {
    #[command(flatten)]
    which: Which,
    /// Instead of ids: messages with this label
    #[arg(long, value_name = "LABEL", value_parser = parse_label)]
    of_campaign: Option<String>,
    #[command(flatten)]
    content: Content,
}

/// What an edit changes.
#[derive(Debug, Args)]
struct Content {
    /// New text
    #[arg(long, value_name = "TEXT", conflicts_with = "text_file")]
    text: Option<String>,
    /// The same, from a file
    #[arg(long, value_name = "FILE")]
    text_file: Option<std::path::PathBuf>,
    /// Accept a text that looks as if it has an unfilled placeholder
    #[arg(long)]
    allow_placeholders: bool,
    /// -100 to 100; the higher goes first
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    priority: Option<i64>,
    /// Do not send earlier: RFC 3339, or a time such as "tomorrow 09:00"; `none` removes it
    #[arg(long, value_name = "TIME", value_parser = time_or_none)]
    not_before: Option<Given>,
    /// Do not send at or after this time; `none` removes it
    #[arg(long, value_name = "TIME", value_parser = time_or_none)]
    expires: Option<Given>,
    /// New label; an empty one removes it
    #[arg(long, value_name = "LABEL")]
    campaign: Option<String>,
}

/// A time, or the removal of one.
#[derive(Debug, Clone)]
enum Given {
    None,
    At(Typed),
}

fn time_or_none(text: &str) -> Result<Given, String> {
    match text {
        "none" => Ok(Given::None),
        text => times::parse_time(text).map(Given::At),
    }
}

/// Runs `hold`, `release`, `retry` or `cancel`.
pub(super) async fn plain(client: &Client, command: &'static str, plain: Plain) -> Result<Exit, Failure> {
    let Plain { which, campaign } = plain;
    if command == "cancel" && campaign.is_none() && which.is_a_few_ids() {
        return super::act::cancel(client, &which.ids, which.json).await;
    }
    let word = match command {
        "cancel" => "cancelled",
        "hold" => "held",
        "release" => "released",
        _ => "queued again",
    };
    run(client, Asked { command, word, edit: None, which, campaign }).await
}

/// `outboxd campaign cancel`.
#[derive(Debug, Args)]
pub(super) struct CancelCampaign {
    /// The campaign
    #[arg(value_name = "CAMPAIGN", value_parser = parse_label)]
    campaign: String,
    /// Only say what it would do
    #[arg(long)]
    dry_run: bool,
    /// Do not ask, however many messages it cancels
    #[arg(long)]
    yes: bool,
    /// Reason, recorded with the change
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    #[command(flatten)]
    json: Json,
}

/// Cancels everything of a campaign that is queued.
pub(super) async fn cancel_campaign(client: &Client, asked: CancelCampaign) -> Result<Exit, Failure> {
    let CancelCampaign { campaign, dry_run, yes, note, json } = asked;
    let (account, state, chat, person, reason) = (None, None, None, None, None);
    let which = Which { ids: Vec::new(), account, state, chat, person, reason, dry_run, yes, note, json };
    plain(client, "cancel", Plain { which, campaign: Some(campaign) }).await
}

/// Moves messages to another account.
pub(super) async fn move_to(client: &Client, asked: Move) -> Result<Exit, Failure> {
    let Move { to, plain: Plain { which, campaign } } = asked;
    if let Some(unknown) = unknown_account(client, &to).await {
        render::note(&unknown);
    }
    let edit = Some(json!({ "account_id": to }));
    run(client, Asked { command: "edit", word: "moved", edit, which, campaign }).await
}

/// Changes the priority of messages.
pub(super) async fn priority(client: &Client, asked: Priority) -> Result<Exit, Failure> {
    let Priority { number, plain: Plain { which, campaign } } = asked;
    let edit = Some(json!({ "priority": number }));
    run(client, Asked { command: "edit", word: "edited", edit, which, campaign }).await
}

/// Edits messages.
pub(super) async fn edit(client: &Client, edit: Edit) -> Result<Exit, Failure> {
    let Edit { which, of_campaign, content } = edit;
    let account = which.account.as_deref();
    let mut times = [None, None];
    for (time, given) in times.iter_mut().zip([&content.not_before, &content.expires]) {
        *time = match given {
            None => None,
            Some(Given::None) => Some(Value::Null),
            Some(Given::At(typed)) => Some(json!(times::wire(typed.resolve(client, account).await?))),
        };
    }
    let text = match &content.text_file {
        Some(file) => Some(text_of(file)?),
        None => content.text,
    };
    let fields = MessageEdit {
        text,
        priority: content.priority,
        allow_placeholders: content.allow_placeholders.then_some(true),
        ..MessageEdit::default()
    };
    let mut fields = serde_json::to_value(fields).map_err(|error| Failure::unexpected(error.into()))?;
    for (name, time) in ["not_before", "expires_at"].into_iter().zip(times) {
        if let Some(time) = time {
            fields[name] = time;
        }
    }
    if let Some(label) = content.campaign {
        fields["campaign"] = if label.is_empty() { Value::Null } else { json!(label) };
    }
    if fields.as_object().is_none_or(|fields| fields.keys().all(|name| name == "allow_placeholders")) {
        let told =
            "say what to change: --text, --text-file, --priority, --not-before, --expires or --campaign";
        return Err(Failure::usage(told));
    }
    let asked = Asked { command: "edit", word: "edited", edit: Some(fields), which, campaign: of_campaign };
    run(client, asked).await
}

/// A command and the messages that it is about.
struct Asked {
    command: &'static str,
    /// What becomes of the messages: "held".
    word: &'static str,
    edit: Option<Value>,
    which: Which,
    campaign: Option<String>,
}

impl Which {
    /// Returns whether it names a few ids on the command line and nothing else.
    fn is_a_few_ids(&self) -> bool {
        let few = self.yes || self.ids.len() <= usize::try_from(MANY).unwrap_or(usize::MAX);
        let plain = !self.dry_run && self.note.is_none() && !self.has_filter();
        few && plain && !self.ids.is_empty() && !self.ids.iter().any(|id| id == "-")
    }

    fn has_filter(&self) -> bool {
        [&self.account, &self.state, &self.chat, &self.person, &self.reason].into_iter().any(Option::is_some)
    }
}

impl Asked {
    /// Returns the ids, from the command line or standard input; `None` if a filter selects the messages.
    fn ids(&self) -> Result<Option<Vec<String>>, Failure> {
        let has_filter = self.campaign.is_some() || self.which.has_filter();
        match self.which.ids.as_slice() {
            [] if has_filter => Ok(None),
            [] => Err(Failure::usage(
                "say which messages: ids, `-` to read ids from standard input, or a filter such as --campaign LABEL",
            )),
            _ if has_filter => {
                Err(Failure::usage("give ids or a filter, not both: a filter selects its messages alone"))
            }
            [dash] if dash == "-" => {
                let mut text = String::new();
                std::io::stdin().read_to_string(&mut text).map_err(|error| {
                    Failure::usage(format!("standard input cannot be read: {error}; give one id a line"))
                })?;
                Ok(Some(text.split_whitespace().map(str::to_owned).collect()))
            }
            ids => Ok(Some(ids.to_vec())),
        }
    }

    fn request(&self, ids: Option<&[String]>, dry_run: bool) -> BulkRequest {
        BulkRequest {
            command: Some(self.command.to_owned()),
            ids: ids.map(<[String]>::to_vec),
            account_id: self.which.account.clone(),
            campaign: self.campaign.clone(),
            chat_id: self.which.chat.clone(),
            person: self.which.person.clone(),
            state: self.which.state.clone(),
            reason: self.which.reason.clone(),
            edit: self.edit.clone(),
            note: self.which.note.clone(),
            dry_run: dry_run.then_some(true),
        }
    }
}

async fn run(client: &Client, asked: Asked) -> Result<Exit, Failure> {
    const PATH: &str = "/v1/messages/bulk";
    let ids = match asked.ids()? {
        Some(ids) => Some(client.whole_ids(&ids).await?),
        None => None,
    };
    let Which { dry_run, yes, json, .. } = asked.which;
    if !dry_run && !yes {
        let messages = match &ids {
            Some(ids) => ids.len() as u64,
            None => {
                client.post_at_length(PATH, &asked.request(None, true)).await?.read::<BulkAnswer>()?.changed
            }
        };
        if messages > MANY && !confirmed(&format!("{messages} messages would be {}", asked.word))? {
            render::note("nothing was changed");
            return Ok(Exit::Refused);
        }
    }
    let parts: Vec<Option<&[String]>> = match &ids {
        Some(ids) => ids.chunks(AT_ONCE).map(Some).collect(),
        None => vec![None],
    };
    let mut refusals = Refusals::default();
    for part in parts {
        let answer = client.post_at_length(PATH, &asked.request(part, dry_run)).await?;
        if json.json {
            answer.pass_on()?;
        }
        let answer: BulkAnswer = answer.read()?;
        if !json.json {
            render::print(&lines(&answer, asked.word, part.is_some()))?;
        }
        refusals.report(&answer);
        if part.is_none() && answer.messages == 0 {
            client.knows(asked.campaign.as_deref(), asked.which.account.as_deref()).await?;
        }
    }
    let exit = refusals.end();
    if ids.is_some_and(|ids| ids.is_empty()) {
        render::note("no ids on standard input; nothing was changed");
    }
    Ok(exit)
}

/// Formats what was done: for ids a line each, for a filter the numbers.
fn lines(answer: &BulkAnswer, word: &str, by_id: bool) -> String {
    let BulkAnswer { changed, unchanged, dry_run, results, .. } = answer;
    if *dry_run {
        let noun = if *changed == 1 { "message" } else { "messages" };
        return format!("{changed} {noun} would be {word}\n");
    }
    if by_id {
        let line = |result: &Commanded| {
            let answer = result.answer.as_deref()?;
            Some(format!("{}: {}\n", render::line(&result.id), render::line(answer)))
        };
        return results.iter().filter_map(line).collect();
    }
    let rest = if *unchanged > 0 { format!("; {unchanged} were like this already") } else { String::new() };
    format!("{word}: {changed}{rest}\n")
}

/// Asks on a terminal; a script must pass `--yes`.
pub(super) fn confirmed(will: &str) -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        let told = "nothing was changed, because this is not a terminal and nothing can be asked: add --yes to do it";
        return Err(Failure::usage(format!("{will}; {told}")));
    }
    let mut answer = String::new();
    render::print(&format!("{will}\nDo it? [y/N] "))?;
    let asked = std::io::stdout().flush().and_then(|()| std::io::stdin().read_line(&mut answer));
    asked.map_err(|error| Failure::unexpected(anyhow::Error::new(error).context("cannot ask")))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
