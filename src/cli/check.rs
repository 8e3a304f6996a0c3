//! `outboxd check`: what the daemon would run with, and where each value comes from.
//!
//! It reads what `serve` reads and nothing else: no socket, no database, no network. The effective configuration goes
//! to standard output and is itself a configuration file; warnings go to standard error and do not change the exit
//! code. A configuration that cannot be used never gets here: loading it has failed with every problem on a line.

use serde_json::json;

use super::exit::{Exit, Failure};
use super::render;
use crate::config::Loaded;

/// Shows the configuration in force.
pub(super) fn check(loaded: &Loaded, json: bool) -> Result<Exit, Failure> {
    let sources = &loaded.sources;
    let file = sources.file.as_ref().map(|file| file.display().to_string());
    if json {
        let shown = json!({
            "file": file,
            "variables": sources.variables,
            "carries": loaded.carries(),
            "warnings": loaded.warnings(),
            "settings_toml": loaded.effective_toml(),
        });
        render::json(&shown.to_string())?;
        return Ok(Exit::Done);
    }
    for warning in loaded.warnings() {
        render::note(&format!("warning: {warning}"));
    }
    let file = file.unwrap_or_else(|| "none; built-in defaults".to_owned());
    let variables = match sources.variables.as_slice() {
        [] => "none".to_owned(),
        variables => variables.join(", "),
    };
    let toml = loaded.effective_toml();
    let carries = loaded.carries();
    let file = render::line(&file);
    render::print(&format!("# file: {file}\n# environment: {variables}\n# {carries}\n{toml}"))?;
    Ok(Exit::Done)
}
