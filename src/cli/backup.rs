//! `outboxd backup`: requests a backup from the daemon and shows its path.
//!
//! The daemon writes the copy; this command does not open the database.

use clap::Args;

use super::Json;
use super::client::Client;
use super::exit::{Exit, Failure};
use super::render;
use crate::types::counted;
use crate::types::operations::{self as types, BackupRequest};

/// `outboxd backup`.
#[derive(Debug, Args)]
pub(super) struct Backup {
    /// File name of the backup, without a folder; default: a name with the current time
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Keep the newest N backups that are named after the time, and remove older ones
    #[arg(long, value_name = "N", conflicts_with = "name", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    keep: Option<u32>,
    #[command(flatten)]
    json: Json,
}

/// Requests a backup; returns when it is complete and on disk.
pub(super) async fn backup(client: &Client, backup: Backup) -> Result<Exit, Failure> {
    let asked = BackupRequest { name: backup.name, keep: backup.keep };
    let answer = client.post_at_length("/v1/backup", &asked).await?;
    if backup.json.json {
        return answer.pass_on();
    }
    let types::Backup { path, bytes, messages, removed, .. } = answer.read()?;
    let path = render::line(&path);
    render::print(&format!("{path} ({}, {bytes} bytes)\n", counted(messages, "message", "messages")))?;
    for path in removed {
        render::print(&format!("removed {}\n", render::line(&path)))?;
    }
    Ok(Exit::Done)
}
