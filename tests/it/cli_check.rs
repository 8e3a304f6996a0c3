//! `outboxd check`: the configuration in force and where it comes from, warnings, and every mistake on a line.
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
    assert!(ran.code == 0 && ran.err.is_empty() && ran.out.starts_with(start), "{ran:?}");
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
    assert_eq!(shown["warnings"], serde_json::json!([]));
    assert!(shown["settings_toml"].as_str().unwrap().contains("zone = \"Europe/Berlin\""));
    assert!(ran.code == 0 && ran.err.is_empty());
}

#[test]
fn warnings_are_told_and_do_not_fail() {
    let text = "[api]\nsocket_mode = \"0666\"\n";
    let ran = run(text, &[("OUTBOXD_UNIPILE_API_KEY", "k")], &["check"]);
    assert_eq!(
        (ran.code, ran.err.as_str()),
        (0, "warning: api.socket_mode 0666 lets every user of this machine send messages\n")
    );
    let ran = run(text, &[], &["check"]);
    assert_eq!((ran.code, ran.err.lines().count()), (0, 2), "{}", ran.err);
    assert!(ran.err.lines().all(|line| line.starts_with("warning: ")), "{}", ran.err);
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
