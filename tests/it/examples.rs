//! The examples of producers: each queues its message once, and says what is wrong with a bad one. A language that is not
//! installed is left out, and named.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::process::{Command, Output};

use serde_json::Value;

use crate::daemon::{Daemon, TestEnv};

/// A producer: the program that runs it, the file, and whether it writes SQL.
const PRODUCERS: [(&[&str], &str, bool); 5] = [
    (&["python3"], "by_socket.py", false),
    (&["python3"], "by_sql.py", true),
    (&["node"], "by_socket.mjs", false),
    (&["go", "run"], "by_socket.go", false),
    (&["sh"], "by_socket.sh", false),
];

fn example(file: &str) -> String {
    format!("{}/examples/producers/{file}", env!("CARGO_MANIFEST_DIR"))
}

fn queue(env: &TestEnv, (program, file, is_sql): (&[&str], &str, bool), text: &str) -> Output {
    let place = if is_sql { env.database() } else { env.socket() };
    let binary = std::path::Path::new(env!("CARGO_BIN_EXE_outboxd"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(binary.parent().unwrap().to_owned()).chain(std::env::split_paths(&path));
    let mut command = Command::new(program[0]);
    command.args(&program[1..]).arg(example(file)).arg(place).args([
        "acc_1",
        &format!("chat-{file}"),
        text,
        file,
    ]);
    command.current_dir(env.path(".")).env("PATH", std::env::join_paths(folders).unwrap());
    command.output().unwrap()
}

async fn count(daemon: &Daemon) -> usize {
    daemon.get("/v1/messages").await.1["data"].as_array().map_or(0, Vec::len)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_producer_queues_its_message_once() {
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    let mut expected = 0;
    for producer in PRODUCERS {
        let (program, file, _) = producer;
        let version = if program[0] == "go" { "version" } else { "--version" };
        if program[0] != "sh" && Command::new(program[0]).arg(version).output().is_err() {
            eprintln!("{} is not installed; {file} is left out", program[0]);
            continue;
        }
        let output = queue(&env, producer, "Hello from an example");
        assert!(output.status.success(), "{file}: {output:?}");
        let said = String::from_utf8(output.stdout).unwrap();
        let (_, listed) = daemon.get("/v1/messages").await;
        let id = listed["data"][0]["id"].as_str().unwrap();
        assert!(said.contains(id), "{file} prints the id: {said}");
        expected += 1;
        daemon.becomes(id, "sent").await;

        // The same key again: nothing new. A program that writes SQL hears that the key is taken.
        let again = queue(&env, producer, "Hello from an example");
        assert!(again.status.success() || producer.2, "{file}: {again:?}");
        assert_eq!(count(&daemon).await, expected, "{file}: {again:?}");

        let refused = queue(&env, producer, "");
        assert!(!refused.status.success(), "{file}: {refused:?}");
        let told = String::from_utf8(refused.stderr).unwrap();
        assert!(told.contains("text"), "{file} says what is wrong: {told}");
        assert_eq!(count(&daemon).await, expected, "{file}");
    }
    assert_eq!(env.sandbox.world().delivered_count(), expected);
    assert_eq!(daemon.get("/v1/audit").await.1["ok"], Value::Bool(true));
}

#[test]
fn every_example_is_run() {
    let folder = std::fs::read_dir(example("")).unwrap();
    let mut files: Vec<String> =
        folder.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    files.sort();
    let mut run: Vec<&str> = PRODUCERS.iter().map(|(_, file, _)| *file).collect();
    run.sort_unstable();
    assert_eq!(files, run);
}
