//! `outboxd generate`: writes the man pages and the completions of shells, for packages.
//!
//! Both come from the definition of the commands, so they say what `--help` says.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, CommandFactory, Subcommand};
use clap_complete::Shell;

use super::exit::{Exit, Failure};
use super::{Cli, render};

/// `outboxd generate`.
#[derive(Debug, Args)]
pub(super) struct Generate {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Write a man page for outboxd and for each command
    Man(Folder),
    /// Write the completions for bash, zsh and fish
    Completions(Folder),
}

#[derive(Debug, Args)]
struct Folder {
    /// The folder; created if missing
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// Writes the files.
pub(super) fn generate(generate: &Generate) -> Result<Exit, Failure> {
    let (folder, written) = match &generate.what {
        What::Man(Folder { folder }) => (folder, man(folder)),
        What::Completions(Folder { folder }) => (folder, completions(folder)),
    };
    let failed = || format!("cannot write to {}", folder.display());
    written.with_context(failed).map_err(Failure::unexpected)?;
    render::note(&format!("written to {}", render::line(&folder.display().to_string())));
    Ok(Exit::Done)
}

fn man(folder: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    clap_mangen::generate_to(Cli::command(), folder)
}

fn completions(folder: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut Cli::command(), "outboxd", folder)?;
    }
    Ok(())
}
