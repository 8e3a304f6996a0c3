//! `[api]`: the sockets and the address of the API, and the tokens of the address.
//!
//! The file of tokens is read only by the daemon and by `check`: users of the command line may lack permission to read it.

use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::keys::Keys;
use super::layers;
use super::problem::{ConfigError, Problem};
use super::read::Reader;
use crate::domain::token::Token;

/// `[api]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiSettings {
    /// Path of the Unix socket; relative to the working directory, at most 107 bytes.
    pub socket: PathBuf,
    /// Permissions of the socket, in the octal form of `chmod`.
    pub socket_mode: u32,
    /// Path of the socket that only reads; `None`: there is none.
    pub read_only_socket: Option<PathBuf>,
    /// Permissions of the socket that only reads.
    pub read_only_socket_mode: u32,
    /// Where to listen on TCP; `None`: nowhere.
    pub listen: Option<SocketAddr>,
    /// The file with the tokens for TCP. See [`super::Settings::require_tokens`].
    pub tokens_file: Option<PathBuf>,
    /// Maximum size of a request body, in bytes.
    pub body_bytes: usize,
    /// Maximum number of rows of a large request in one commit; at least 1.
    pub batch_rows: usize,
    /// Maximum number of rows in an atomic request; at least 1.
    pub atomic_rows: usize,
}

const FILE: &str = "api.tokens_file";
const MAKE: &str = "make a line for it with `outboxd token NAME ROLE`";

pub(super) fn read(reader: &mut Reader<'_>) -> ApiSettings {
    let read_only = reader.optional_path("api.read_only_socket");
    let settings = ApiSettings {
        socket: reader.socket("api.socket"),
        socket_mode: reader.mode("api.socket_mode"),
        read_only_socket: read_only.map(|_| reader.socket("api.read_only_socket")),
        read_only_socket_mode: reader.mode("api.read_only_socket_mode"),
        listen: reader.listen("api.listen", "127.0.0.1:8790"),
        tokens_file: reader.optional_path(FILE),
        body_bytes: reader.size("api.body_bytes", 1024..=1 << 30),
        batch_rows: reader.size("api.batch_rows", 1..=10_000),
        atomic_rows: reader.size("api.atomic_rows", 1..=50_000),
    };
    if settings.read_only_socket.as_ref().is_some_and(|path| is_same(path, &settings.socket)) {
        let leaf = reader.leaf("api.read_only_socket");
        reader.add(leaf, "is the same path as api.socket", "give it a path of its own, or leave it out");
    }
    let queue = reader.text(reader.leaf("store.path")).map(Path::new);
    for (key, socket) in
        [("api.socket", Some(&settings.socket)), ("api.read_only_socket", settings.read_only_socket.as_ref())]
    {
        if socket.zip(queue).is_some_and(|(socket, queue)| is_same(socket, queue)) {
            reader.add(reader.leaf(key), "is the same path as store.path", "give it a path of its own");
        }
    }
    settings
}

/// Returns the path of the daemon's socket for a program that only talks to it: no other value is checked, and no file
/// with a secret is read.
///
/// # Errors
/// Returns what is wrong with the keys of the file or the environment, or with the path.
pub fn find_socket(
    file: Option<&Path>,
    env: impl Iterator<Item = (String, String)>,
) -> Result<PathBuf, ConfigError> {
    let mut variables: Vec<_> = env.filter(|(name, _)| Keys::claims(name)).collect();
    variables.sort();
    let mut problems = Vec::new();
    let Some(layers) = layers::read(&Keys::built_in(), file, &variables, &mut problems) else {
        return Err(ConfigError { problems });
    };
    let mut reader = Reader { layers: &layers, problems };
    let socket = reader.socket("api.socket");
    if reader.problems.is_empty() { Ok(socket) } else { Err(ConfigError { problems: reader.problems }) }
}

/// Returns whether both name one file, such as `x.sock` and `./x.sock`.
fn is_same(one: &Path, other: &Path) -> bool {
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    absolute(one) == absolute(other)
}

impl ApiSettings {
    /// Reads the tokens; without an address to listen on there are none.
    pub(super) fn tokens(&self) -> Result<Vec<Token>, ConfigError> {
        let wrong =
            |what: &str, fix: &str| ConfigError { problems: vec![Problem::value(FILE, "", what, fix)] };
        if self.listen.is_none() {
            return Ok(Vec::new());
        }
        let Some(file) = &self.tokens_file else {
            let what = "api.listen is set without api.tokens_file, so every request would be refused";
            return Err(wrong(
                what,
                &format!("name a file with the tokens, and {MAKE}; or leave api.listen out"),
            ));
        };
        let shown = file.display();
        let cannot = |error: std::io::Error| {
            wrong(&format!("{shown} cannot be read: {error}"), "name a file that the daemon's user can read")
        };
        let mode = std::fs::metadata(file).map_err(cannot)?.mode() & 0o777;
        if mode & 0o077 != 0 {
            let what = format!("{shown} is open to other users (mode 0{mode:o})");
            return Err(wrong(&what, "give it to the daemon's user and run chmod 0600"));
        }
        parse(file, &std::fs::read_to_string(file).map_err(cannot)?).map_err(|what| wrong(&what, MAKE))
    }

    /// Returns a warning if tokens travel over a network.
    pub(super) fn exposed(&self) -> Option<String> {
        let address = self.listen.filter(|address| !address.ip().is_loopback())?;
        Some(format!(
            "api.listen is {address}, which other machines reach, without encryption: put a proxy with TLS before it, or \
             limit who reaches it"
        ))
    }
}

fn parse(file: &Path, text: &str) -> Result<Vec<Token>, String> {
    let file = file.display();
    let mut tokens: Vec<Token> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let number = index + 1;
        let token = Token::parse(line).map_err(|what| format!("line {number} of {file} {what}"))?;
        if tokens.iter().any(|other| other.name == token.name) {
            return Err(format!("line {number} of {file} has the name of another line, {:?}", token.name));
        }
        tokens.push(token);
    }
    match tokens.is_empty() {
        true => Err(format!("{file} holds no token")),
        false => Ok(tokens),
    }
}
