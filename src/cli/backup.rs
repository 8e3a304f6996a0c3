//! `outboxd backup`: requests a backup from the daemon and shows its path.
//!
//! The daemon writes the copy; this command does not open the database.

use clap::Args;

use super::Json;
use super::client::Client;
use super::exit::{Exit, Failure};
use super::render;
use crate::types::operations::{self as types, BackupRequest};

/// `outboxd backup`.
#[derive(Debug, Args)]
pub(super) struct Backup {
    /// File name of the backup, without a folder; default: a name with the current time
    #[arg(value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    json: Json,
}

/// Requests a backup; returns when it is complete and on disk.
pub(super) async fn backup(client: &Client, backup: Backup) -> Result<Exit, Failure> {
    let answer = client.post_at_length("/v1/backup", &BackupRequest { name: backup.name }).await?;
    if backup.json.json {
        return answer.pass_on();
    }
    let types::Backup { path, bytes, messages, .. } = answer.read()?;
    let path = render::line(&path);
    render::print(&format!("{path} ({messages} messages, {bytes} bytes)\n"))?;
    Ok(Exit::Done)
}
