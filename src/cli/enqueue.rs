//! `outboxd enqueue`: queues one message from flags, or many from a file of lines.
//!
//! For one message it prints the id; for a batch a summary, and each refused row with its line number and its
//! problems. The command validates nothing itself: the daemon does, so that a row gets the same error on every path.
//! A file is streamed in one request and never held in memory as a whole; with `--atomic`, one bad row prevents the
//! others from being stored.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use jiff::Timestamp;
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::Json;
use super::client::{Client, parse_id, problem};
use super::exit::{Exit, Failure};
use super::files::{open, rows, text_of, unreadable};
use super::render;
use super::times::{self, Typed};
use crate::types::Time;
use crate::types::message::{Batch, Forward, NewAttachment, NewMessage, Stored, UsersIds, Verdict};

/// `outboxd enqueue`.
#[derive(Debug, Args)]
#[command(override_usage = "outboxd enqueue --account <ID> <--chat <ID>|--user <ID>>
           <--text <TEXT>|--text-file <FILE>> [OPTIONS]
       outboxd enqueue [--atomic] <FILE>")]
pub(super) struct Enqueue {
    /// File of messages as JSON, one per line, with the fields of docs/http.md; `-` reads standard input
    #[arg(value_name = "FILE", conflicts_with_all = [
        "account", "target", "group", "name", "inmail", "specifics", "quote", "attach", "forward_chat", "forward_message", "inbox",
        "content", "typing", "no_typing", "not_before", "expires_at", "campaign", "priority", "urgent",
        "ignore_hours", "allow_repeat", "allow_placeholders", "stop_on_reply", "no_stop_on_reply", "needs", "step", "wait", "meta", "dedupe_key",
    ])]
    file: Option<PathBuf>,
    /// With FILE: store all rows or none
    #[arg(long, requires = "file", conflicts_with_all = ["account", "target", "content"])]
    atomic: bool,
    /// Unipile account that sends, `acc_…`
    #[arg(long, value_name = "ID", required_unless_present = "file")]
    account: Option<String>,
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    form: Form,
    /// With --user: inbox to start the chat in; default: `policy.default.inbox_id`
    #[arg(long, value_name = "ID", conflicts_with = "chat")]
    inbox: Option<String>,
    #[command(flatten)]
    content: Content,
    /// Show the typing indicator first, overriding the account's policy
    #[arg(long, overrides_with = "no_typing")]
    typing: bool,
    /// Do not show the typing indicator
    #[arg(long, overrides_with = "typing")]
    no_typing: bool,
    /// Do not send before: 2026-11-22T09:00:00Z, or "2026-11-22 09:00", 09:00, "tomorrow 09:00" in the account's zone
    #[arg(long, value_name = "TIME", value_parser = times::parse_time)]
    not_before: Option<Typed>,
    /// Expire the message if it is not sent by then
    #[arg(long, value_name = "TIME", value_parser = times::parse_time)]
    expires_at: Option<Typed>,
    /// Your label for a group of messages, to filter by
    #[arg(long, value_name = "LABEL")]
    campaign: Option<String>,
    /// Priority from -100 to 100; higher goes first
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    priority: Option<i64>,
    /// Send before everything that is not urgent; caps and pace still apply
    #[arg(long)]
    urgent: bool,
    /// With --urgent: send outside the account's hours as well
    #[arg(long, requires = "urgent")]
    ignore_hours: bool,
    /// Allow the same text to start a chat with the same person again
    #[arg(long)]
    allow_repeat: bool,
    /// Allow text that looks like an unfilled placeholder, such as {{name}}
    #[arg(long)]
    allow_placeholders: bool,
    /// Cancel it if the person answers first; the default for a message with a campaign
    #[arg(long)]
    stop_on_reply: bool,
    /// Send it even if the person answers first; the default for a message without a campaign
    #[arg(long, conflicts_with = "stop_on_reply")]
    no_stop_on_reply: bool,
    /// Its place in the campaign for this person, 1 to 20; from 2 on with --wait
    #[arg(long, value_name = "NUMBER", requires = "campaign")]
    step: Option<i64>,
    /// How long it waits after the step before was sent: "3 days", "36 hours"
    #[arg(long, value_name = "TIME", requires = "step")]
    wait: Option<String>,
    /// A JSON object of your own, carried along and never sent
    #[arg(long, value_name = "JSON", value_parser = json_object)]
    meta: Option<Value>,
    /// With one --user: wait until this holds. `connection`: until the person is a connection of the account
    #[arg(long, value_name = "WHAT")]
    needs: Option<String>,
    /// Your idempotency key: the same message with the same key is queued only once
    #[arg(long, value_name = "KEY")]
    dedupe_key: Option<String>,
    #[command(flatten)]
    json: Json,
}

/// The recipient.
#[derive(Debug, Args)]
#[group(id = "target", required = false, multiple = false)]
struct Target {
    /// Send into this existing chat
    #[arg(long, value_name = "ID", value_parser = parse_id)]
    chat: Option<String>,
    /// Start a chat with this user; several users form one group and need --group or --name
    #[arg(long, value_name = "ID", value_parser = parse_id)]
    user: Vec<String>,
}

/// Everything beyond one text to one person.
#[derive(Debug, Args)]
struct Form {
    /// Confirm that several --user form ONE group chat
    #[arg(long, conflicts_with = "chat")]
    group: bool,
    /// With --user: name of the group; implies --group
    #[arg(long, conflicts_with = "chat")]
    name: Option<String>,
    /// With --user: send as an InMail, which costs a credit
    #[arg(long, conflicts_with_all = ["chat", "specifics"])]
    inmail: bool,
    /// With --user: provider-specific options, as JSON (docs/messages.md)
    #[arg(long, value_name = "JSON", conflicts_with = "chat", value_parser = json_object)]
    specifics: Option<Value>,
    /// With --chat: message to reply to
    #[arg(long, value_name = "ID", conflicts_with = "user")]
    quote: Option<String>,
    /// File to attach; may be repeated
    #[arg(long, value_name = "FILE", conflicts_with = "forward_chat")]
    attach: Vec<PathBuf>,
    /// With --attach: display it as LinkedIn does (native), or as a file to download
    #[arg(long, value_name = "MODE", value_parser = ["native", "file"], requires = "attach")]
    send_mode: Option<String>,
    /// With --attach: mark the audio file as a voice note
    #[arg(long, requires = "attach")]
    voice_note: bool,
    /// With --chat: forward a message into it; this is the chat that contains the message
    #[arg(long, value_name = "ID", requires = "forward_message", conflicts_with_all = ["user", "quote"])]
    forward_chat: Option<String>,
    /// Message to forward
    #[arg(long, value_name = "ID", requires = "forward_chat")]
    forward_message: Option<String>,
}

fn json_object(text: &str) -> Result<Value, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| format!("no JSON: {error}"))?;
    if value.is_object() { Ok(value) } else { Err("no JSON object".to_owned()) }
}

/// The text, or a file with it.
#[derive(Debug, Args)]
#[group(id = "content", required = false, multiple = false)]
struct Content {
    /// Text to send; write one that begins with a hyphen as --text='- so', so that a flag is never sent by mistake
    #[arg(long)]
    text: Option<String>,
    /// File with the text, without its last line end; `-` reads standard input
    #[arg(long, value_name = "FILE")]
    text_file: Option<PathBuf>,
}

/// Queues one message or many.
pub(super) async fn enqueue(client: &Client, enqueue: Enqueue) -> Result<Exit, Failure> {
    match &enqueue.file {
        Some(file) => batch(client, file, &enqueue).await,
        None => single(client, enqueue).await,
    }
}

async fn single(client: &Client, enqueue: Enqueue) -> Result<Exit, Failure> {
    // clap could name only one of the two options; the API would name fields instead of flags.
    if enqueue.target.chat.is_none() && enqueue.target.user.is_empty() {
        return Err(Failure::usage("say whom it goes to: `--chat ID` for a chat, `--user ID` to start one"));
    }
    let wordless = enqueue.form.forward_chat.is_some() || !enqueue.form.attach.is_empty();
    if enqueue.content.text.is_none() && enqueue.content.text_file.is_none() && !wordless {
        return Err(Failure::usage("say what to send: `--text TEXT`, or `--text-file FILE`"));
    }
    let json = enqueue.json.json;
    let account = enqueue.account.clone();
    let mut times = [None, None];
    for (time, typed) in times.iter_mut().zip([&enqueue.not_before, &enqueue.expires_at]) {
        if let Some(typed) = typed {
            *time = Some(typed.resolve(client, account.as_deref()).await?);
        }
    }
    let answer = client.post("/v1/messages", &body(enqueue, times)?).await?;
    if json {
        return answer.pass_on();
    }
    let stored: Stored = answer.read()?;
    if stored.duplicate == Some(true) {
        let state = stored.state.map(|state| format!(" and is {}", render::line(&state))).unwrap_or_default();
        render::note(&format!("this message was queued before under the same --dedupe-key{state}"));
    }
    render::print(&format!("{}\n", render::line(&stored.id)))?;
    Ok(Exit::Done)
}

/// Builds the message; fields that were not given stay empty.
fn body(enqueue: Enqueue, times: [Option<Timestamp>; 2]) -> Result<NewMessage, Failure> {
    let text = match enqueue.content.text_file {
        Some(file) => Some(text_of(&file)?),
        None => enqueue.content.text,
    };
    let either = |yes: bool, no: bool| (yes || no).then_some(yes);
    let typing = either(enqueue.typing, enqueue.no_typing);
    let stop_on_reply = either(enqueue.stop_on_reply, enqueue.no_stop_on_reply);
    let (form, users) = (enqueue.form, enqueue.target.user);
    if users.len() > 1 && !form.group && form.name.is_none() {
        return Err(Failure::usage(format!(
            "{} --user would start ONE group chat with all of them; queue one message per person, or add --group if one \
             chat is meant",
            users.len()
        )));
    }
    let attachments =
        form.attach.iter().map(|file| attachment(file, &form)).collect::<Result<Vec<_>, _>>()?;
    let inmail = form.inmail.then(|| json!({ "linkedin": { "classic": { "inmail": true } } }));
    let forward = form.forward_chat.zip(form.forward_message);
    let [not_before, expires_at] = times.map(|at| at.map(Time));
    Ok(NewMessage {
        account_id: enqueue.account,
        chat_id: enqueue.target.chat,
        users_ids: (!users.is_empty()).then_some(UsersIds::Several(users)),
        group: form.group.then_some(true),
        name: form.name,
        specifics: form.specifics.or(inmail),
        quote_id: form.quote,
        attachments: (!attachments.is_empty()).then_some(attachments),
        forward: forward.map(|(chat_id, message_id)| Forward { chat_id, message_id }),
        inbox_id: enqueue.inbox,
        text,
        typing,
        not_before,
        expires_at,
        campaign: enqueue.campaign,
        priority: enqueue.priority,
        urgent: enqueue.urgent.then_some(true),
        ignore_hours: enqueue.ignore_hours.then_some(true),
        allow_repeat: enqueue.allow_repeat.then_some(true),
        allow_placeholders: enqueue.allow_placeholders.then_some(true),
        stop_on_reply,
        step: enqueue.step,
        wait: enqueue.wait,
        meta: enqueue.meta,
        needs: enqueue.needs,
        dedupe_key: enqueue.dedupe_key,
        options: None,
    })
}

/// Reads an attachment here, so that the daemon needs no permission to read the file.
fn attachment(file: &Path, form: &Form) -> Result<NewAttachment, Failure> {
    let mut bytes = Vec::new();
    open(file)?.read_to_end(&mut bytes).map_err(|error| unreadable(file, &error))?;
    Ok(NewAttachment {
        filename: file.file_name().map(|name| name.to_string_lossy().into_owned()),
        content: Some(STANDARD.encode(bytes)),
        send_mode: form.send_mode.clone(),
        voice_note: form.voice_note.then_some(true),
        ..NewAttachment::default()
    })
}

async fn batch(client: &Client, file: &Path, enqueue: &Enqueue) -> Result<Exit, Failure> {
    let path = if enqueue.atomic { "/v1/messages?atomic=true" } else { "/v1/messages" };
    let answer = client.post_rows(path, rows(file)?).await?;
    // An atomic batch that was refused as a whole has status 422 and still a verdict for each row.
    let verdicts = match serde_json::from_str::<Batch>(&answer.body) {
        Ok(verdicts) if answer.status.is_success() || answer.status == StatusCode::UNPROCESSABLE_ENTITY => {
            verdicts
        }
        _ if enqueue.json.json => return answer.pass_on(),
        _ => return Err(answer.accepted().err().unwrap_or_else(|| answer.foreign())),
    };
    for row in &verdicts.results {
        refused(row);
        if let (Some(fields), Some(id)) = (&row.differs, &row.id) {
            render::note(&render::line(&format!(
                "row {}: its step was queued before with another {}, as message {id}, which stays as it is; `outboxd edit {id} --text-file \
                 FILE` changes the text of one that waits",
                row.index + 1,
                fields.join(" and ")
            )));
        }
    }
    let Batch { accepted, duplicates, refused, results } = verdicts;
    let states = states(&results);
    let line = format!("{accepted} accepted, {duplicates} duplicates{states}, {refused} refused\n");
    if enqueue.json.json {
        render::json(&answer.body)?
    } else {
        render::print(&line)?
    }
    if refused == 0 {
        return Ok(Exit::Done);
    }
    render::note(match (enqueue.atomic, accepted + duplicates) {
        (true, _) => "nothing was stored; fix these rows and send the whole batch again",
        (false, 0) => "nothing was stored; fix these rows and send them again",
        (false, _) => "the other rows are stored; fix these and send them again",
    });
    Ok(Exit::Refused)
}

/// Returns the states of the messages that were queued before: ` (2 sent, 1 queued)`.
fn states(rows: &[Verdict]) -> String {
    let mut counts = BTreeMap::<&str, u64>::new();
    for state in rows.iter().filter_map(|row| row.state.as_deref()) {
        *counts.entry(state).or_default() += 1;
    }
    let counts: Vec<String> =
        counts.iter().map(|(state, n)| format!("{n} {}", render::line(state))).collect();
    if counts.is_empty() { String::new() } else { format!(" ({})", counts.join(", ")) }
}

/// Prints the problems of a row; skips a row that was refused only because of others.
pub(super) fn refused(row: &Verdict) {
    let Some(error) = row.error.as_ref().filter(|error| error.code != "batch_refused") else { return };
    let line = row.line.unwrap_or(row.index + 1);
    for error in row.errors.as_deref().unwrap_or(std::slice::from_ref(error)) {
        render::note(&format!("error: line {line}: {}", problem(error)));
    }
}
