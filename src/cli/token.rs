//! `outboxd token`: makes a token for the API on TCP, and the line for `api.tokens_file`.
//!
//! The line holds only a hash of the token, so the token is shown once and stored nowhere.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Args;
use sha2::{Digest, Sha256};

use super::exit::{Exit, Failure};
use super::render;
use crate::app::{Role, Token};
use crate::clock;

/// `outboxd token`.
#[derive(Debug, Args)]
pub(super) struct NewToken {
    /// Name of the token; events record it for each change
    #[arg(value_name = "NAME")]
    name: String,
    /// What its bearer may do: read, enqueue or operate (everything)
    #[arg(value_name = "ROLE", required = true, value_parser = Role::ALL.map(Role::as_str))]
    roles: Vec<String>,
}

/// Prints the line on standard output, and the token on standard error.
pub(super) fn token(asked: NewToken) -> Result<Exit, Failure> {
    let text = format!("obx_{}", URL_SAFE_NO_PAD.encode(clock::ambient_secret()));
    let roles = asked.roles.iter().filter_map(|role| Role::parse(role)).collect();
    let token = Token { name: asked.name, roles, hash: Sha256::digest(&text).into() };
    let line = token.line();
    Token::parse(&line).map_err(|what| Failure::usage(format!("the token {what}")))?;
    render::print(&format!("{line}\n"))?;
    render::note(&format!("the token, which is not shown again: {text}"));
    Ok(Exit::Done)
}
