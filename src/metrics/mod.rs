//! Metrics for Prometheus: the table of them, and the recorder that counts.
//!
//! The store owns the recorder, because everything that counts has the store. What can be counted as it happens is
//! counted here; the rest is computed when the metrics are read (`http/metrics.rs`). Recording takes no lock that a
//! reader holds, so that reading never delays a send.

pub mod table;

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Level, Metadata, Recorder, Unit};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use table::{Kind, Metric, PROMISES_BROKEN, TABLE};

/// How many accounts have a label of their own, so that 100,000 accounts do not make 100,000 series.
pub const ACCOUNTS: usize = 200;

/// The label of the accounts after the first [`ACCOUNTS`].
pub const OTHER: &str = "other";

/// How often the histograms are drained: their values pile up until they are read or drained.
pub const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// The recorder of one daemon.
pub struct Metrics {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    /// The accounts that have a label of their own.
    accounts: Mutex<HashSet<String>>,
    /// The label values that [`Metrics::set_only`] has set.
    shown: Mutex<HashSet<(&'static str, String)>>,
    /// Promises broken since the start.
    broken: AtomicU64,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Default for Metrics {
    /// Creates a recorder that shows every metric of the table whose labels have listed values as 0.
    fn default() -> Self {
        let mut builder = PrometheusBuilder::new();
        for metric in TABLE {
            if let Kind::Histogram(bounds) = metric.kind {
                let name = Matcher::Full(metric.name.to_owned());
                builder = builder.set_buckets_for_metric(name, bounds).expect("the bounds are not empty");
            }
        }
        let recorder = builder.build_recorder();
        let handle = recorder.handle();
        let metrics = Self {
            recorder,
            handle,
            accounts: Mutex::default(),
            shown: Mutex::default(),
            broken: AtomicU64::default(),
        };
        for metric in TABLE {
            metrics.describe(metric);
            if metric.kind != Kind::Gauge {
                metrics.show_zeros(metric);
            }
        }
        metrics
    }
}

const METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, None);

fn key(metric: &Metric, values: &[&str]) -> Key {
    assert!(!cfg!(for_tests) || metric.labels.len() == values.len(), "{}", metric.name);
    let labels = metric.labels.iter().zip(values).map(|(label, value)| {
        assert!(
            !cfg!(for_tests) || label.values.is_empty() || label.values.contains(value),
            "{}: {value} is missing in the table",
            metric.name
        );
        metrics::Label::new(label.name, (*value).to_owned())
    });
    Key::from_parts(metric.name, labels.collect::<Vec<_>>())
}

impl Metrics {
    fn describe(&self, metric: &Metric) {
        let name = KeyName::from(metric.name);
        let unit = match metric.unit {
            "seconds" => Some(Unit::Seconds),
            "bytes" => Some(Unit::Bytes),
            _ => None,
        };
        match metric.kind {
            Kind::Counter => self.recorder.describe_counter(name, unit, metric.help.into()),
            Kind::Gauge => self.recorder.describe_gauge(name, unit, metric.help.into()),
            Kind::Histogram(_) => self.recorder.describe_histogram(name, unit, metric.help.into()),
        }
    }

    /// Shows 0 for each combination of listed label values.
    fn show_zeros(&self, metric: &Metric) {
        let mut series: Vec<Vec<&str>> = vec![Vec::new()];
        for label in metric.labels {
            let with = |one: &Vec<&'static str>| {
                let one = one.clone();
                label.values.iter().map(move |value| [one.clone(), vec![*value]].concat())
            };
            series = series.iter().flat_map(with).collect();
        }
        for values in series {
            match metric.kind {
                Kind::Counter => self.counter(metric, &values).absolute(0),
                Kind::Gauge => self.gauge(metric, &values).set(0.0),
                Kind::Histogram(_) => drop(self.histogram(metric, &values)),
            }
        }
    }

    fn counter(&self, metric: &Metric, values: &[&str]) -> Counter {
        self.recorder.register_counter(&key(metric, values), &METADATA)
    }

    fn gauge(&self, metric: &Metric, values: &[&str]) -> Gauge {
        self.recorder.register_gauge(&key(metric, values), &METADATA)
    }

    fn histogram(&self, metric: &Metric, values: &[&str]) -> Histogram {
        self.recorder.register_histogram(&key(metric, values), &METADATA)
    }

    /// Counts one more; `values` are those of the labels, in the order of the table.
    pub fn count(&self, metric: &Metric, values: &[&str]) {
        self.counter(metric, values).increment(1);
    }

    /// Counts a broken promise.
    pub fn break_promise(&self, promise: &str) {
        self.broken.fetch_add(1, Ordering::Relaxed);
        self.count(&PROMISES_BROKEN, &[promise]);
    }

    /// Returns how many promises were broken since the start.
    pub fn promises_broken(&self) -> u64 {
        self.broken.load(Ordering::Relaxed)
    }

    /// Sets a counter that is counted elsewhere.
    pub fn count_is(&self, metric: &Metric, values: &[&str], count: u64) {
        self.counter(metric, values).absolute(count);
    }

    /// Sets a gauge.
    pub fn set(&self, metric: &Metric, values: &[&str], value: f64) {
        self.gauge(metric, values).set(value);
    }

    /// Sets a gauge with one label for exactly these values of the label; those that it had before become 0.
    pub fn set_only(&self, metric: &Metric, values: &[(String, u64)]) {
        let mut shown = self.shown.lock().expect("nothing panics while holding it");
        for (value, _) in values {
            shown.insert((metric.name, value.clone()));
        }
        for (_, value) in shown.iter().filter(|(name, _)| *name == metric.name) {
            let n = values.iter().find(|(found, _)| found == value).map_or(0, |(_, n)| *n);
            #[expect(clippy::cast_precision_loss, reason = "Prometheus has no other numbers")]
            self.set(metric, &[value], n as f64);
        }
    }

    /// Changes a gauge by `difference`.
    pub fn add(&self, metric: &Metric, values: &[&str], difference: f64) {
        self.gauge(metric, values).increment(difference);
    }

    /// Records a duration.
    pub fn observe(&self, metric: &Metric, duration: Duration) {
        self.histogram(metric, &[]).record(duration.as_secs_f64());
    }

    /// Returns the label of an account: its id, or [`OTHER`] if enough accounts have a label.
    pub fn account_label<'a>(&self, account: &'a str) -> &'a str {
        let mut accounts = self.accounts.lock().expect("nothing panics while holding it");
        if accounts.contains(account) {
            return account;
        }
        if accounts.len() >= ACCOUNTS {
            return OTHER;
        }
        accounts.insert(account.to_owned());
        account
    }

    /// Returns all metrics in the text format of Prometheus.
    pub fn render(&self) -> String {
        self.handle.render()
    }

    /// Drains the histograms; call it every [`UPKEEP_EVERY`].
    pub fn run_upkeep(&self) {
        self.handle.run_upkeep();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_accounts_have_a_label_and_the_rest_share_one() {
        let metrics = Metrics::default();
        for index in 0..ACCOUNTS {
            let account = format!("acc_{index}");
            assert_eq!(metrics.account_label(&account), account);
        }
        assert_eq!(metrics.account_label("acc_late"), OTHER);
        assert_eq!(metrics.account_label("acc_7"), "acc_7");
    }

    #[test]
    fn counters_and_histograms_are_there_before_anything_happens() {
        let text = Metrics::default().render();
        for line in [
            "outboxd_promises_broken_total{promise=\"gap\"} 0",
            "outboxd_webhooks_refused_total{cause=\"signature\"} 0",
            "outboxd_send_lag_seconds_count 0",
            "outboxd_commit_duration_seconds_bucket{le=\"0.001\"} 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
    }

    #[test]
    fn names_say_the_unit_and_whether_it_is_a_counter() {
        let mut names = HashSet::new();
        for metric in TABLE {
            let name = metric.name;
            assert!(names.insert(name), "{name} is there twice");
            assert!(name.starts_with("outboxd_"), "{name}");
            assert_eq!(name.ends_with("_total"), metric.kind == Kind::Counter, "{name}");
            assert!(metric.unit.is_empty() || name.ends_with(metric.unit), "{name}: {}", metric.unit);
        }
    }
}
