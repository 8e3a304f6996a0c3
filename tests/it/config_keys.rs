//! Every key of the configuration changes a setting of its own.
#![allow(clippy::unwrap_used, reason = "a test may")]

use outboxd::config::Settings;

use crate::config::{defaults, every_key, shown};

/// For each key a value that is not its default, and what the settings then show.
const OTHERS: &[(&str, &str, &str)] = &[
    ("accounts.known_only", "true", "known_only: true"),
    ("accounts.refresh", "77s", "refresh: 77s"),
    ("api.atomic_rows", "77", "atomic_rows: 77"),
    ("api.batch_rows", "77", "batch_rows: 77"),
    ("api.body_bytes", "7777", "body_bytes: 7777"),
    ("api.listen", "127.0.0.1:7778", "listen: Some(127.0.0.1:7778)"),
    ("api.read_only_socket", "reads.sock", "read_only_socket: Some(\"reads.sock\")"),
    ("api.read_only_socket_mode", "0606", "read_only_socket_mode: 390"),
    ("api.tokens_file", "/tokens", "tokens_file: Some(\"/tokens\")"),
    ("api.socket", "other.sock", "socket: \"other.sock\""),
    ("api.socket_mode", "0600", "socket_mode: 384"),
    ("dashboard.bodies", "true", "dashboard_bodies: true"),
    ("engine.seed", "77", "seed: Some(77)"),
    ("engine.stale_after", "77s", "stale_after: Some(77s)"),
    ("engine.shutdown_grace", "77s", "shutdown_grace: 77s"),
    ("inbound.keep_bodies", "true", "keep_bodies: true"),
    ("inbound.poll", "77s", "poll: Some(77s)"),
    ("limits.placeholders", "<<<x>>>", "more: Some(Regex(\"<<<x>>>\"))"),
    ("limits.placeholders_meant", "^x$", "meant: Some(Regex(\"^x$\"))"),
    ("limits.repeats", "person", "repeats: Person"),
    ("limits.text_chars", "77", "text_chars: 77"),
    ("log.format", "json", "format: Json"),
    ("webhooks.events", "message.new", "events: [\"message.new\"]"),
    ("retention.bodies", "30d", "bodies: Some(2592000s)"),
    ("retention.files", "40d", "files: Some(3456000s)"),
    ("retention.events", "50d", "events: Some(4320000s)"),
    ("log.level", "debug", "level: \"debug\""),
    ("policy.default.breaks.after", "7-9", "Breaks { after_min: 7, after_max: 9, min: 300s, max: 900s }"),
    ("policy.default.caps.all", "77/24h, 5/hour", "most: 77 }"),
    ("policy.default.caps.forward", "7/24h", "kind: Some(Forward), window: Hours24, most: 7"),
    ("policy.default.caps.inmail", "7/24h", "kind: Some(InMail), window: Hours24, most: 7"),
    ("policy.default.caps.jitter_percent", "7", "jitter_percent: 7"),
    ("policy.default.caps.message", "7/7d", "kind: Some(Message), window: Days7, most: 7"),
    ("policy.default.caps.new_chat", "7/24h", "kind: Some(NewChat), window: Hours24, most: 7"),
    ("policy.default.cooldown.factor", "7", "factor: 7, max: 604800s"),
    ("policy.default.cooldown.failures", "7", "failures: 7"),
    ("policy.default.cooldown.failures_pause", "77m", "failures_pause: 4620s"),
    ("policy.default.cooldown.first", "77m", "first: 4620s"),
    ("policy.default.cooldown.half_caps", "77m", "half_caps: 4620s"),
    ("policy.default.cooldown.max", "777h", "max: 2797200s"),
    ("policy.default.cooldown.person_within", "77m", "person_within: 4620s"),
    ("policy.default.gap.shape", "log-normal", "shape: LogNormal"),
    ("policy.default.gap.spread", "true", "spread: true"),
    ("policy.default.order.follow_ups_first", "false", "follow_ups_first: false"),
    ("suppression.hashed", "true", "hashed_suppressions: true"),
    ("people.resolve", "true", "resolve_people: true"),
    ("policy.default.caps.profile", "7/hour", "profile: [Cap { kind: None, window: Hour, most: 7 }]"),
    ("policy.default.order.per_recipient", "77m", "per_recipient: 4620s"),
    ("policy.default.order.weights", "vip=7", "weights: [(\"vip\", 7)]"),
    ("policy.default.preset", "calm", "gap: Gap { min: 90s, max: 900s }"),
    ("policy.default.warm_up.ramp", "7, 70", "WarmUp { ramp: [7, 70], start: None, after_quiet: None }"),
    ("policy.default.gap.max", "77s", "max: 77s }, rhythm"),
    ("policy.default.gap.min", "17s", "gap: Gap { min: 17s"),
    ("policy.default.inbox_id", "", "inbox_id: None"),
    ("policy.default.inmail.recheck", "77s", "recheck: 77s"),
    ("policy.default.inmail.reserve", "77", "reserve: 77"),
    ("policy.default.reply.check", "false", "check: false"),
    ("policy.default.reply.scope", "everywhere", "everywhere: true"),
    ("policy.default.reply.owner_wrote", "77s", "owner_wrote: 77s"),
    ("policy.default.reply.out_of_office", "77s", "out_of_office: 77s"),
    ("policy.default.reply.opt_out_texts", "<<<x>>>", "opt_out: Some(Regex(\"<<<x>>>\"))"),
    ("policy.default.reply.out_of_office_texts", "<<<y>>>", "out_of_office: Some(Regex(\"<<<y>>>\"))"),
    ("policy.default.reply.answer_texts", "<<<z>>>", "answer: Some(Regex(\"<<<z>>>\"))"),
    ("policy.default.route", "existing chat", "route: ExistingChat"),
    ("policy.default.reconcile.absent", "resend", "absent: Resend"),
    ("policy.default.reconcile.after", "7s, 77s", "after: [7s, 77s]"),
    ("policy.default.retry.base", "77s", "base: 77s"),
    ("policy.default.retry.factor", "7", "factor: 7"),
    ("policy.default.retry.max", "77m", "max: 4620s"),
    ("policy.default.retry.max_retries", "0", "max_retries: 0"),
    ("policy.default.typing.base", "77s", "base: 77s"),
    ("policy.default.typing.enabled", "false", "enabled: false"),
    ("policy.default.typing.max", "77s", "max: 77s }, retry"),
    ("policy.default.typing.min", "7s", "min: 7s"),
    ("policy.default.typing.per_char_max", "777ms", "per_char_max: 777ms"),
    ("policy.default.typing.per_char_min", "77ms", "per_char_min: 77ms"),
    ("policy.default.zone", "Europe/Paris", "Europe/Paris"),
    ("store.backup_folder", "/backups", "backup_folder: Some(\"/backups\")"),
    ("store.path", "other.db", "path: \"other.db\""),
    ("store.readers", "7", "readers: 7"),
    ("unipile.base_url", "http://127.0.0.1:7777/", "base_url: \"http://127.0.0.1:7777\""),
    ("unipile.account_requests_per_second", "77", "account_requests_per_second: 77"),
    ("unipile.burst", "77", "burst: 77"),
    ("unipile.ca_file", "/ca.pem", "ca_file: Some(\"/ca.pem\")"),
    ("unipile.dialect", "guide", "guide_dialect: true"),
    ("limits.attachment_bytes", "7777", "attachment_bytes: 7777"),
    ("attachments.roots", "/srv/a:/srv/b", "roots: [\"/srv/a\", \"/srv/b\"]"),
    ("unipile.connect_timeout", "77s", "connect_timeout: 77s"),
    ("unipile.request_timeout", "77s", "request_timeout: 77s"),
    ("unipile.requests_per_second", "77", "requests_per_second: 77"),
    ("webhooks.body_bytes", "7777", "body_bytes: 7777"),
    ("webhooks.connections", "77", "connections: 77"),
    ("traces.endpoint", "http://127.0.0.1:4318", "traces_endpoint: Some(\"http://127.0.0.1:4318\")"),
    ("metrics.listen", "127.0.0.1:7778", "metrics_listen: Some(127.0.0.1:7778)"),
    ("webhooks.listen", "127.0.0.1:7777", "listen: Some(127.0.0.1:7777)"),
    ("webhooks.tolerance", "77s", "tolerance: 77s"),
];

#[test]
fn every_key_changes_something_of_its_own() {
    // Covered by other tests: these do not show in a setting of their own.
    let elsewhere = [
        "policy.allow_gap_below_10s",
        "policy.allow_high_caps",
        "policy.default.breaks.max",
        "policy.default.breaks.min",
        "policy.default.warm_up.after_quiet",
        "policy.default.warm_up.start",
        "unipile.api_key",
        "unipile.api_key_file",
        "webhooks.secret",
        "webhooks.secret_file",
    ];
    let before = shown(&defaults().settings);
    for (key, variable, _) in every_key() {
        let Some((_, value, expected)) = OTHERS.iter().find(|(known, ..)| *known == key) else {
            let hours = key.starts_with("policy.default.hours.");
            assert!(hours || elsewhere.contains(&key.as_str()), "{key} has no example here");
            continue;
        };
        let loaded = Settings::load(None, std::iter::once((variable, (*value).to_owned()))).unwrap();
        let after = shown(&loaded.settings);
        assert!(!before.contains(expected), "{key}: {expected} is the default");
        assert!(after.contains(expected), "{key}: {after}");
        assert!(loaded.effective_toml().contains(value), "{key}");
    }
}
