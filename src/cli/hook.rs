//! `outboxd hook`: shows the receivers of events, enables one, and delivers events again.

use clap::{Args, Subcommand};

use super::client::{Client, parse_id, segment};
use super::exit::{Exit, Failure};
use super::times::{self, Times};
use super::{Json, render};
use crate::types::hook::{Hook as Receiver, HookEnabled, HookList, ReplayRequest};

/// `outboxd hook`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  outboxd hook list\n  outboxd hook replay crm --from 4711\n  outboxd hook enable crm"
)]
pub(super) struct Hook {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show each receiver of events, how far it is, and what failed
    List(Json),
    /// Deliver events again to a receiver, from one on; also enables it
    Replay(Replay),
    /// Let a disabled receiver go on where it stopped, or retry at once
    Enable(Enable),
}

#[derive(Debug, Args)]
struct Replay {
    /// Name of the receiver in the configuration
    #[arg(value_name = "NAME", value_parser = parse_id)]
    name: String,
    /// The first event to deliver
    #[arg(long, value_name = "SEQ")]
    from: i64,
    #[command(flatten)]
    json: Json,
}

#[derive(Debug, Args)]
struct Enable {
    /// Name of the receiver in the configuration
    #[arg(value_name = "NAME", value_parser = parse_id)]
    name: String,
    #[command(flatten)]
    json: Json,
}

pub(super) async fn hook(client: &Client, hook: Hook) -> Result<Exit, Failure> {
    match hook.verb {
        Verb::List(json) => list(client, json).await,
        Verb::Replay(Replay { name, from, json }) => {
            let path = format!("/v1/hooks/{}/replay", segment(&name));
            let answer = client.post(&path, &ReplayRequest { from: Some(from) }).await?;
            answer.show(json, |done: HookEnabled| goes_on(&done))
        }
        Verb::Enable(Enable { name, json }) => {
            let path = format!("/v1/hooks/{}/enable", segment(&name));
            let answer = client.post(&path, &serde_json::json!({})).await?;
            answer.show(json, |done: HookEnabled| goes_on(&done))
        }
    }
}

fn goes_on(done: &HookEnabled) -> String {
    format!("{} goes on with event {}\n", render::line(&done.name), done.next)
}

async fn list(client: &Client, json: Json) -> Result<Exit, Failure> {
    client.get("/v1/hooks", &[]).await?.show(json, |list: HookList| list.text())
}

impl HookList {
    fn text(&self) -> String {
        let times = Times::of(times::zone(None));
        let mut shown = String::new();
        for hook in &self.data {
            shown += &hook.facts(&times);
            shown += "\n";
        }
        if self.data.is_empty() {
            shown +=
                "no receivers; add [outbound.webhook.NAME] or [outbound.command.NAME] to the configuration\n";
        } else {
            let delays: Vec<String> = self.retries_s.iter().map(|&seconds| delay(seconds)).collect();
            shown += &format!("an event is retried after {}, then given up\n", delays.join(", "));
        }
        shown
    }
}

/// Formats a delay in its largest whole unit.
fn delay(seconds: u64) -> String {
    match seconds {
        3600.. => format!("{} h", seconds / 3600),
        60.. => format!("{} min", seconds / 60),
        _ => format!("{seconds} s"),
    }
}

impl Receiver {
    fn facts(&self, times: &Times) -> String {
        let state = match (self.state.as_str(), &self.problem) {
            ("disabled", problem) => {
                let why = problem.as_deref().unwrap_or("no reason is known");
                format!("disabled ({why}); repair it, then run `outboxd hook enable {}`", self.name)
            }
            ("retrying", problem) => {
                let why = problem.as_deref().unwrap_or("no reason is known");
                let often = if self.failures == 1 { "once" } else { &format!("{} times", self.failures) };
                format!("failed {often} ({why}); again at {}", times.show(self.retry_at))
            }
            (state, _) => state.to_owned(),
        };
        let mut facts = vec![
            ("name", self.name.clone()),
            ("to", format!("{} {}", self.kind, self.target)),
            ("state", state),
            ("delivered", times.show(self.delivered_at)),
            ("cursor", format!("event {}, {} behind", self.cursor, self.behind)),
        ];
        if self.dead > 0 {
            let newest = self.dead_letters.iter().map(|dead| format!("{} ({})", dead.seq, dead.problem));
            facts.push(("given up", format!("{}: {}", self.dead, newest.collect::<Vec<_>>().join(", "))));
        }
        render::pairs(&facts)
    }
}
