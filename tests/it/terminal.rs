//! The command line on a real terminal of 80 columns: questions, tables, help. `script` (util-linux) gives a terminal to
//! a process.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::daemon::{Daemon, TestEnv, run};

/// What a command did on a terminal.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) code: Option<i32>,
    /// What the terminal shows.
    pub(crate) text: String,
}

/// Runs `command` on a terminal with so many columns, and types `input`.
pub(crate) fn on_terminal(command: &Command, columns: u16, input: &str) -> Shown {
    let quoted = |word: &std::ffi::OsStr| format!("'{}'", word.to_str().unwrap().replace('\'', r"'\''"));
    let words: Vec<String> =
        [command.get_program()].into_iter().chain(command.get_args()).map(quoted).collect();
    let line = format!("stty cols {columns} rows 50; exec {}", words.join(" "));
    let mut script = Command::new("script");
    script.args(["-qec", &line, "/dev/null"]).env_clear().env("SHELL", "/bin/sh");
    script.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    if let Some(folder) = command.get_current_dir() {
        script.current_dir(folder);
    }
    let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut typed = child.stdin.take().unwrap();
    typed.write_all(input.as_bytes()).unwrap();
    // Standard input stays open until the end, as a keyboard does.
    let output = child.wait_with_output().unwrap();
    drop(typed);
    let text = String::from_utf8(output.stdout).unwrap().replace('\r', "");
    Shown { code: output.status.code(), text }
}

/// Asserts that no line is wider than 80 columns.
fn fits(text: &str, what: &str) {
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{what}: {} columns: {line:?}\n{text}", line.chars().count());
    }
}

/// Returns a daemon that sends nothing, with `n` queued messages of a campaign.
async fn queued(n: usize) -> (TestEnv, Daemon) {
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    daemon.post("/v1/pause", "").await;
    let message = |n: usize| {
        json!({"account_id": "acc_01jd3k9w2nf8v9c2m4q6r8t0xz", "campaign": "autumn in the north",
               "users_ids": format!("ACoAABkL3mNpQrStUvWxYz0123456789abcdef{n:02}"), "text": "hello"})
    };
    for n in 0..n {
        daemon.enqueue(&message(n).to_string()).await;
    }
    (env, daemon)
}

fn states(env: &TestEnv) -> Vec<String> {
    env.sql("SELECT state || ' ' || count(*) FROM messages GROUP BY state ORDER BY state")
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_twenty_messages_are_changed_only_after_a_yes() {
    let (env, daemon) = queued(21).await;
    let cancel = env.outboxd(&["cancel", "--campaign", "autumn in the north"]);
    let question = "21 messages would be cancelled\nDo it? [y/N] ";
    for no in ["n\n", "\n", "nonsense\n"] {
        let shown = on_terminal(&cancel, 80, no);
        assert_eq!(shown.code, Some(4), "{shown:?}");
        assert!(shown.text.contains(question) && shown.text.contains("nothing was changed"), "{shown:?}");
        assert_eq!(states(&env), ["queued 21"]);
    }
    let (ok, said) = run(env.outboxd(&["cancel", "--campaign", "autumn in the north"]), "y\n");
    assert!(!ok && said.contains("this is not a terminal") && states(&env) == ["queued 21"], "{said}");
    let shown = on_terminal(&cancel, 80, "y\n");
    assert_eq!(shown.code, Some(0), "{shown:?}");
    assert!(shown.text.contains(question) && shown.text.contains("cancelled: 21"), "{shown:?}");
    assert_eq!(states(&env), ["cancelled 21"]);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_erased_only_after_a_yes() {
    let (env, daemon) = queued(1).await;
    let person = "ACoAABkL3mNpQrStUvWxYz0123456789abcdef00";
    let erase = env.outboxd(&["erase", person]);
    let shown = on_terminal(&erase, 80, "no\n");
    assert_eq!(shown.code, Some(4), "{shown:?}");
    assert!(shown.text.contains("would be removed for good") && states(&env) == ["queued 1"], "{shown:?}");
    let shown = on_terminal(&erase, 80, "yes\n");
    assert_eq!(shown.code, Some(0), "{shown:?}");
    assert!(shown.text.contains("erased: 1 message (") && states(&env) == ["cancelled 1"], "{shown:?}");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_table_fits_eighty_columns() {
    let (env, daemon) = queued(2).await;
    daemon
        .post(
            "/v1/messages",
            &json!({"account_id": "acc_2", "chat_id": "2-NzU4YzA1ZDUtYzE2ZC00MjYzLWI1", "text": "x"})
                .to_string(),
        )
        .await;
    let person = "ACoAABkL3mNpQrStUvWxYz0123456789abcdef00";
    let account = "acc_01jd3k9w2nf8v9c2m4q6r8t0xz";
    for words in [
        &[
            "suppress",
            "add",
            "ACoAABkL3mNpQrStUvWxYz0123456789abcdef99",
            "--note",
            "asked by e-mail, twice, and was right",
        ][..],
        &[
            "stop",
            "--campaign",
            "autumn in the north",
            "--account",
            account,
            "--note",
            "until the new texts are there",
        ],
    ] {
        assert!(run(env.outboxd(words), "").0);
    }
    for words in [
        &["list"][..],
        &["list", "--account", account],
        &["campaign", "list"],
        &["campaign", "show", "autumn in the north"],
        &["stop", "--list"],
        &["suppress", "list"],
        &["budget", account],
        &["status", "--accounts"],
        &["person", person],
        &["review"],
        &["top", "--once"],
        &["webhook", "list"],
    ] {
        let shown = on_terminal(&env.outboxd(words), 80, "");
        assert!(!shown.text.is_empty(), "{words:?}");
        println!("$ outboxd {}\n{}", words.join(" "), shown.text);
        fits(&shown.text, &words.join(" "));
        assert!(!shown.text.contains("9999"), "a time that means never: {}", shown.text);
    }
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_an_id_names_a_message() {
    let (env, daemon) = queued(2).await;
    let ids = env.sql("SELECT id FROM messages ORDER BY seq");
    let shown = on_terminal(&env.outboxd(&["list"]), 80, "").text;
    let (first, second) = (&ids[0][28..], &ids[1][28..]);
    assert!(shown.contains(first) && shown.contains(second) && !shown.contains(&ids[0]), "{shown}");
    assert!(on_terminal(&env.outboxd(&["list"]), 200, "").text.contains(&ids[0]), "a wide terminal has room");
    let (_, piped) = run(env.outboxd(&["list"]), "");
    assert!(piped.contains(&ids[0]), "{piped}");
    for verb in ["show", "explain", "hold", "release", "cancel"] {
        let (ok, said) = run(env.outboxd(&[verb, first]), "");
        assert!(ok && said.contains(&ids[0]), "{verb}: {said}");
    }
    assert_eq!(env.sql("SELECT id FROM messages WHERE state = 'cancelled'"), ids[..1]);
    let (ok, said) = run(env.outboxd(&["show", "00000000"]), "");
    assert!(!ok && said.contains("no message has an id that ends in 00000000"), "{said}");
    // Two ids that end alike.
    for begin in ["01a21be3", "01a21be4"] {
        env.sql(&format!("INSERT INTO messages (id, account_id, chat_id, text) VALUES ('{begin}-0000-7000-8000-0000{second}', 'acc_2', 'c', 'x') RETURNING id"));
    }
    let (ok, said) = run(env.outboxd(&["cancel", second]), "");
    assert!(!ok && said.contains("more than one message") && said.contains("give the whole id"), "{said}");
    daemon.stop().await;
}

#[test]
fn a_time_of_another_day_takes_one_line_of_a_table() {
    let account = |id: &str, waits_for: &str, until: &str| {
        json!({"id": id, "standing": "active", "reason": "outside_hours", "actor": "none", "until": until,
            "waits_for": waits_for, "last_sent_at": "2026-11-20T16:59:00.000Z", "counts": {"queued": 1200},
            "oldest_due_at": "2026-11-12T08:00:00.000Z",
            "cap": {"cap": "new_chat", "window": "24h", "limit": 40, "used": 40, "frees_at": "2026-11-23T08:02:00.000Z"}})
    };
    let accounts = json!({"data": [
        account("acc_01jd3k9w2nf8v9c2m4q6r8t0xy", "not_before", "2026-11-23T07:00:00.000Z"),
        account("acc_01jd3k9w2nf8v9c2m4q6r8t0xz", "time", "2027-01-05T07:00:00.000Z")]});
    let fake = crate::cli_fake::Answers::default()
        .on("GET /v1/status", 200, crate::cli_status::CALM)
        .on("GET /v1/accounts", 200, &accounts.to_string())
        .start();
    for words in [&["status"][..], &["top", "--once"]] {
        let shown = on_terminal(&fake.command(words), 80, "").text;
        fits(shown.split_once("\naccount ").map_or(&shown, |(_, table)| table), &words.join(" "));
        for time in ["Mon 08:00", "5 Jan", "Fri 17:59"] {
            assert!(shown.contains(time), "{time}: {shown}");
        }
        assert!(!shown.contains("2026-"), "{shown}");
        let wide = on_terminal(&fake.command(words), 200, "").text;
        assert!(wide.contains("2026-11-23 08:00") && wide.contains("2026-11-20 17:59"), "{wide}");
    }
    let piped = fake.run(&["status", "--accounts"]).out;
    assert!(piped.contains("2026-11-23T07:00:00.000Z"), "{piped}");
}

#[test]
fn the_lists_shorten_times_of_other_days() {
    let message = |state: &str, reason: &str, waits_for: &str, until: &str| {
        json!({"id": "0190b2c4-0000-7000-8000-00000000000a", "account_id": "acc_01jd3k9w2nf8v9c2m4q6r8t0xy", "state": state,
            "users_ids": "ACoAAB1234567890abcdefghijkl", "reason": reason, "waits_for": waits_for, "until": until,
            "sent_at": "2026-11-20T16:59:00.000Z", "attempts": 0, "provider_message_ids": []})
    };
    let messages = json!([
        message("sent", "accepted", "", "2026-11-23T07:00:00.000Z"),
        message("queued", "outside_hours", "not_before", "2099-01-05T07:00:00.000Z"),
        message("queued", "chat_order", "expiry", "2099-01-05T07:00:00.000Z")
    ]);
    let person = json!({"id": "ACoAAB1", "accounts": [], "stops": [], "inbound": [], "messages": messages});
    let stops = json!([{"id": 1, "scope": "person", "key": "ACoAAB1234567890abcdefghijkl", "reason": "out_of_office", "actor": "reply",
        "account_id": "acc_01jd3k9w2nf8v9c2m4q6r8t0xy", "until": "2099-01-05T07:00:00.000Z", "at": "2020-11-20T16:59:00.000Z"}]);
    let fake = crate::cli_fake::Answers::default()
        .on("GET /v1/messages", 200, &json!({"data": messages}).to_string())
        .on("GET /v1/people/ACoAAB1", 200, &person.to_string())
        .on("GET /v1/stops", 200, &json!({"data": stops}).to_string())
        .start();
    for (words, columns) in [(&["list"][..], 80), (&["person", "ACoAAB1"], 70), (&["stop", "--list"], 80)] {
        let shown = on_terminal(&fake.command(words), columns, "").text;
        fits(&shown, &words.join(" "));
        assert!(shown.contains("Jan 2099") && !shown.contains("2099-01"), "{shown}");
        let wide = on_terminal(&fake.command(words), 250, "").text;
        assert!(wide.contains("2099-01-05 "), "{wide}");
    }
}

/// Returns the commands that a help text lists.
fn commands(help: &str) -> Vec<String> {
    let listed =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names = listed.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names.map(|line| line.split_whitespace().next().unwrap().to_owned()).collect()
}

fn help(path: &[String]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outboxd"));
    command.args(path).arg("--help");
    let (ok, piped) = run(command, "");
    assert!(ok, "{path:?}: {piped}");
    piped
}

#[test]
fn a_list_on_a_terminal_is_a_table_within_its_width() {
    let page = crate::cli_read::PAGE
        .replace("\"id\": \"7\"", "\"id\": \"01a21be3-e27c-7500-94cc-5bbab6ebd82b\"")
        .replace("usr_7", "ACoAABkL3mNpQrStUvWxYz0123456789abcdef")
        .replace("acc_2", "acc_01jd3k9w2nf8v9c2m4q6r8t0xz")
        // So far away that the form of a time does not depend on the day of the test.
        .replace("2026-11-22", "2099-11-22");
    let fake = crate::cli_fake::Answers::default().on("GET /v1/messages", 200, &page).start();
    for columns in [80, 60, 200] {
        let shown = on_terminal(&fake.command(&["list"]), columns, "");
        insta::assert_snapshot!(format!("list_in_{columns}_columns"), shown.text);
    }
}

#[test]
fn every_help_fits_eighty_columns_and_has_examples() {
    let mut paths: Vec<Vec<String>> = vec![Vec::new()];
    let (mut read, mut all) = (0, String::new());
    while let Some(path) = paths.get(read).cloned() {
        let help = help(&path);
        all += &format!("$ outboxd {}\n{help}\n", [&path[..], &["--help".to_owned()]].concat().join(" "));
        fits(&help, &path.join(" "));
        assert!(help.contains("\nExamples:\n  outboxd "), "{path:?}: {help}");
        paths.extend(commands(&help).into_iter().map(|name| [&path[..], &[name]].concat()));
        read += 1;
    }
    assert!(read > 40, "{read} commands were found");
    insta::assert_snapshot!("help", all);
    let mut command = Command::new(env!("CARGO_BIN_EXE_outboxd"));
    command.args(["import", "--help"]).env("PATH", std::env::var_os("PATH").unwrap_or_default());
    let wide = on_terminal(&command, 200, "").text;
    fits(&wide, "on a wide terminal");
    let narrow = on_terminal(&command, 60, "").text;
    assert!(narrow.lines().count() > wide.lines().count(), "{narrow}");
}
