//! `outboxd check`: shows the configuration that the daemon would run with, and where each value comes from.
//!
//! It reads everything that `serve` reads, but only the header of the database: no socket, no network. The effective
//! configuration goes to standard output and is itself a valid configuration file; warnings go to standard error and
//! do not change the exit code. Everything in the configuration that prevents `serve` from starting is an error here,
//! with the same message: all problems of loading, one per line, a missing key or secret, or a `store.path` that is not
//! a queue.

use serde_json::json;

use super::exit::{Exit, Failure};
use super::render;
use crate::app;
use crate::config::Loaded;

/// Shows the effective configuration.
pub(super) fn check(loaded: &Loaded, json: bool) -> Result<Exit, Failure> {
    loaded.settings.require_api_key().map_err(|error| Failure::config(error, None))?;
    let secret = app::check_webhook_secret(&loaded.settings).map_err(|error| Failure::config(error, None))?;
    loaded.settings.require_usable_proxy().map_err(|error| Failure::config(error, None))?;
    loaded.settings.require_ca().map_err(|error| Failure::config(error, None))?;
    loaded.settings.require_tokens().map_err(|error| Failure::config(error, None))?;
    let proxy = loaded.settings.unipile.proxy.sentence();
    let place = app::check_place(&loaded.settings).map_err(|error| Failure::config(error, None))?;
    let sockets = app::check_sockets(&loaded.settings).map_err(|error| Failure::config(error, None))?;
    let warnings: Vec<&String> =
        loaded.warnings().iter().chain(&secret).chain(&place).chain(&sockets).collect();
    let sources = &loaded.sources;
    let file = sources.file.as_ref().map(|file| file.display().to_string());
    if json {
        let shown = json!({
            "file": file,
            "variables": sources.variables,
            "proxy": proxy,
            "carries": loaded.carries(),
            "warnings": warnings,
            "settings_toml": loaded.effective_toml(),
        });
        render::json(&shown.to_string())?;
        return Ok(Exit::Done);
    }
    for warning in warnings {
        render::note(&format!("warning: {warning}"));
    }
    let file = file.unwrap_or_else(|| "none; built-in defaults".to_owned());
    let variables = match sources.variables.as_slice() {
        [] => "none".to_owned(),
        variables => variables.join(", "),
    };
    let toml = loaded.effective_toml();
    let carries = loaded.carries();
    let proxy = proxy.map(|sentence| format!("# {}\n", render::line(&sentence))).unwrap_or_default();
    let file = render::line(&file);
    render::print(&format!("# file: {file}\n# environment: {variables}\n{proxy}# {carries}\n{toml}"))?;
    Ok(Exit::Done)
}
