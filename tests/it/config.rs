//! The configuration as an operator sees it: the sources of each value, what is shown of it, and where the key comes
//! from (P8). `config_refusals.rs` tests the mistakes.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use outboxd::config::{ConfigError, Loaded, LogFormat, Settings};
use outboxd::domain::message::AccountId;
use outboxd::domain::policy::Shape;
use secrecy::ExposeSecret;
use tempfile::TempDir;

const BUILT_IN: &str = include_str!("../../config/outboxd.toml");
const KEY: &str = "k3y-NOBODY-may-see";

/// Creates a folder with an `outboxd.toml` of this text, readable by its owner only.
pub(crate) fn folder(text: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("outboxd.toml");
    std::fs::write(&file, text).unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
    (folder, file)
}

pub(crate) fn load_file(file: &Path, env: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    Settings::load(Some(file), env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
}

pub(crate) fn load(text: &str, env: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    let (_folder, file) = folder(text);
    load_file(&file, env)
}

pub(crate) fn defaults() -> Loaded {
    Settings::load(None, std::iter::empty()).unwrap()
}

/// Returns path, environment variable and default (as text) of every key of the built-in file.
pub(crate) fn every_key() -> Vec<(String, String, String)> {
    fn collect(table: &toml::Table, path: &str, keys: &mut Vec<(String, String, String)>) {
        for (name, value) in table {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            let variable = format!("OUTBOXD_{}", path.replace('.', "_").to_uppercase());
            match value {
                toml::Value::Table(table) => collect(table, &path, keys),
                toml::Value::String(text) => keys.push((path, variable, text.clone())),
                other => keys.push((path, variable, other.to_string())),
            }
        }
    }
    let mut keys = Vec::new();
    collect(&BUILT_IN.parse().unwrap(), "", &mut keys);
    keys
}

/// Returns all settings but the key, as text to compare two loads by.
pub(crate) fn shown(settings: &Settings) -> String {
    let mut settings = settings.clone();
    settings.unipile.api_key = None;
    let mut accounts: Vec<_> = settings.policies.accounts.drain().collect();
    accounts.sort_by(|one, other| one.0.cmp(&other.0));
    format!("{settings:?} {accounts:?}")
}

#[test]
#[allow(clippy::too_many_lines, reason = "a line for each key")]
fn the_built_in_file_holds_the_defaults() {
    let Settings {
        store,
        api,
        unipile,
        poll,
        webhooks,
        metrics_listen,
        traces_endpoint,
        limits,
        attachments,
        accounts,
        dashboard_bodies,
        resolve_people,
        hashed_suppressions,
        policies,
        engine,
        retention,
        log,
        hooks,
        policy_book: _,
    } = defaults().settings;
    assert_eq!((store.path, store.readers), (PathBuf::from("outboxd.db"), 2));
    assert_eq!((api.socket, api.socket_mode), (PathBuf::from("outboxd.sock"), 0o660));
    assert_eq!((api.body_bytes, api.batch_rows, api.atomic_rows), (32 << 20, 1000, 10_000));
    assert_eq!(unipile.base_url, "https://api.unipile.com");
    assert_eq!(
        [unipile.api_key.is_some(), resolve_people, hashed_suppressions, dashboard_bodies],
        [false; 4]
    );
    assert_eq!((unipile.connect_timeout.as_secs(), unipile.request_timeout.as_secs()), (10, 90));
    assert_eq!((unipile.requests_per_second.get(), unipile.burst.get()), (100, 20));
    assert_eq!((unipile.account_requests_per_second.get(), poll), (2, Some(Duration::from_secs(1800))));
    assert_eq!((webhooks.listen, webhooks.secrets.len(), webhooks.tolerance.as_secs()), (None, 0, 300));
    assert_eq!((webhooks.body_bytes, webhooks.connections), (1 << 20, 64));
    assert_eq!((limits.text_chars, limits.attachment_bytes), (8000, 20 << 20));
    assert_eq!((metrics_listen, traces_endpoint), (None, None));
    assert_eq!((accounts.known_only, accounts.refresh.as_secs(), hooks.len()), (false, 21_600, 0));
    assert_eq!((attachments.roots.len(), engine.shutdown_grace.as_secs(), engine.seed), (0, 30, None));
    let kept = [retention.bodies, retention.files, retention.events];
    assert_eq!(kept.map(|kept| kept.map_or(0, |kept| kept.as_secs() / 86_400)), [90; 3]);
    assert_eq!((log.level.as_str(), log.format), ("info", LogFormat::Auto));

    let policy = policies.default;
    assert_eq!((policy.gap.min.as_secs(), policy.gap.max.as_secs()), (10, 20));
    let typing = &policy.typing;
    let milliseconds = [typing.base, typing.per_char_min, typing.per_char_max, typing.min, typing.max];
    assert_eq!(milliseconds.map(|time| time.as_millis()), [1500, 170, 290, 2000, 12_000]);
    assert_eq!((typing.enabled, policies.accounts.len()), (true, 0));
    let retry = policy.retry;
    assert_eq!((retry.max_retries, retry.factor), (4, 4));
    assert_eq!([retry.base, retry.max].map(|time| time.as_secs()), [60, 3600]);
    assert_eq!(policy.inbox_id.as_ref().unwrap().as_str(), "CLASSIC_PRIMARY");
    let caps: Vec<String> = policy.caps.list.iter().map(ToString::to_string).collect();
    assert_eq!(caps, ["caps.all 100/24h", "caps.all 400/7d", "caps.new_chat 40/24h", "caps.inmail 25/24h"]);
    let profile: Vec<(u32, &str)> =
        policy.caps.profile.iter().map(|cap| (cap.most, cap.window.as_str())).collect();
    assert_eq!(profile, [(80, "24h")]);
    assert_eq!((policy.caps.jitter_percent, &policy.calendar, &policy.warm_up), (0, &None, &None));
    assert_eq!(
        (policy.rhythm.shape, policy.rhythm.spread, policy.rhythm.breaks),
        (Shape::Uniform, false, None)
    );
    let cooldown = policy.cooldown;
    let times =
        [cooldown.first, cooldown.max, cooldown.person_within, cooldown.half_caps, cooldown.failures_pause];
    assert_eq!(times.map(|time| time.as_secs() / 3600), [24, 168, 168, 72, 24]);
    assert_eq!((cooldown.factor, cooldown.failures), (2, 3));
    assert_eq!((policy.order.follow_ups_first, policy.order.per_recipient.as_secs()), (true, 86_400));
    assert_eq!(policy.zone.iana_name(), Some("UTC"));
}

#[test]
fn the_example_in_the_built_in_file_can_be_taken_out_of_its_comment() {
    let (_, after) = BUILT_IN.split_once("An example:\n#\n").unwrap();
    let lines = after.lines().take_while(|line| line.starts_with('#'));
    let example: String = lines.map(|line| format!("{}\n", line.trim_start_matches('#'))).collect();
    let policies = load(&example, &[]).unwrap().settings.policies;
    let own = &policies.accounts[&AccountId::new("acc_01hw3k")];
    assert_eq!((own.gap.min.as_secs(), own.gap.max.as_secs()), (120, 1200));
    assert_eq!((own.typing.enabled, own.zone.iana_name()), (false, Some("Europe/Paris")));
    assert_eq!((own.rhythm.shape, own.rhythm.spread), (Shape::LogNormal, true), "the preset gives the rest");
    let calendar = own.calendar.as_ref().unwrap();
    assert_eq!((calendar.week[0].len(), calendar.week[1].len(), calendar.week[5].len()), (2, 1, 0));
    assert_eq!(own.warm_up.as_ref().unwrap().ramp.len(), 14);
    assert_eq!(own.retry, policies.default.retry);
}

#[test]
fn every_key_can_be_set_by_its_variable() {
    for (key, variable, default) in every_key() {
        let loaded = Settings::load(None, std::iter::once((variable.clone(), default.clone())))
            .unwrap_or_else(|error| panic!("{variable}={default}: {error}"));
        assert_eq!(shown(&loaded.settings), shown(&defaults().settings), "{key}");
        assert_eq!(loaded.sources.variables, std::slice::from_ref(&variable));
        let line = format!("# from {variable}");
        assert_eq!(loaded.effective_toml().matches(&line).count(), 1, "{key}");
    }
}

#[test]
fn the_environment_wins_over_the_file_and_the_file_over_the_defaults() {
    let text = "[store]\npath = \"file.db\"\nreaders = 3\n[policy.default]\ngap = { max = \"40s\" }\n";
    let (_folder, file) = folder(text);
    let loaded =
        load_file(&file, &[("OUTBOXD_STORE_READERS", "4"), ("HOME", "/x"), ("OUTBOXD_CONFIG", "y")]).unwrap();
    let settings = &loaded.settings;
    assert_eq!((settings.store.path.to_str(), settings.store.readers), (Some("file.db"), 4));
    let gap = settings.policies.default.gap;
    assert_eq!((gap.min.as_secs(), gap.max.as_secs()), (10, 40), "a subset keeps the rest of its table");
    assert_eq!(settings.api.batch_rows, 1000);

    let effective = loaded.effective_toml();
    let place = file.display();
    assert!(effective.contains(&format!("path = \"file.db\" # from {place}\n")), "{effective}");
    assert!(effective.contains("readers = 4 # from OUTBOXD_STORE_READERS\n"), "{effective}");
    assert!(effective.contains("batch_rows = 1000\n"), "{effective}");
    assert_eq!(loaded.sources.file.as_deref(), Some(file.as_path()));
    assert_eq!(loaded.sources.variables, ["OUTBOXD_STORE_READERS"]);
}

#[test]
fn an_account_inherits_what_its_table_leaves_out() {
    let text = r#"
        [policy.default]
        gap = { min = "15s", max = "25s" }
        [account."acc_Ab.c d"]
        gap.max = "60s"
        inbox_id = ""
        [account.acc_known]
    "#;
    let loaded = load(text, &[("OUTBOXD_ACCOUNTS_KNOWN_ONLY", "true")]).unwrap();
    let policies = &loaded.settings.policies;
    let own = policies.of(&AccountId::new("acc_Ab.c d"));
    assert_eq!((own.gap.min.as_secs(), own.gap.max.as_secs()), (15, 60));
    assert_eq!(own.inbox_id, None);
    assert_eq!(policies.of(&AccountId::new("acc_known")), &policies.default);

    let known = loaded.settings.rules().known_accounts.unwrap();
    assert_eq!(known, ["acc_Ab.c d", "acc_known"].map(AccountId::new).into());
    assert_eq!(loaded.settings.rules().max_text_chars, 8000);
    assert_eq!(defaults().settings.rules().known_accounts, None);
}

#[test]
fn the_effective_configuration_loads_to_the_same_settings() {
    let text = r#"
        [unipile]
        api_key = "k3y-NOBODY-may-see"
        [log]
        level = "info,outboxd::engine=debug"
        [policy]
        allow_gap_below_10s = true
        [policy.default]
        gap.min = "1m 30s"
        gap.max = "2m"
        [account."acc_1"]
        gap = { min = "0s", max = "1s" }
        zone = "America/New_York"
        hours.monday = "09:00-18:00"
        [account."acc_calm"]
        preset = "calm"
        [account."acc_\"quoted\" \\ and ü"]
    "#;
    let before = load(text, &[("OUTBOXD_STORE_PATH", "with \"quotes\" # and\\slashes.db")]).unwrap();
    let effective = before.effective_toml();
    assert!(effective.contains("api_key = \"<set>\" # from "), "{effective}");
    let without_key: String = effective
        .lines()
        .filter(|line| !line.starts_with("api_key = "))
        .map(|line| format!("{line}\n"))
        .collect();
    let after = load(&without_key, &[]).unwrap();
    assert_eq!(shown(&before.settings), shown(&after.settings));
    assert_ne!(shown(&before.settings), shown(&defaults().settings));

    let (built_in, printed) = (every_key(), effective.parse::<toml::Table>().unwrap());
    for (key, ..) in built_in {
        let found = key
            .split('.')
            .try_fold(&toml::Value::Table(printed.clone()), |value, name| value.get(name))
            .cloned();
        assert!(found.is_some(), "{key} is not printed");
    }
    let error = load(effective, &[]).unwrap_err().to_string();
    assert!(error.starts_with("unipile.api_key in "), "the mark is not a key: {error}");
}

#[test]
fn a_short_gap_needs_consent_and_is_warned_of() {
    let text = "[policy.default]\ngap = { min = \"0s\", max = \"1s\" }\n[account.acc_1]\ngap.max = \"2s\"";
    assert!(load(text, &[]).is_err());
    let loaded = load(text, &[("OUTBOXD_POLICY_ALLOW_GAP_BELOW_10S", "true")]).unwrap();
    assert_eq!(loaded.settings.policies.default.gap.max, Duration::from_secs(1));
    let short: Vec<_> = loaded.warnings().iter().filter(|warning| warning.contains("below 10s")).collect();
    assert!(
        short[0].starts_with("account.\"acc_1\".gap.min") && short[1].starts_with("policy.default.gap.min"),
        "{short:?}"
    );
}

#[test]
fn warnings_tell_what_is_allowed_but_unwise() {
    let key = ("OUTBOXD_UNIPILE_API_KEY", KEY);
    assert_eq!(load("", &[key]).unwrap().warnings(), [""; 0], "nothing to say about the defaults with a key");
    let cases = [
        (
            "OUTBOXD_UNIPILE_BASE_URL",
            "https://unipile.com.example.org",
            "go to https://unipile.com.example.org",
        ),
        ("OUTBOXD_UNIPILE_REQUESTS_PER_SECOND", "5000", "unipile.requests_per_second is 5000"),
        ("OUTBOXD_UNIPILE_ACCOUNT_REQUESTS_PER_SECOND", "50", "unipile.account_requests_per_second is 50"),
        ("OUTBOXD_INBOUND_POLL", "1s", "inbound.poll is shorter than 15m"),
        ("OUTBOXD_API_SOCKET_MODE", "0666", "api.socket_mode 0666 lets every user"),
        ("OUTBOXD_ACCOUNTS_KNOWN_ONLY", "true", "every message will be refused"),
        (
            "OUTBOXD_POLICY_DEFAULT_REPLY_OPT_OUT_TEXTS",
            "stop",
            "policy.default.reply.opt_out_texts is too wide: it finds \"I can't stop thinking about your offer!\"",
        ),
        (
            "OUTBOXD_POLICY_DEFAULT_REPLY_OUT_OF_OFFICE_TEXTS",
            "urlaub",
            "does not stop the messages to the person",
        ),
        ("OUTBOXD_POLICY_DEFAULT_REPLY_ANSWER_TEXTS", ".", "people who write this are written to again"),
    ];
    for (variable, value, expected) in cases {
        let loaded = load("", &[key, (variable, value)]).unwrap();
        assert_eq!(loaded.warnings().len(), 1, "{variable}: {:?}", loaded.warnings());
        assert!(loaded.warnings()[0].contains(expected), "{variable}: {:?}", loaded.warnings());
    }
    let named = load("[account.acc_1]", &[key, ("OUTBOXD_ACCOUNTS_KNOWN_ONLY", "true")]).unwrap();
    assert_eq!(named.warnings(), [""; 0]);
}

#[test]
fn a_key_in_a_file_that_others_may_read_is_warned_of() {
    let (_folder, file) = folder(&format!("[unipile]\napi_key = \"{KEY}\""));
    let warnings = |mode: u32, env: &[(&str, &str)]| {
        std::fs::set_permissions(&file, PermissionsExt::from_mode(mode)).unwrap();
        load_file(&file, env).unwrap().warnings().to_vec()
    };
    assert_eq!(warnings(0o600, &[]), [""; 0]);
    assert!(warnings(0o640, &[])[0].contains("which others may read (mode 0640)"));
    assert_eq!(
        warnings(0o644, &[("OUTBOXD_UNIPILE_API_KEY", "other")]),
        [""; 0],
        "the file's key is not in use"
    );
}

#[test]
fn the_key_comes_from_the_configuration_a_file_or_a_credential() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("unipile_api_key");
    std::fs::write(&secret, format!("  {KEY}\n")).unwrap();
    let (secret, credentials) = (secret.to_str().unwrap(), folder.path().to_str().unwrap());
    let key = |env: &[(&str, &str)]| {
        let loaded = load("", env).unwrap();
        loaded.settings.require_api_key().map(|key| key.expose_secret().to_owned())
    };
    assert_eq!(key(&[("OUTBOXD_UNIPILE_API_KEY", &format!(" {KEY}\n"))]).unwrap(), KEY);
    assert_eq!(key(&[("OUTBOXD_UNIPILE_API_KEY_FILE", secret)]).unwrap(), KEY);
    assert_eq!(key(&[("CREDENTIALS_DIRECTORY", credentials)]).unwrap(), KEY);
    assert_eq!(
        key(&[("CREDENTIALS_DIRECTORY", credentials), ("OUTBOXD_UNIPILE_API_KEY", "mine")]).unwrap(),
        "mine"
    );
    let error = key(&[("CREDENTIALS_DIRECTORY", "/no/such")]).unwrap_err().to_string();
    for way in ["OUTBOXD_UNIPILE_API_KEY", "unipile.api_key_file", "systemd credential unipile_api_key"] {
        assert!(error.contains(way), "{error}");
    }

    let loaded = load("", &[("CREDENTIALS_DIRECTORY", credentials)]).unwrap();
    assert!(loaded.effective_toml().contains(&format!("api_key = \"\" # the key is in {secret}\n")));
    for (bad, expected) in
        [(" \n", "is empty"), ("two\nlines", "holds a line end"), ("<set>", "is the placeholder of a key")]
    {
        std::fs::write(secret, bad).unwrap();
        let by_file = load("", &[("OUTBOXD_UNIPILE_API_KEY_FILE", secret)]).unwrap_err().to_string();
        let from =
            format!("unipile.api_key_file in OUTBOXD_UNIPILE_API_KEY_FILE: the key in {secret} {expected}");
        assert!(by_file.starts_with(&from), "{by_file}");
        let by_credential = load("", &[("CREDENTIALS_DIRECTORY", credentials)]).unwrap_err().to_string();
        let from = format!("unipile.api_key in the systemd credential {secret}: the key {expected}");
        assert!(by_credential.starts_with(&from), "{by_credential}");
    }
}

#[test]
fn the_key_is_never_shown() {
    let file = format!("[unipile]\napi_key = \"{KEY}\"\n");
    let loaded = load(&file, &[]).unwrap();
    assert_eq!(loaded.settings.require_api_key().unwrap().expose_secret(), KEY);
    let shown =
        [format!("{loaded:?}"), format!("{:#?}", loaded.settings), loaded.effective_toml().to_owned()];
    assert!(shown.iter().all(|text| !text.contains(KEY)), "{shown:?}");
    assert!(loaded.warnings().iter().all(|warning| !warning.contains(KEY)));

    let broken = [
        format!("[unipile]\napi_key = \"{KEY}\nburst = 1"),
        format!("[unipile]\napi_key = {KEY}"),
        format!("[unipile]\napi_key = [\"{KEY}\"]"),
        format!("[unipile]\napi_key = \"{KEY}\\n{KEY}\""),
        format!("{file}api_key_file = \"/x\""),
        format!("{file}burst = 0"),
        format!("{file}api_key = \"{KEY}\""),
        format!("[unipile]\nbase_url = \"https://user:{KEY}@host\""),
        format!("[unipile]\napi_key = \"{KEY}\" {KEY}"),
    ];
    for text in broken {
        let error = load(&text, &[]).expect_err(&text);
        assert!(!error.to_string().contains(KEY) && !format!("{error:?}").contains(KEY), "{text}\n{error}");
    }
    let two_lines = format!("{KEY}\n{KEY}");
    let error = load("", &[("OUTBOXD_UNIPILE_API_KEY", &two_lines)]).unwrap_err();
    assert!(!format!("{error} {error:?}").contains(KEY), "{error}");
}
