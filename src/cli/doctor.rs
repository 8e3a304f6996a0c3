//! `outboxd doctor`: one line for each check, and what to do.
//!
//! This file asks the running daemon, if there is one; `app` checks what the configuration describes, and the queue of
//! that daemon.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::json;

use super::client::Client;
use super::exit::{Exit, Failure};
use super::{Globals, Json, render, times};
use crate::app::doctor::{self, Finding, Health, Running};
use crate::types::notice::Notices;
use crate::types::status::Status;
use crate::types::webhook::{TestRequest, Tested};

/// Hours without a webhook after which it is worth a test.
const SILENT_HOURS: i64 = 24;

/// What the running daemon answers.
struct Answered {
    status: Status,
    notices: Notices,
    /// What the test of the public address of the webhooks found, if the daemon receives any.
    address: Option<Finding>,
}

/// Checks everything and shows what was found.
pub(super) async fn doctor(globals: &Globals, json: Json) -> Result<Exit, Failure> {
    let mut found = Vec::new();
    let loaded = globals.load();
    let daemon = match globals.socket.clone().or_else(|| globals.configured_socket().ok()) {
        Some(socket) => {
            let answer = ask(&socket).await;
            Some((socket, answer))
        }
        None => None,
    };
    match &loaded {
        Err(error) => found.extend(error.to_string().lines().map(|line| {
            let what = line.trim_start_matches("error: ");
            Finding::fail("configuration", what, "correct it; `outboxd check` shows the rest")
        })),
        Ok(loaded) => {
            let answered = daemon.as_ref().and_then(|(_, answer)| answer.as_ref().ok());
            let running = match (answered, &daemon) {
                (Some(answered), _) => Running::With(Path::new(&answered.status.queue.path)),
                (None, Some((socket, _))) if is_closed_to_us(socket) => Running::Unknown,
                (None, _) => Running::No,
            };
            found.extend(doctor::examine(loaded, running).await);
        }
    }
    if let Some((socket, answer)) = daemon {
        found.extend(of_daemon(&socket, answer));
    }
    show(&found, json)
}

fn show(found: &[Finding], json: Json) -> Result<Exit, Failure> {
    let worst = found.iter().map(|one| one.health).max().unwrap_or(Health::Ok);
    let exit = if worst == Health::Fail { Exit::Unwell } else { Exit::Done };
    if json.json {
        let row = |one: &Finding| json!({ "check": one.check, "result": one.health.as_str(), "what": one.what, "to_do": one.to_do });
        let rows: Vec<_> = found.iter().map(row).collect();
        render::json(&json!({ "result": worst.as_str(), "checks": rows }).to_string())?;
        return Ok(exit);
    }
    let mut shown = String::new();
    for Finding { check, health, what, to_do } in found {
        shown += &format!("{:<4}  {check:<15}  {}\n", health.as_str(), render::line(what));
        if !to_do.is_empty() {
            shown += &format!("{:23}to do: {}\n", "", render::line(to_do));
        }
    }
    render::print(&shown)?;
    Ok(exit)
}

/// Asks the daemon on the socket about itself.
async fn ask(socket: &Path) -> Result<Answered, Failure> {
    let client = Client::new(socket)?;
    let status: Status = client.get("/v1/status", &[]).await?.read()?;
    let notices: Notices = client.get("/v1/notices", &[]).await?.read()?;
    let address = match &status.webhooks {
        Some(_) => Some(public_address(&client).await),
        None => None,
    };
    Ok(Answered { status, notices, address })
}

/// Returns whether the system does not let this user connect to the socket.
fn is_closed_to_us(socket: &Path) -> bool {
    UnixStream::connect(socket).is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
}

/// Returns what is wrong with the socket, and what the daemon says of itself.
fn of_daemon(socket: &Path, answer: Result<Answered, Failure>) -> Vec<Finding> {
    let place = socket.display();
    let Answered { status, notices, address } = match answer {
        Ok(answered) => answered,
        Err(_) if is_closed_to_us(socket) => {
            let what =
                format!("this user may not use the daemon's socket {place}, so the daemon was not asked");
            let to_do = format!(
                "join the group that owns it (ls -ld {place}): sudo usermod -aG GROUP USER, then log in again; or run doctor as root"
            );
            return vec![Finding::warn("daemon", what, to_do)];
        }
        Err(error) => {
            let what = error.to_string().trim().trim_start_matches("error: ").replace('\n', " ");
            return vec![Finding::warn(
                "daemon",
                what,
                "start it if it does not run: systemctl start outboxd, or outboxd serve",
            )];
        }
    };
    let mut found = vec![open_to_all(socket)];
    let ours = env!("CARGO_PKG_VERSION");
    found.push(match status.version == ours {
        true => Finding::ok(
            "daemon",
            format!("version {ours} runs as process {} and answers on {place}", status.pid),
        ),
        false => Finding::warn(
            "daemon",
            format!("version {} runs, and this program is version {ours}", status.version),
            "restart it: systemctl restart outboxd",
        ),
    });
    found.push(webhooks(&status));
    found.extend(address);
    for notice in notices.data {
        let (what, to_do) = (notice.text().trim().to_owned(), notice.to_do);
        found.push(match notice.needs_person {
            true => Finding::fail("notice", what, to_do),
            false => Finding::warn("notice", what, to_do),
        });
    }
    found
}

fn open_to_all(socket: &Path) -> Finding {
    let place = socket.display();
    let mode = std::fs::metadata(socket).map_or(0, |found| found.mode() & 0o777);
    match mode & 0o007 {
        0 => Finding::ok("socket", format!("{place} (mode {mode:04o})")),
        _ => Finding::warn(
            "socket",
            format!("every user of this machine can send through {place} (mode {mode:04o})"),
            "set api.socket_mode to \"0660\" and use a group",
        ),
    }
}

/// Posts to the registered address what the listener must refuse: it has no signature, so nothing is stored.
async fn public_address(client: &Client) -> Finding {
    const CHECK: &str = "webhook address";
    let unsigned = TestRequest { local: false, unsigned: true };
    let answer = client.post_at_length("/v1/webhooks/test", &unsigned).await;
    match answer.and_then(|answer| answer.read::<Tested>()) {
        Ok(tested) if tested.ok => Finding::ok(CHECK, format!("{} leads to the listener", tested.url)),
        Ok(tested) => {
            let said = tested.status.map_or_else(|| tested.answer, |status| format!("answered {status}"));
            Finding::fail(
                CHECK,
                format!("{} does not lead to the listener: {said}", tested.url),
                tested.verdict,
            )
        }
        Err(failure) if failure.exit() == Exit::Refused => {
            Finding::ok(CHECK, "none is registered with outboxd, so none was tried")
        }
        Err(failure) => Finding::warn(CHECK, format!("it was not tried: {failure}"), "outboxd webhook test"),
    }
}

fn webhooks(status: &Status) -> Finding {
    let Some(webhooks) = &status.webhooks else {
        return Finding::ok("webhooks", "not received: answers are read before each follow-up instead");
    };
    let listen = &webhooks.listen;
    match webhooks.last_at {
        Some(at) if status.now.duration_since(*at).as_hours() < SILENT_HOURS => {
            let ago = times::length(status.now.duration_since(*at));
            Finding::ok("webhooks", format!("received on {listen}, the newest {ago} ago"))
        }
        _ => Finding::warn(
            "webhooks",
            format!("received on {listen}; none came since the start or for {SILENT_HOURS} h"),
            "outboxd webhook test",
        ),
    }
}
