//! Days of a whole daemon in seconds: `Application` on a clock that the scene moves, with everything on. The sandbox answers
//! and posts webhooks over real HTTP, people answer, receivers of events fail and recover, producers import and INSERT,
//! and the daemon is backed up, pruned, reloaded, restarted and killed. Faults are injected by a plan, and the alerts of
//! packaging/prometheus/alerts.yaml must fire for exactly those.
//!
//! `plan.rs` has what happens when, `scene.rs` and `acts.rs` let it happen, `alerts.rs` evaluates the alerts, `idle.rs` finds the moment at
//! which time may move, `daemon.rs` is the process, `outside.rs` what is around it.
//! `benches/month.rs` runs 30 days; the test here runs two.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod acts;
mod alerts;
mod daemon;
mod idle;
mod outside;
pub(crate) mod plan;
pub(crate) mod report;
pub(crate) mod scene;

/// The scene needs a process in which no other test is at work: this test runs itself once more.
#[test]
fn two_days_with_everything_on_keep_every_promise_and_fire_the_right_alerts() {
    const IS_SCENE: &str = "OUTBOXD_TEST_MONTH";
    if std::env::var_os(IS_SCENE).is_some() {
        let report = scene::run(plan::Plan::short(20_261_122));
        assert!(report.wrongs.is_empty() && report.delivered > 500, "{report}");
        return;
    }
    let name = "month::two_days_with_everything_on_keep_every_promise_and_fire_the_right_alerts";
    let mut scene = std::process::Command::new(std::env::current_exe().unwrap());
    let output = scene.args(["--exact", name]).env(IS_SCENE, "1").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
