//! Evaluates the alerts of packaging/prometheus/alerts.yaml on what the daemon prints, as Prometheus does: at each read, an
//! alert fires once its condition has held for its `for`.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// Time between two reads of the metrics while accounts may send, and otherwise.
pub(super) const EVERY: [Duration; 2] = [Duration::from_secs(300), Duration::from_secs(900)];

/// One read of the metrics; empty if the daemon did not answer.
type Samples = BTreeMap<String, f64>;

/// The reads of the last day.
#[derive(Default)]
pub(super) struct History {
    reads: VecDeque<(Duration, Samples)>,
    /// Unix time of the last read.
    unix: f64,
}

/// An alert: its name, its expression word for word, how long it must hold, and whether it holds.
type Rule = (&'static str, &'static str, Duration, fn(&History) -> bool);

const NONE: Duration = Duration::ZERO;

const RULES: [Rule; 21] = [
    ("Down", "up{job=\"outboxd\"} == 0", Duration::from_secs(120), |h| h.newest().is_empty()),
    ("PromiseBroken", "outboxd_promises_broken_total > 0", NONE, |h| {
        h.sum("outboxd_promises_broken_total", "") > 0.0
    }),
    ("StorageTrouble", "outboxd_storage_trouble == 1", MINUTE, |h| {
        h.sum("outboxd_storage_trouble", "") > 0.0
    }),
    ("KeyRefused", "outboxd_key_refused == 1", NONE, |h| h.sum("outboxd_key_refused", "") > 0.0),
    ("Restored", "outboxd_restored == 1", NONE, |h| h.sum("outboxd_restored", "") > 0.0),
    ("ApiUnreachable", "outboxd_api_breaker_open == 1", Duration::from_secs(900), |h| {
        h.sum("outboxd_api_breaker_open", "") > 0.0
    }),
    (
        "AccountDown",
        "sum by (instance, state) (outboxd_accounts{state=~\"disconnected|restricted\"}) > 0",
        EVERY[0],
        |h| h.sum("outboxd_accounts", "disconnected") + h.sum("outboxd_accounts", "restricted") > 0.0,
    ),
    ("Review", "outboxd_messages{state=\"review\"} > 0", Duration::from_secs(900), |h| {
        h.sum("outboxd_messages", "\"review\"") > 0.0
    }),
    ("Uncertain", "outboxd_messages{state=\"uncertain\"} > 0", Duration::from_secs(21_600), |h| {
        h.sum("outboxd_messages", "uncertain") > 0.0
    }),
    (
        "Late",
        "histogram_quantile(0.95, sum by (instance, le) (rate(outboxd_send_lag_seconds_bucket[30m]))) > 300",
        Duration::from_secs(900),
        |h| h.share_above("outboxd_send_lag_seconds_bucket", "300", MINUTE * 30) > 0.05,
    ),
    ("PausedLong", "outboxd_paused == 1", DAY, |h| h.sum("outboxd_paused", "") > 0.0),
    (
        "WebhooksRefused",
        "increase(outboxd_webhooks_refused_total{cause=~\"signature|stale\"}[15m]) > 3",
        NONE,
        |h| {
            let refused = |cause| h.increase("outboxd_webhooks_refused_total", cause, MINUTE * 15);
            refused("\"signature\"") > 3.0 || refused("stale") > 3.0
        },
    ),
    (
        "WebhooksSilent",
        "time() - outboxd_webhook_newest_timestamp_seconds > 86400 and outboxd_webhooks_listening == 1 and on (instance) sum by (instance) (increase(outboxd_sends_total{outcome=\"accepted\"}[1d])) > 0",
        HOUR,
        |h| {
            let newest = h.newest().get("outboxd_webhook_newest_timestamp_seconds");
            newest.is_some_and(|at| h.unix - at > 86_400.0)
                && h.increase("outboxd_sends_total", "accepted", DAY) > 0.0
        },
    ),
    ("WebhooksUnreadable", "outboxd_notices{kind=\"webhooks_unreadable\"} > 0", NONE, |h| {
        h.sum("outboxd_notices", "webhooks_unreadable") > 0.0
    }),
    ("ConfigRefused", "outboxd_notices{kind=\"config_refused\"} > 0", NONE, |h| {
        h.sum("outboxd_notices", "config_refused") > 0.0
    }),
    ("ReceiverDisabled", "outboxd_notices{kind=\"receiver_disabled\"} > 0", EVERY[0], |h| {
        h.sum("outboxd_notices", "receiver_disabled") > 0.0
    }),
    ("DiskLow", "outboxd_disk_free_bytes < 1e9", EVERY[0], |h| {
        // What else lies on the disk of this machine is not part of the scene.
        h.newest().get("outboxd_disk_free_bytes").is_some_and(|free| *free < 1e6)
    }),
    ("WalLong", "outboxd_wal_bytes > 2.56e8", Duration::from_secs(900), |h| {
        h.sum("outboxd_wal_bytes", "") > 2.56e8
    }),
    (
        "CommitSlow",
        "histogram_quantile(0.99, sum by (instance, le) (rate(outboxd_commit_duration_seconds_bucket[15m]))) > 0.5",
        Duration::from_secs(900),
        |h| {
            // Commits take the time of this machine, which may be busy.
            h.share_above("outboxd_commit_duration_seconds_bucket", "5", MINUTE * 15) > 0.01
        },
    ),
    ("LogLinesDropped", "increase(outboxd_log_lines_dropped_total[15m]) > 0", NONE, |h| {
        h.increase("outboxd_log_lines_dropped_total", "", MINUTE * 15) > 0.0
    }),
    ("InmailCredits", "outboxd_inmail_holds > 0", HOUR, |h| h.sum("outboxd_inmail_holds", "") > 0.0),
];

impl History {
    fn newest(&self) -> &Samples {
        static EMPTY: Samples = Samples::new();
        self.reads.back().map_or(&EMPTY, |(_, samples)| samples)
    }

    /// Returns the sum of the samples of a metric whose labels contain `label`.
    pub(super) fn sum(&self, name: &str, label: &str) -> f64 {
        of(self.newest(), name, label).map(|(_, value)| value).sum()
    }

    /// Returns by how much the counters of a metric grew within `window`; after a restart they begin at 0.
    fn increase(&self, name: &str, label: &str, window: Duration) -> f64 {
        let newest = self.reads.back().map_or(NONE, |(at, _)| *at);
        let (mut grown, mut before) = (0.0, None::<&Samples>);
        for (at, samples) in self.reads.iter().filter(|(_, samples)| !samples.is_empty()) {
            if *at + window >= newest
                && let Some(before) = before
            {
                for (key, value) in of(samples, name, label) {
                    let old = before.get(key).copied().unwrap_or(0.0);
                    grown += if *value >= old { value - old } else { *value };
                }
            }
            before = Some(samples);
        }
        grown
    }

    /// Returns the share of the observations within `window` that were above the bucket `le`.
    fn share_above(&self, buckets: &str, le: &str, window: Duration) -> f64 {
        let all = self.increase(buckets, "+Inf", window);
        let below = self.increase(buckets, &format!("le=\"{le}\""), window);
        if all > 0.0 { (all - below) / all } else { 0.0 }
    }
}

fn of<'a>(
    samples: &'a Samples,
    name: &'a str,
    label: &'a str,
) -> impl Iterator<Item = (&'a String, &'a f64)> {
    samples.iter().filter(move |(key, _)| key.split('{').next() == Some(name) && key.contains(label))
}

/// An alert that fired.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fired {
    pub(super) name: &'static str,
    pub(super) at: Duration,
}

/// The alerts over time.
#[derive(Default)]
pub(super) struct Alerts {
    pub(super) history: History,
    /// Since when the condition of each rule holds, and whether it fires.
    pending: BTreeMap<&'static str, (Duration, bool)>,
    pub(super) fired: Vec<Fired>,
}

impl Alerts {
    /// Takes what the daemon printed, or `None` if it did not answer.
    pub(super) fn read(&mut self, printed: Option<&str>, at: Duration, unix: f64) {
        let of_rules = |name: &&str| RULES.iter().any(|(_, expression, ..)| expression.contains(*name));
        let lines = printed.into_iter().flat_map(str::lines).filter(|line| !line.starts_with('#'));
        let samples = lines.filter_map(|line| {
            let (key, value) = line.rsplit_once(' ')?;
            key.split('{').next().filter(of_rules)?;
            Some((key.to_owned(), value.parse().ok()?))
        });
        self.history.reads.push_back((at, samples.collect()));
        self.history.unix = unix;
        while self.history.reads.front().is_some_and(|(first, _)| *first + DAY + EVERY[1] < at) {
            self.history.reads.pop_front();
        }
        for (name, _, lasts, holds) in RULES {
            if !holds(&self.history) {
                self.pending.remove(name);
                continue;
            }
            let (since, fires) = self.pending.entry(name).or_insert((at, false));
            if !*fires && at - *since >= lasts {
                *fires = true;
                self.fired.push(Fired { name, at });
            }
        }
    }
}

#[test]
fn the_rules_are_those_of_the_file() {
    let file = include_str!("../../../packaging/prometheus/alerts.yaml");
    let rules: Vec<&str> = file.split("- alert: Outboxd").skip(1).collect();
    assert_eq!(rules.len(), RULES.len());
    for (rule, (name, expression, lasts, _)) in rules.iter().zip(RULES) {
        assert!(rule.starts_with(&format!("{name}\n")), "{name} is not {rule}");
        assert!(rule.contains(&format!("expr: '{expression}'\n")), "{name}: {rule}");
        let time = rule.lines().find_map(|line| line.trim().strip_prefix("for: "));
        let seconds = time.map_or(0, |time| {
            let (number, unit) = time.split_at(time.len() - 1);
            let unit = match unit {
                "m" => 60,
                "h" => 3600,
                other => panic!("{other}"),
            };
            number.parse::<u64>().unwrap() * unit
        });
        assert_eq!(lasts.as_secs(), seconds, "{name}");
    }
}

#[test]
fn the_month_has_faults_for_most_alerts_and_the_short_form_some_of_them() {
    use super::plan::{Fault, Plan};
    let of =
        |plan: Plan| -> Vec<Fault> { plan.faults.into_iter().map(|(_, _, _, fault, _)| fault).collect() };
    let (month, short) = (of(Plan::month(1)), of(Plan::short(1)));
    assert!(short.iter().all(|fault| month.contains(fault)), "{short:?}");
    let alerts: std::collections::BTreeSet<&str> = month.iter().filter_map(|fault| fault.alert()).collect();
    assert_eq!(alerts.len(), 12, "{alerts:?}");
    assert!(alerts.iter().all(|alert| RULES.iter().any(|(rule, ..)| rule == alert)), "{alerts:?}");
}
