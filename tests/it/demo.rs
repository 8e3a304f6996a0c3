//! The demo with people who answer, as a new user runs it: it checks itself against the sandbox's ledger.

use std::process::Command;

use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_of_replies_keeps_every_promise() {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_outboxd"));
    demo.args(["demo", "--replies", "--json", "--seed", "7"]);
    let output = tokio::task::spawn_blocking(move || demo.output().expect("it runs")).await.expect("it ends");
    let said = String::from_utf8_lossy(&output.stdout);
    let report: Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said} {output:?}"));
    assert_eq!(report, json!({ "seed": 7, "delivered": 12, "broken": [] }));
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}
