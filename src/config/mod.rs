//! The configuration: built-in defaults < file < environment, read at the start and again on SIGHUP.
//!
//! `cli` loads it and hands each part to whom it concerns. Nothing is guessed: an unknown key, a wrong type, a value
//! without sense refuse to start, all of them at once, each with its key, its place and the way out (P7). Keys and
//! defaults stand once, in `config/outboxd.toml`, which is compiled in. It reads no clock and no environment by itself
//! ([`environment`] hands that to the caller), so that a test loads what it likes. Of ours it names only `domain`.

mod carries;
mod changes;
mod effective;
mod keys;
mod layers;
mod limits;
mod policies;
mod presets;
mod problem;
mod proxy;
mod read;
mod secret;

use std::collections::HashSet;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::SecretString;

use crate::domain::policy::Policies;
use crate::domain::validate::ValidationLimits;
use keys::Keys;
use read::Reader;

pub use changes::Change;
pub use policies::PolicyBook;
pub use problem::{ConfigError, Problem};
pub use proxy::Proxy;

/// Everything that can be configured. Its `Debug` shows that there is an API key, never the key.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `[store]`: the database.
    pub store: StoreSettings,
    /// `[api]`: the socket.
    pub api: ApiSettings,
    /// `[unipile]`: the API that messages go to.
    pub unipile: UnipileSettings,
    /// `[limits]`: what a message may hold.
    pub limits: LimitSettings,
    /// `[attachments]`: which files may be named.
    pub attachments: AttachmentSettings,
    /// `[accounts]`: who may send.
    pub accounts: AccountSettings,
    /// `[policy.default]` and every `[account."acc_…"]`, whole.
    pub policies: Policies,
    /// `[engine]`: the sending itself.
    pub engine: EngineSettings,
    /// `[log]`: what is written where.
    pub log: LogSettings,
    /// What works out an account's rules when they are changed while the daemon runs.
    pub policy_book: PolicyBook,
}

/// `[store]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreSettings {
    /// The database file; relative to the working directory.
    pub path: PathBuf,
    /// Connections that read, beside the one that writes; at least 1.
    pub readers: u32,
    /// Where backups lie; `None`: in a folder `backups` beside the queue.
    pub backup_folder: Option<PathBuf>,
}

/// `[api]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiSettings {
    /// The Unix socket; relative to the working directory, at most 107 bytes.
    pub socket: PathBuf,
    /// Permissions of the socket, as `chmod` takes them.
    pub socket_mode: u32,
    /// Largest request body, in bytes.
    pub body_bytes: usize,
    /// Rows that one commit takes from a large request; at least 1.
    pub batch_rows: usize,
    /// Most rows of a request that is taken as a whole or not at all; at least 1.
    pub atomic_rows: usize,
}

/// `[unipile]`.
#[derive(Debug, Clone)]
pub struct UnipileSettings {
    /// Address of the API without `/v2` and without a closing slash; https, or http on this machine.
    pub base_url: String,
    /// The API key: visible ASCII, fit for a header. See [`Settings::require_api_key`].
    pub api_key: Option<SecretString>,
    /// How requests reach it.
    pub proxy: Proxy,
    /// Whether requests are worded as in Unipile's guide instead of its SDKs.
    pub guide_dialect: bool,
    /// Longest wait for a connection.
    pub connect_timeout: Duration,
    /// Longest wait for a whole answer.
    pub request_timeout: Duration,
    /// Requests a second, all accounts together.
    pub requests_per_second: NonZeroU32,
    /// Requests that may go at once after a quiet time.
    pub burst: NonZeroU32,
    /// Requests a second of one account.
    pub account_requests_per_second: NonZeroU32,
}

/// `[limits]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitSettings {
    /// Longest text of a message, in characters.
    pub text_chars: usize,
    /// Longest sum of the files of one message, in bytes after decoding.
    pub attachment_bytes: usize,
}

/// `[attachments]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachmentSettings {
    /// Folders from which files may be named by path; none: no path is taken.
    pub roots: Vec<PathBuf>,
}

/// `[accounts]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountSettings {
    /// Whether only accounts that the file names are taken.
    pub known_only: bool,
    /// How old what is known of an account may become before it is read again.
    pub refresh: Duration,
}

/// `[engine]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineSettings {
    /// How long calls under way may take to finish on a stop.
    pub shutdown_grace: Duration,
    /// What was due longer ago than this at a start waits for a person; `None` sends it in its turn.
    pub stale_after: Option<Duration>,
    /// Seed of the random gaps; `None` draws one at each start.
    pub seed: Option<u64>,
}

/// `[log]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    /// A filter as `tracing_subscriber::EnvFilter` takes it, such as `info,outboxd::engine=debug`.
    pub level: String,
    /// How lines look and where they go.
    pub format: LogFormat,
}

/// How lines look and where they go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Human on a terminal, journald under systemd, otherwise JSON.
    Auto,
    /// Short lines on standard error.
    Human,
    /// One JSON object a line on standard error.
    Json,
    /// Fields in the system's journal.
    Journald,
}

impl LogFormat {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Auto, Self::Human, Self::Json, Self::Journald];

    /// The word that the file uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Human => "human",
            Self::Json => "json",
            Self::Journald => "journald",
        }
    }
}

/// Settings, and what an operator may want to know about them.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// What was read.
    pub sources: Sources,
    effective: String,
    warnings: Vec<String>,
    values: changes::Values,
}

/// What the settings were read from, beside the built-in defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sources {
    /// The file, as it was named.
    pub file: Option<PathBuf>,
    /// The environment variables that set a key, sorted.
    pub variables: Vec<String>,
}

impl Loaded {
    /// The configuration in force as TOML, each key with the place that set it; the API key is only `"<set>"`.
    pub fn effective_toml(&self) -> &str {
        &self.effective
    }

    /// How many accounts that send all the time the rate of requests carries, in one sentence.
    pub fn carries(&self) -> String {
        carries::sentence(&self.settings)
    }

    /// What is allowed but an operator should know; to be logged at the start.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

impl Settings {
    /// Reads `file` if one is given (see [`find_file`]) and the variables of `env` (see [`environment`]).
    ///
    /// # Errors
    /// All that is wrong with them, at once.
    pub fn load(
        file: Option<&Path>,
        env: impl Iterator<Item = (String, String)>,
    ) -> Result<Loaded, ConfigError> {
        let mut credentials = None;
        let (mut variables, mut proxies) = (Vec::new(), Vec::new());
        for (name, value) in env {
            if name == secret::CREDENTIALS {
                credentials = Some(value);
            } else if Proxy::is_variable(&name) {
                proxies.push((name, value));
            } else if Keys::claims(&name) {
                variables.push((name, value));
            }
        }
        variables.sort();
        let keys = Keys::built_in();
        let mut problems = Vec::new();
        let Some(layers) = layers::read(&keys, file, &variables, &mut problems) else {
            return Err(ConfigError { problems });
        };
        let mut reader = Reader { layers: &layers, problems };
        let api_key = secret::read(&mut reader, credentials.as_deref());
        let settings = Self::read(&mut reader, api_key.secret.clone(), &proxies);
        if !reader.problems.is_empty() {
            return Err(ConfigError { problems: reader.problems });
        }
        Ok(Loaded {
            effective: effective::render(&keys, &layers, &api_key),
            warnings: effective::warnings(&settings, &layers, file),
            values: changes::values(&layers),
            settings,
            sources: Sources {
                file: file.map(Path::to_owned),
                variables: variables.into_iter().map(|(name, _)| name).collect(),
            },
        })
    }

    fn read(reader: &mut Reader<'_>, api_key: Option<SecretString>, proxies: &[(String, String)]) -> Self {
        let base_url = reader.base_url("unipile.base_url");
        Self {
            store: StoreSettings {
                path: reader.database("store.path"),
                readers: reader.count(reader.leaf("store.readers"), 1..=64),
                backup_folder: Some(reader.text(reader.leaf("store.backup_folder")).unwrap_or_default())
                    .filter(|folder| !folder.is_empty())
                    .map(PathBuf::from),
            },
            api: ApiSettings {
                socket: reader.socket("api.socket"),
                socket_mode: reader.mode("api.socket_mode"),
                body_bytes: reader.size("api.body_bytes", 1024..=1 << 30),
                batch_rows: reader.size("api.batch_rows", 1..=10_000),
                atomic_rows: reader.size("api.atomic_rows", 1..=50_000),
            },
            unipile: UnipileSettings {
                proxy: Proxy::of(proxies, &base_url),
                base_url,
                guide_dialect: reader.guide_dialect("unipile.dialect"),
                api_key,
                connect_timeout: reader.timeout("unipile.connect_timeout"),
                request_timeout: reader.timeout("unipile.request_timeout"),
                requests_per_second: reader.rate("unipile.requests_per_second", 100_000),
                burst: reader.rate("unipile.burst", 100_000),
                account_requests_per_second: reader.rate("unipile.account_requests_per_second", 100_000),
            },
            limits: LimitSettings {
                text_chars: reader.size("limits.text_chars", 1..=1_000_000),
                attachment_bytes: reader.size("limits.attachment_bytes", 1..=1 << 30),
            },
            attachments: AttachmentSettings { roots: reader.folders("attachments.roots") },
            accounts: AccountSettings {
                known_only: reader.flag(reader.leaf("accounts.known_only")),
                refresh: reader.timeout("accounts.refresh"),
            },
            policies: policies::read(reader),
            engine: EngineSettings {
                shutdown_grace: reader.timeout("engine.shutdown_grace"),
                stale_after: reader
                    .duration(reader.leaf("engine.stale_after"))
                    .filter(|limit| !limit.is_zero()),
                seed: reader.seed("engine.seed"),
            },
            log: LogSettings {
                level: reader.log_level("log.level"),
                format: reader.log_format("log.format"),
            },
            policy_book: PolicyBook::new(reader.layers),
        }
    }

    /// The API key, for whoever cannot work without it.
    ///
    /// # Errors
    /// There is none; the error lists the three ways to give it.
    pub fn require_api_key(&self) -> Result<SecretString, ConfigError> {
        self.unipile.api_key.clone().ok_or_else(secret::missing)
    }

    /// Refuses a proxy that would not be used.
    ///
    /// # Errors
    /// The variable that names it, and what to write instead.
    pub fn require_usable_proxy(&self) -> Result<(), ConfigError> {
        self.unipile.proxy.require()
    }

    /// The limits that every door applies.
    pub fn rules(&self) -> ValidationLimits {
        let known = || self.policies.accounts.keys().cloned().collect::<HashSet<_>>();
        ValidationLimits {
            max_text_chars: self.limits.text_chars,
            known_accounts: self.accounts.known_only.then(known),
        }
    }
}

/// The file to use when none is given: `./outboxd.toml`, else `/etc/outboxd/outboxd.toml`, else none.
///
/// One that exists and cannot be read is answered too, so that loading says so instead of passing it over.
pub fn find_file() -> Option<PathBuf> {
    let places = ["./outboxd.toml", "/etc/outboxd/outboxd.toml"];
    places.into_iter().map(PathBuf::from).find(|path| path.try_exists().unwrap_or(true))
}

/// The environment of this process. What is not Unicode is kept with replacement characters, so that a variable of
/// ours is refused by its key and not passed over.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
}
