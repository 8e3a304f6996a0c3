//! Every way in which a command can fail to get an answer, each exit code, and the message that it prints.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;

use crate::cli_fake::{Answers, Ran, one, outboxd};

const START: &str = "start it with `outboxd serve`, or name another socket with `--socket PATH`";
const BROKEN: &str =
    "error: the daemon on outboxd.sock broke the connection before it had answered; its log says why\n";
const REFUSED: &str = r#"{"error": {"code": "wrong_state", "field": "", "problem": "the message is sent already", "fix": "nothing can be done"}}"#;

#[test]
fn no_daemon_says_which_socket_why_and_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let run = |socket: &str| {
        let mut command = outboxd(&["status", "--socket", socket]);
        Ran::of(command.current_dir(folder.path()).output().unwrap())
    };
    drop(UnixListener::bind(folder.path().join("dead.sock")).unwrap());
    std::fs::write(folder.path().join("file"), "").unwrap();
    for (socket, why) in [
        ("none.sock", format!("there is no such file; {START}")),
        ("dead.sock", format!("no daemon listens on it; {START}")),
        ("file", "that is not a socket; name the daemon's socket with `--socket PATH`".to_owned()),
    ] {
        run(socket).is(3, "", &format!("error: the daemon is not running on {socket}: {why}\n"));
    }
}

/// Root may do everything, so as root the test runs the command as another user, if that user can run the binary.
#[test]
fn a_socket_of_another_group_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("outboxd.sock");
    let _listener = UnixListener::bind(&socket).unwrap();
    std::fs::set_permissions(&socket, PermissionsExt::from_mode(0o000)).unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let mut command = outboxd(&["status", "--socket", "outboxd.sock"]);
    command.current_dir(folder.path());
    if std::fs::metadata(folder.path()).unwrap().uid() == 0 {
        command.uid(65534).gid(65534);
    }
    let Ok(output) = command.output() else { return };
    let fix =
        "join the group that owns the socket (`ls -l` shows it), or name another socket with `--socket PATH`";
    let text = format!("error: the daemon cannot be reached on outboxd.sock: permission denied; {fix}\n");
    Ran::of(output).is(3, "", &text);
}

#[test]
fn a_refusal_is_a_line_for_each_problem_and_a_code() {
    let two = r#"{"error": {"code": "missing_field", "field": "text", "problem": "is empty", "fix": "give the text to send"},
        "errors": [{"code": "missing_field", "field": "text", "problem": "is empty", "fix": "give the text to send"},
                   {"code": "invalid_value", "field": "account_id", "problem": "does not begin with `acc_`", "fix": "name the account"}]}"#;
    let lines = "error: `text` is empty; give the text to send\n\
                 error: `account_id` does not begin with `acc_`; name the account\n";
    let gone = r#"{"error": {"code": "not_found", "field": "id", "problem": "names no message", "fix": "see `outboxd list`"}}"#;
    let busy = r#"{"error": {"code": "stopping", "field": "", "problem": "the daemon is stopping", "fix": "try again"}}"#;
    for (status, body, code, err) in [
        (422, two, 4, lines),
        (400, REFUSED, 2, "error: the message is sent already; nothing can be done\n"),
        (409, REFUSED, 4, "error: the message is sent already; nothing can be done\n"),
        (413, REFUSED, 4, "error: the message is sent already; nothing can be done\n"),
        (404, gone, 5, "error: there is no message; see `outboxd list`\n"),
        (503, busy, 1, "error: the daemon is stopping; try again\n"),
    ] {
        let (_, ran) = one("GET /v1/messages/1", status, body, &["show", "1"]);
        ran.is(code, "", err);
        let (_, ran) = one("GET /v1/messages/1", status, body, &["show", "1", "--json"]);
        ran.is(code, &format!("{body}\n"), err);
    }
}

#[test]
fn what_is_not_outboxd_is_told_apart() {
    let text = "what answers on outboxd.sock is not outboxd, or one of another version";
    let other = "`--socket PATH` names another one";
    for (status, kind, body, shown) in [
        (200, "text/html", "<html>", "HTTP 200: \"<html>\""),
        (404, "text/plain", "nothing\u{1b}[2J here", "HTTP 404: \"nothing\\u{1b}[2J here\""),
        (200, "application/json", "{\"data\": 1}", "HTTP 200: \"{\\\"data\\\": 1}\""),
        (500, "application/json", "{}", "HTTP 500: \"{}\""),
    ] {
        let fake = Answers::default().with("GET /v1/messages", status, kind, body).start();
        fake.run(&["list"]).is(1, "", &format!("error: {text} ({shown}); {other}\n"));
    }
}

#[test]
fn a_socket_that_speaks_no_http_or_breaks_off() {
    let answers = [
        (
            "SSH-2.0-OpenSSH_9\r\n",
            "error: what listens on outboxd.sock does not speak HTTP, so it is not outboxd; ",
        ),
        ("", BROKEN),
        ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{", BROKEN),
    ];
    for (said, told) in answers {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("outboxd.sock")).unwrap();
        let ran = std::thread::scope(|scope| {
            scope.spawn(|| {
                let (mut stream, _) = listener.accept().unwrap();
                assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
                stream.write_all(said.as_bytes()).unwrap();
            });
            Ran::of(outboxd(&["list"]).current_dir(folder.path()).output().unwrap())
        });
        assert!(ran.code == 1 && ran.out.is_empty() && ran.err.starts_with(told), "{ran:?}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let fake = Answers::default().on("GET /v1/messages", 200, crate::cli_read::PAGE).start();
    for arguments in [&["list"][..], &["list", "--json"], &["check"], &["check", "--json"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let key = ("OUTBOXD_UNIPILE_API_KEY", "k");
        let output = fake.command(arguments).env(key.0, key.1).stdout(writer).output().unwrap();
        let ran = Ran::of(output);
        assert!(ran.code == 0 && !ran.err.contains("error") && !ran.err.contains("panic"), "{ran:?}");
    }
}

#[test]
fn the_socket_is_the_flag_or_the_variable_or_the_configuration() {
    let fake = Answers::default().on("GET /v1/messages", 200, r#"{"data": []}"#).start();
    let empty = tempfile::tempdir().unwrap();
    let socket = fake.file("x", "").with_file_name("outboxd.sock");
    let socket = socket.to_str().unwrap();
    let configuration = fake.file("other.toml", &format!("[api]\nsocket = {socket:?}\n"));
    let configuration = configuration.to_str().unwrap();
    let broken = fake.file("broken.toml", "[api]\nsockt = \"x\"\n");
    let broken = broken.to_str().unwrap();
    for (arguments, environment) in [
        (&["list", "--socket", socket][..], &[][..]),
        (&["--socket", socket, "list"], &[("OUTBOXD_SOCKET", "nothing.sock")]),
        (&["list"], &[("OUTBOXD_SOCKET", socket)]),
        (&["list"], &[("OUTBOXD_API_SOCKET", socket)]),
        (&["list"], &[("OUTBOXD_CONFIG", configuration)]),
        (&["list", "--config", configuration], &[]),
        (&["list", "--config", broken, "--socket", socket], &[]),
    ] {
        let mut command = outboxd(arguments);
        let output = command.current_dir(empty.path()).envs(environment.iter().copied()).output().unwrap();
        assert_eq!(Ran::of(output).code, 0, "{arguments:?} {environment:?}");
    }
    let ran = fake.run(&["list", "--config", broken]);
    let hint = "The configuration was read to find the daemon's socket; `--socket PATH` does without it.";
    let text = format!("error: unknown key `api.sockt` in {broken}; did you mean `api.socket`?\n{hint}\n");
    ran.is(2, "", &text);
}

/// A user of the socket need not be able to read the daemon's secrets.
#[test]
fn the_socket_is_found_without_reading_a_secret() {
    let fake = Answers::default().on("GET /v1/messages", 200, r#"{"data": []}"#).start();
    let socket = fake.file("x", "").with_file_name("outboxd.sock");
    let text = format!(
        "[api]\nsocket = {socket:?}\n[unipile]\napi_key_file = \"/not/here\"\n[webhooks]\nsecret_file = \"/not/here\"\n\
         [outbound.webhook.crm]\nurl = \"https://x.example\"\nsecret_file = \"/not/here\"\n"
    );
    let configuration = fake.file("secret.toml", &text);
    let empty = tempfile::tempdir().unwrap();
    let mut command = outboxd(&["list", "--config", configuration.to_str().unwrap()]);
    let command = command.current_dir(empty.path()).env("CREDENTIALS_DIRECTORY", configuration);
    let ran = Ran::of(command.output().unwrap());
    assert_eq!(ran.code, 0, "{ran:?}");
}

/// What a filter names and the daemon does not know may be a typing error.
#[tokio::test(flavor = "multi_thread")]
async fn a_filter_that_names_nothing_is_not_found_and_one_that_cannot_be_is_wrong_usage() {
    let env = crate::daemon::TestEnv::new().await;
    let daemon = env.serve().await;
    for (arguments, code, text) in [
        (&["list", "--campaign", "typo"][..], 5, "there is no campaign: typo"),
        (&["list", "--account", "acc_9", "--json"], 5, "there is no account: acc_9"),
        (&["export", "--campaign", "typo"], 5, "there is no campaign: typo"),
        (&["export", "--account", "acc_9", "--json"], 5, "there is no account: acc_9"),
        (&["export", "--person", "typo"], 5, "there is no person: typo"),
        (&["forecast", "--campaign", "typo"], 5, "there is no campaign: typo"),
        (&["campaign", "show", "typo"], 5, "there is no campaign: typo"),
        (&["cancel", "--campaign", "typo"], 5, "there is no campaign: typo"),
        (&["budget", "acc_9"], 5, "there is no account: acc_9"),
        (&["list", "--state", "nope"], 2, "is not a state: nope"),
        (&["list", "--reason", "nope"], 2, "is not a reason: nope"),
        (&["list", "--person", "https://www.linkedin.com/company/x"], 2, "an address without a profile"),
        (&["export", "--state", "nope"], 2, "is not a state: nope"),
        (&["cancel", "--state", "nope"], 2, "is not a state: nope"),
        (&["forecast", "--days", "0"], 2, "is not a number from 1 to 366"),
        (&["watch", "--type", "nope"], 2, "is not a type of event"),
    ] {
        let ran = Ran::of(env.outboxd(arguments).output().unwrap());
        assert!(ran.code == code && ran.err.contains(text), "{arguments:?}: {ran:?}");
        assert!(!ran.out.contains("campaign,"), "{arguments:?} prints no table: {ran:?}");
    }
    daemon.stop().await;
}

#[test]
fn a_wrong_command_line_is_2_and_help_is_0() {
    for (arguments, code, told) in [
        (&[][..], 2, "Usage: outboxd"),
        (&["lst"], 2, "unrecognized subcommand 'lst'"),
        (&["show"], 2, "<ID>"),
        (&["show", ""], 2, "give an id"),
        (&["show", ".."], 2, "this is not an id"),
        (&["list", "--limit", "0"], 2, "--limit"),
        (&["pause", "acc_1", "--until", "noon"], 2, "tomorrow 09:00"),
        (&["pause", "acc_1", "--for=-2h"], 2, "this is not ahead; write 30m, 2h or 1d"),
    ] {
        let ran = Ran::of(outboxd(arguments).output().unwrap());
        assert!(ran.code == code && ran.err.contains(told), "{arguments:?}: {ran:?}");
    }
    for arguments in [&["--help"][..], &["-h"], &["enqueue", "--help"], &["--version"]] {
        let ran = Ran::of(outboxd(arguments).output().unwrap());
        assert!(ran.code == 0 && ran.err.is_empty(), "{ran:?}");
    }
    let help = Ran::of(outboxd(&["--help"]).output().unwrap()).out;
    for verb in [
        "serve", "demo", "sandbox", "check", "enqueue", "list", "show", "explain", "cancel", "pause",
        "resume", "status",
    ] {
        assert!(help.contains(&format!("\n  {verb}  ")), "{verb} is not in {help}");
    }
    for code in 0..=5 {
        assert!(help.contains(&format!("\n  {code}  ")), "exit code {code} is not in {help}");
    }
}
