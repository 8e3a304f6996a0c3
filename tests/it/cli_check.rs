//! `outboxd check`: the configuration in force and where it comes from, warnings, and every mistake on its own line.
#![allow(clippy::unwrap_used, reason = "a test may")]

use serde_json::Value;

use crate::cli_fake::{Ran, outboxd};

const NO_FOLDER: &str = "the test has its folder";

fn run(text: &str, environment: &[(&str, &str)], arguments: &[&str]) -> Ran {
    let folder = tempfile::tempdir().expect(NO_FOLDER);
    std::fs::write(folder.path().join("outboxd.toml"), text).expect(NO_FOLDER);
    let mut command = outboxd(arguments);
    Ran::of(command.current_dir(folder.path()).envs(environment.iter().copied()).output().unwrap())
}

#[test]
fn the_configuration_in_force_is_shown_with_where_it_comes_from() {
    let text = "[policy.default]\nzone = \"Europe/Berlin\"\n";
    let environment = [("OUTBOXD_UNIPILE_API_KEY", "k3y-NOBODY-may-see")];
    let ran = run(text, &environment, &["check"]);
    let start = "# file: ./outboxd.toml\n# environment: OUTBOXD_UNIPILE_API_KEY\n# unipile.requests";
    assert!(ran.code == 0 && ran.out.starts_with(start), "{ran:?}");
    assert!(
        ran.err.starts_with("warning: there is no queue outboxd.db yet") && ran.err.lines().count() == 1,
        "{ran:?}"
    );
    assert!(ran.out.contains("# The configuration in force."), "{}", ran.out);
    assert!(ran.out.contains("zone = \"Europe/Berlin\" # from ./outboxd.toml\n"), "{}", ran.out);
    assert!(!ran.out.contains("k3y"), "{}", ran.out);
    assert_eq!(run(&ran.out, &environment, &["check"]).code, 0, "what is shown is a configuration");
    assert!(
        ran.out.contains("# unipile.requests_per_second = 100 carries about 500 accounts"),
        "{}",
        ran.out
    );

    let ran = run(text, &environment, &["check", "--json"]);
    let shown: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(shown["file"], "./outboxd.toml");
    assert_eq!(shown["variables"], serde_json::json!(["OUTBOXD_UNIPILE_API_KEY"]));
    assert_eq!(shown["warnings"].as_array().map(Vec::len), Some(1), "{shown}");
    assert_eq!(shown["proxy"], Value::Null);
    assert!(shown["settings_toml"].as_str().unwrap().contains("zone = \"Europe/Berlin\""));
    assert!(ran.code == 0 && ran.err.is_empty());
}

#[test]
fn warnings_are_told_and_do_not_fail() {
    let text = "[api]\nsocket_mode = \"0666\"\n";
    let ran = run(text, &[("OUTBOXD_UNIPILE_API_KEY", "k")], &["check"]);
    let warning = "warning: api.socket_mode 0666 lets every user of this machine send messages\n";
    assert!(ran.code == 0 && ran.err.starts_with(warning), "{ran:?}");
    assert!(ran.err.lines().all(|line| line.starts_with("warning: ")), "{}", ran.err);
}

/// Runs `check` and `serve`, which must refuse the configuration in the same words, with `what`.
fn both_refuse(environment: &[(&str, &str)], what: &str) {
    let [checked, served] = ["check", "serve"].map(|verb| run("", environment, &[verb]));
    assert_eq!((checked.code, served.code), (2, 2), "{environment:?}: {checked:?} {served:?}");
    let said = |ran: &Ran| {
        ran.err.lines().filter(|line| line.starts_with("error: ")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(said(&checked), said(&served), "{environment:?}");
    assert!(said(&checked).len() == 1 && said(&checked)[0].contains(what), "{environment:?}: {checked:?}");
    assert!(!checked.err.contains("k3y") && !served.err.contains("k3y"), "{checked:?}");
    assert_eq!(checked.out, "", "{environment:?}");
}

/// Whatever keeps `serve` from starting with this configuration is an error of `check`, in the same words.
#[test]
fn check_and_serve_give_the_same_answer() {
    const PROXY: &str = "HTTPS_PROXY";
    let key = ("OUTBOXD_UNIPILE_API_KEY", "k3y");
    let secret = tempfile::tempdir().expect(NO_FOLDER);
    let files = std::cell::Cell::new(0);
    let of_file = |text: &str| {
        files.set(files.get() + 1);
        let path = secret.path().join(format!("key-{}", files.get()));
        std::fs::write(&path, text).expect(NO_FOLDER);
        path.to_str().expect("text").to_owned()
    };
    let file = "OUTBOXD_UNIPILE_API_KEY_FILE";
    let cases = [
        (vec![], "there is no API key"),
        (vec![(file, of_file("\"k3y.of=\"\n"))], "is in quotes"),
        (vec![(file, of_file("'k3y'"))], "is in quotes"),
        (vec![(file, of_file("UNIPILE_API_KEY=k3y.of=\n"))], "begins with a name and an equals sign"),
        (vec![(file, of_file("export KEY = k3y.of=="))], "begins with a name and an equals sign"),
        (vec![(file, of_file("X-API-KEY: k3y"))], "holds a space"),
        (vec![(file, of_file(" \n"))], "is empty"),
        (vec![("OUTBOXD_UNIPILE_API_KEY", "\"k3y\"".to_owned())], "is in quotes"),
        (
            vec![(key.0, key.1.to_owned()), (PROXY, "socks5://p:1080".to_owned())],
            "is not the address of an HTTP proxy",
        ),
        (
            vec![(key.0, key.1.to_owned()), (PROXY, "p roxy".to_owned())],
            "is not the address of an HTTP proxy",
        ),
    ];
    for (environment, what) in cases {
        let environment: Vec<(&str, &str)> =
            environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
        both_refuse(&environment, what);
    }
    // Base64 may end in equals signs, and a key may contain one before its last part.
    for good in ["abcDEF123==", "abc.def=", "a-b_c=d", "AbC+/9=="] {
        let ran = run("", &[(file, &of_file(good))], &["check"]);
        assert_eq!(ran.code, 0, "{good}: {ran:?}");
    }
}

#[test]
fn check_and_serve_refuse_the_same_paths_addresses_and_placeholders() {
    const SOCKET: &str = "OUTBOXD_API_SOCKET";
    const READ_ONLY: &str = "OUTBOXD_API_READ_ONLY_SOCKET";
    let key = ("OUTBOXD_UNIPILE_API_KEY", "k3y");
    let folder = tempfile::tempdir().expect(NO_FOLDER);
    let file = folder.path().join("file");
    std::fs::write(&file, "precious").expect(NO_FOLDER);
    let file = file.to_str().expect("text");
    for (name, value, what) in [
        ("HTTPS_PROXY", "http://p:99999", "is not the address of an HTTP proxy"),
        (SOCKET, file, "is there and is not a socket"),
        (READ_ONLY, file, "is there and is not a socket"),
        (READ_ONLY, "./outboxd.sock", "is the same path as api.socket"),
        (SOCKET, "./outboxd.db", "is the same path as store.path"),
        ("OUTBOXD_STORE_PATH", "queue/", "is the path of a folder"),
        (
            "OUTBOXD_UNIPILE_BASE_URL",
            "https://api8.unipile.com:13851/api/v1",
            "is the address of version 1 of the API",
        ),
    ] {
        both_refuse(&[key, (name, value)], what);
    }
    both_refuse(&[(key.0, "${KEY}")], "is a placeholder");
    let gateway = ("OUTBOXD_UNIPILE_BASE_URL", "https://gw.example/unipile/v1");
    let ran = run("", &[key, gateway], &["check"]);
    assert!(ran.code == 0 && ran.out.contains(gateway.1), "{ran:?}");
    assert_eq!(std::fs::read_to_string(file).expect("it is there"), "precious");
    // A folder that systemd may make at the start is a warning.
    let ran = run("", &[key, (SOCKET, "none/outboxd.sock")], &["check"]);
    assert!(ran.code == 0 && ran.err.contains("warning: api.socket: there is no folder none"), "{ran:?}");
}

/// A daemon could not run with a copy that broke off.
#[test]
fn a_queue_that_was_cut_off_is_refused() {
    let key = ("OUTBOXD_UNIPILE_API_KEY", "k");
    let folder = tempfile::tempdir().expect(NO_FOLDER);
    let path = folder.path().join("queue.db");
    let path = path.to_str().expect("text");
    let made = rusqlite::Connection::open(path).expect("a database");
    made.execute_batch(
        "PRAGMA application_id = 0x6f757462; CREATE TABLE t (x); INSERT INTO t VALUES (zeroblob(100000))",
    )
    .expect("written");
    drop(made);
    let store = ("OUTBOXD_STORE_PATH", path);
    assert_eq!(run("", &[key, store], &["check"]).code, 0);
    let bytes = std::fs::read(path).expect("it is there");
    std::fs::write(path, &bytes[..bytes.len() / 2]).expect("cut off");
    for (verb, code) in [("check", 2), ("serve", 1)] {
        let ran = run("", &[key, store], &[verb]);
        assert_eq!(ran.code, code, "{verb}: {ran:?}");
        for part in ["queue.db is damaged: it is cut off and has ", "backup", ".recover"] {
            assert!(ran.err.contains(part), "{verb}: {ran:?}");
        }
    }
    assert_eq!(std::fs::read(path).expect("it is there").len(), bytes.len() / 2, "it is left as it is");
}

#[test]
fn the_proxy_in_use_is_shown_without_its_password() {
    let key = ("OUTBOXD_UNIPILE_API_KEY", "k");
    let ran = run("", &[key, ("HTTPS_PROXY", "http://jane:s3cret@proxy.example:3128")], &["check"]);
    let line = "# requests to Unipile go through the proxy http://proxy.example:3128 (HTTPS_PROXY)\n";
    assert!(ran.code == 0 && ran.out.contains(line), "{ran:?}");
    assert!(
        !ran.out.contains("s3cret") && !ran.err.contains("s3cret") && !ran.out.contains("jane"),
        "{ran:?}"
    );
    let bypassed = [key, ("https_proxy", "http://proxy.example:3128"), ("NO_PROXY", "unipile.com")];
    let ran = run("", &bypassed, &["check"]);
    assert!(
        ran.code == 0
            && ran.out.contains("# requests to Unipile go past the proxy, because NO_PROXY says so\n"),
        "{ran:?}"
    );
    let ran = run("", &bypassed[..2], &["check", "--json"]);
    let shown: Value = serde_json::from_str(&ran.out).unwrap();
    assert!(shown["proxy"].as_str().is_some_and(|proxy| proxy.contains("proxy.example")), "{shown}");
}

#[test]
fn each_problem_is_a_line_and_the_code_is_2() {
    let ran = run("[api]\nsockt = \"x\"\n[limits]\ntext_chars = \"many\"\n", &[], &["check"]);
    assert_eq!((ran.code, ran.out.as_str(), ran.err.lines().count()), (2, "", 2), "{}", ran.err);
    assert!(ran.err.lines().all(|line| line.starts_with("error: ")), "{}", ran.err);
    for verb in ["check", "serve", "status"] {
        let ran = run("", &[], &[verb, "--config", "none.toml"]);
        assert!(ran.code == 2 && ran.err.starts_with("error: none.toml cannot be read: "), "{}", ran.err);
    }
}
