//! The configuration: built-in defaults < file < environment, read at the start and again on SIGHUP.
//!
//! `cli` loads it and hands each part to the module that needs it. Nothing is guessed: an unknown key, a wrong type
//! or an invalid value prevents the start, and all problems are reported at once, each with its key, its place and
//! the fix (P7). Keys and defaults are defined only in `config/outboxd.toml`, which is compiled in. The module reads
//! no clock, and the caller passes the environment in ([`environment`]), so that a test can load anything. It depends
//! only on `domain`.

mod api;
mod carries;
mod changes;
mod effective;
mod keys;
mod layers;
mod limits;
mod log_format;
mod outbound;
mod policies;
mod presets;
mod problem;
mod proxy;
mod read;
mod retention;
mod secret;
mod webhooks;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::SecretString;

use crate::domain::message::RepeatScope;
use crate::domain::placeholders::Placeholders;
use crate::domain::policy::Policies;
use crate::domain::token::Token;
use crate::domain::validate::ValidationLimits;
use keys::Keys;
use read::Reader;

pub use api::{ApiSettings, find_socket};
pub use changes::Change;
pub use log_format::{LogFormat, LogSettings};
pub use outbound::{HookSettings, HookTarget};
pub use policies::PolicyBook;
pub use problem::{ConfigError, Problem};
pub use proxy::Proxy;
pub use retention::RetentionSettings;
pub(crate) use secret::OTHERS_MAY_READ;
pub use webhooks::WebhookSettings;

/// All settings. `Debug` shows that there are secrets, but never the secrets.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `[store]`: the database.
    pub store: StoreSettings,
    /// `[api]`: the socket.
    pub api: ApiSettings,
    /// `[unipile]`: the API that sends the messages.
    pub unipile: UnipileSettings,
    /// `[inbound]`: how often chats are read for answers and receipts; `None`: never.
    pub poll: Option<Duration>,
    /// `[webhooks]`: what Unipile reports.
    pub webhooks: WebhookSettings,
    /// `[metrics]`: where to serve metrics besides the socket; `None`: nowhere.
    pub metrics_listen: Option<SocketAddr>,
    /// `[traces]`: the collector of traces; `None`: none are exported.
    pub traces_endpoint: Option<String>,
    /// `[outbound]`: who receives events.
    pub hooks: Vec<HookSettings>,
    /// `[limits]`: maximum sizes of a message.
    pub limits: LimitSettings,
    /// `[attachments]`: which files may be given by path.
    pub attachments: AttachmentSettings,
    /// `[accounts]`: which accounts may send.
    pub accounts: AccountSettings,
    /// `[dashboard]`: whether its pages may show the texts of messages.
    pub dashboard_bodies: bool,
    /// `[people]`: whether a message may name a person by the address of the profile.
    pub resolve_people: bool,
    /// `[suppression]`: whether suppressions are kept as hashes.
    pub hashed_suppressions: bool,
    /// `[policy.default]` and every `[account."acc_…"]`, resolved.
    pub policies: Policies,
    /// `[engine]`: sending, starting and stopping.
    pub engine: EngineSettings,
    /// `[retention]`: how long finished messages keep their texts, files and events.
    pub retention: RetentionSettings,
    /// `[log]`: level and format of the log.
    pub log: LogSettings,
    /// Computes an account's policy when its rules are changed while the daemon runs.
    pub policy_book: PolicyBook,
}

/// `[store]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreSettings {
    /// Path of the database; relative to the working directory.
    pub path: PathBuf,
    /// Number of read connections, in addition to the one that writes; at least 1.
    pub readers: u32,
    /// Folder of the backups; `None`: the folder `backups` next to the queue.
    pub backup_folder: Option<PathBuf>,
}

/// `[unipile]`.
#[derive(Debug, Clone)]
pub struct UnipileSettings {
    /// URL of the API without `/v2` and without a trailing slash; https, or http on this machine.
    pub base_url: String,
    /// API key: visible ASCII, valid in a header. See [`Settings::require_api_key`].
    pub api_key: Option<SecretString>,
    /// Proxy for requests to the API.
    pub proxy: Proxy,
    /// File with certificates to trust in addition to those of the system, in PEM.
    pub ca_file: Option<PathBuf>,
    /// Whether requests use the form of Unipile's guide instead of its SDKs.
    pub guide_dialect: bool,
    /// Connect timeout.
    pub connect_timeout: Duration,
    /// Timeout of a request, including its complete answer.
    pub request_timeout: Duration,
    /// Requests per second, all accounts together.
    pub requests_per_second: NonZeroU32,
    /// Number of requests that may go at once after an idle period.
    pub burst: NonZeroU32,
    /// Requests per second of one account.
    pub account_requests_per_second: NonZeroU32,
}

/// `[limits]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitSettings {
    /// Maximum length of a text, in characters.
    pub text_chars: usize,
    /// What counts as an unfilled placeholder in a text.
    pub placeholders: Placeholders,
    /// Maximum total size of the files of one message, in bytes after decoding.
    pub attachment_bytes: usize,
    /// To which messages a text that starts a chat is compared.
    pub repeats: RepeatScope,
}

/// `[attachments]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachmentSettings {
    /// Folders from which files may be given by path; none: paths are refused.
    pub roots: Vec<PathBuf>,
}

/// `[accounts]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountSettings {
    /// Whether only accounts named in the file are accepted.
    pub known_only: bool,
    /// Maximum age of an account's snapshot before it is read again.
    pub refresh: Duration,
}

/// `[engine]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineSettings {
    /// How long calls in flight may take to finish when the daemon stops.
    pub shutdown_grace: Duration,
    /// Messages that were due longer ago than this at a start wait for a person; `None` sends them in their turn.
    pub stale_after: Option<Duration>,
    /// Seed of the random gaps; `None` draws one at each start.
    pub seed: Option<u64>,
}

/// Settings, and what an operator needs to know about them.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The validated settings.
    pub settings: Settings,
    /// Where the settings come from.
    pub sources: Sources,
    effective: String,
    warnings: Vec<String>,
    values: changes::Values,
}

/// Where the settings come from, in addition to the built-in defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sources {
    /// The file, under the name that was given.
    pub file: Option<PathBuf>,
    /// The environment variables that set a key, sorted.
    pub variables: Vec<String>,
}

impl Loaded {
    /// Returns the effective configuration as TOML, each key with the place that set it; a secret appears as
    /// `"<set>"`.
    pub fn effective_toml(&self) -> &str {
        &self.effective
    }

    /// Returns one sentence with the number of accounts that can send continuously at the configured request rate.
    pub fn carries(&self) -> String {
        carries::sentence(&self.settings)
    }

    /// Returns warnings about allowed but risky settings, to be logged at the start.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

impl Settings {
    /// Reads `file` if one is given (see [`find_file`]) and the variables of `env` (see [`environment`]).
    ///
    /// # Errors
    /// Returns every problem at once.
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
        let Some(mut layers) = layers::read(&keys, file, &variables, &mut problems) else {
            return Err(ConfigError { problems });
        };
        presets::expand(&mut layers);
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
        let mut settings = Self {
            store: StoreSettings {
                path: reader.database("store.path"),
                readers: reader.count(reader.leaf("store.readers"), 1..=64),
                backup_folder: reader.optional_path("store.backup_folder"),
            },
            api: api::read(reader),
            unipile: UnipileSettings {
                proxy: Proxy::of(proxies, &base_url),
                ca_file: reader.optional_path("unipile.ca_file"),
                base_url,
                guide_dialect: reader.guide_dialect("unipile.dialect"),
                api_key,
                connect_timeout: reader.timeout("unipile.connect_timeout"),
                request_timeout: reader.timeout("unipile.request_timeout"),
                requests_per_second: reader.rate("unipile.requests_per_second", 100_000),
                burst: reader.rate("unipile.burst", 100_000),
                account_requests_per_second: reader.rate("unipile.account_requests_per_second", 100_000),
            },
            poll: reader.poll("inbound.poll"),
            webhooks: webhooks::read(reader),
            metrics_listen: reader.listen("metrics.listen", "127.0.0.1:9187"),
            traces_endpoint: reader.optional_base_url("traces.endpoint"),
            hooks: outbound::read(reader),
            limits: LimitSettings {
                text_chars: reader.size("limits.text_chars", 1..=1_000_000),
                placeholders: limits::placeholders(reader),
                attachment_bytes: reader.size("limits.attachment_bytes", 1..=1 << 30),
                repeats: limits::repeats(reader),
            },
            attachments: AttachmentSettings { roots: reader.folders("attachments.roots") },
            accounts: AccountSettings {
                known_only: reader.flag(reader.leaf("accounts.known_only")),
                refresh: reader.timeout("accounts.refresh"),
            },
            dashboard_bodies: reader.flag(reader.leaf("dashboard.bodies")),
            resolve_people: reader.flag(reader.leaf("people.resolve")),
            hashed_suppressions: reader.flag(reader.leaf("suppression.hashed")),
            policies: policies::read(reader),
            retention: RetentionSettings::default(),
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
        };
        settings.retention = retention::read(reader, &settings.policies);
        settings
    }

    /// Returns the API key, for callers that cannot work without it.
    ///
    /// # Errors
    /// Returns an error that lists the three ways to set the key if there is none.
    pub fn require_api_key(&self) -> Result<SecretString, ConfigError> {
        self.unipile.api_key.clone().ok_or_else(secret::missing)
    }

    /// Refuses a listener for webhooks that could verify none.
    ///
    /// # Errors
    /// Returns an error that lists the ways to set a secret, if there is an address to listen on and no secret.
    pub fn require_webhook_secret(&self) -> Result<(), ConfigError> {
        webhooks::require(&self.webhooks)
    }

    /// Reads the certificates of `unipile.ca_file`, as PEM; none without a file.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read or holds no certificate.
    pub fn require_ca(&self) -> Result<Vec<u8>, ConfigError> {
        secret::ca(self.unipile.ca_file.as_deref())
    }

    /// Reads the tokens for the API on TCP; without an address for it there are none.
    ///
    /// # Errors
    /// Returns an error if there is an address and no usable file of tokens, or if other users may read the file.
    pub fn require_tokens(&self) -> Result<Vec<Token>, ConfigError> {
        self.api.tokens()
    }

    /// Refuses a proxy setting that the HTTP client would ignore.
    ///
    /// # Errors
    /// Returns the variable that sets it, and what to write instead.
    pub fn require_usable_proxy(&self) -> Result<(), ConfigError> {
        self.unipile.proxy.require()
    }

    /// Returns the limits of the validation, which are the same for HTTP, SQL and the command line.
    pub fn rules(&self) -> ValidationLimits {
        let known = || self.policies.accounts.keys().cloned().collect::<HashSet<_>>();
        ValidationLimits {
            max_text_chars: self.limits.text_chars,
            known_accounts: self.accounts.known_only.then(known),
            placeholders: self.limits.placeholders.clone(),
            resolve_people: self.resolve_people,
        }
    }
}

/// Returns the default file: `./outboxd.toml`, else `/etc/outboxd/outboxd.toml`, else none.
///
/// Returns a file that exists but cannot be read as well, so that loading it reports the error.
pub fn find_file() -> Option<PathBuf> {
    let places = ["./outboxd.toml", "/etc/outboxd/outboxd.toml"];
    places.into_iter().map(PathBuf::from).find(|path| path.try_exists().unwrap_or(true))
}

/// Returns the environment of this process. Values that are not Unicode get replacement characters, so that such a
/// variable is refused under its key instead of being skipped.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
}
