//! `[webhooks]`: where the secrets come from, that they are never shown (P8), and what `check` and `serve` refuse.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use outboxd::config::Loaded;
use secrecy::ExposeSecret;

use crate::cli_fake::{Ran, outboxd};
use crate::config::{folder, load, load_file};

const SECRET: &str = "whsec_k3y-that-stays-secret";
const VARIABLE: &str = "OUTBOXD_WEBHOOKS_SECRET";
const FILE: &str = "OUTBOXD_WEBHOOKS_SECRET_FILE";

fn secrets(loaded: &Loaded) -> Vec<&str> {
    loaded.settings.webhooks.secrets.iter().map(ExposeSecret::expose_secret).collect()
}

#[test]
fn secrets_come_from_the_configuration_or_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    let text = path.to_str().unwrap();
    std::fs::write(&path, format!("\n  {SECRET} \r\nwhsec_2\n\n")).unwrap();
    assert_eq!(secrets(&load("", &[(FILE, text)]).unwrap()), [SECRET, "whsec_2"]);
    assert_eq!(
        secrets(&load("", &[(VARIABLE, &format!(" {SECRET} , whsec_2\n"))]).unwrap()),
        [SECRET, "whsec_2"]
    );
    assert_eq!(secrets(&load(&format!("[webhooks]\nsecret = \"{SECRET}\""), &[]).unwrap()), [SECRET]);
    assert!(secrets(&load("", &[(VARIABLE, " ")]).unwrap()).is_empty());

    for (bad, expected) in [
        (" \n".to_owned(), "is empty; put the secret"),
        (format!("{SECRET} {SECRET}"), "holds a space"),
        (format!("SECRET={SECRET}"), "begins with a name and an equals sign"),
        (format!("whsec_2\n\"{SECRET}\""), "is in quotes"),
        (format!("whsec_2\n{SECRET}\u{e9}"), "outside ASCII"),
    ] {
        std::fs::write(&path, bad).unwrap();
        let error = load("", &[(FILE, text)]).unwrap_err();
        assert_eq!(error.problems.len(), 1, "{error}");
        let message = error.to_string();
        assert!(message.starts_with(&format!("webhooks.secret_file in {FILE}: ")), "{message}");
        assert!(message.contains(text) && message.contains(expected), "{message}");
        assert!(!format!("{error:?}").contains(SECRET), "{error:?}");
    }
}

#[test]
fn a_secret_that_others_may_read_is_warned_of() {
    let key = ("OUTBOXD_UNIPILE_API_KEY", "k");
    let chmod =
        |path: &Path, mode: u32| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    let (_folder, file) = folder(&format!("[webhooks]\nsecret = \"{SECRET}\""));
    assert_eq!(load_file(&file, &[key]).unwrap().warnings(), [""; 0]);
    chmod(&file, 0o640);
    let warnings = load_file(&file, &[key]).unwrap().warnings().to_vec();
    assert!(
        warnings[0].starts_with("webhooks.secret is in ") && warnings[0].contains("(mode 0640)"),
        "{warnings:?}"
    );
    assert!(warnings[0].ends_with("chmod 0600, or use secret_file"), "{warnings:?}");

    let secret = file.with_file_name("secret");
    std::fs::write(&secret, SECRET).unwrap();
    let warnings = |mode: u32| {
        chmod(&secret, mode);
        load("", &[key, (FILE, secret.to_str().unwrap())]).unwrap().warnings().to_vec()
    };
    assert_eq!(warnings(0o600), [""; 0]);
    assert_eq!(warnings(0o440), [""; 0], "as systemd passes a credential");
    assert!(
        warnings(0o644)[0].contains("which others may read (mode 0644): chmod 0600"),
        "{:?}",
        warnings(0o644)
    );
}

#[test]
fn secrets_are_never_shown() {
    let text = format!("[webhooks]\nlisten = \"127.0.0.1:8780\"\nsecret = \"{SECRET}, whsec_2\"\n");
    let loaded = load(&text, &[]).unwrap();
    let effective = loaded.effective_toml();
    assert!(effective.contains("secret = \"<set>\" # from "), "{effective}");
    let newer = load(&text.replace(SECRET, "whsec_3"), &[]).unwrap();
    let changes = loaded.changes(&newer);
    assert_eq!(changes.len(), 1, "{changes:?}");
    assert_eq!((changes[0].key.as_str(), changes[0].is_live), ("webhooks.secret", true));
    for shown in [format!("{loaded:?}"), format!("{changes:?}"), effective.to_owned()] {
        assert!(!shown.contains(SECRET) && !shown.contains("whsec_"), "{shown}");
    }
    let mut adopted = loaded.clone();
    adopted.adopt_live(&newer);
    assert_eq!(adopted.changes(&newer), []);
}

#[test]
fn check_and_serve_refuse_a_listener_without_a_secret() {
    let place = tempfile::tempdir().unwrap();
    let run = |verb: &str, more: &[(&str, &str)]| {
        let mut command = outboxd(&[verb]);
        command.env("OUTBOXD_UNIPILE_API_KEY", "k3y").env("OUTBOXD_WEBHOOKS_LISTEN", "127.0.0.1:0");
        Ran::of(command.current_dir(place.path()).envs(more.iter().copied()).output().unwrap())
    };
    for verb in ["check", "serve"] {
        let ran = run(verb, &[]);
        assert_eq!(ran.code, 2, "{ran:?}");
        let error = "error: webhooks.secret: webhooks.listen is set without a secret";
        let way = "set the environment variable OUTBOXD_WEBHOOKS_SECRET (or webhooks.secret)";
        let said = ran.err.lines().find(|line| line.starts_with("error: ")).unwrap();
        assert!(said.starts_with(error) && said.contains(way) && said.contains("secret_file"), "{ran:?}");

        let ran = run(verb, &[(FILE, "/no/such")]);
        assert!(ran.code == 2 && ran.err.contains("/no/such cannot be read"), "{ran:?}");
    }
    let ran = run("check", &[(VARIABLE, SECRET)]);
    assert!(ran.code == 0 && !ran.out.contains(SECRET) && !ran.err.contains(SECRET), "{ran:?}");
    assert!(ran.out.contains("listen = \"127.0.0.1:0\" # from OUTBOXD_WEBHOOKS_LISTEN"), "{ran:?}");
}
