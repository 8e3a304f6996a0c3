//! The limits of an account as an operator writes them: presets, hours and holidays, and what a request may change.
#![allow(clippy::unwrap_used, reason = "a test may")]

use outboxd::config::{Loaded, PolicyBook};
use outboxd::domain::message::AccountId;
use outboxd::domain::policy::{Policy, Shape};
use serde_json::{Map, Value, json};

use crate::config::load;

fn of(loaded: &Loaded, account: &str) -> Policy {
    Policy::clone(loaded.settings.policies.of(&AccountId::new(account)))
}

fn gap(policy: &Policy) -> (u64, u64, Shape, bool, bool) {
    let Policy { gap, rhythm, .. } = policy;
    (gap.min.as_secs(), gap.max.as_secs(), rhythm.shape, rhythm.spread, rhythm.breaks.is_some())
}

const GUIDE: (u64, u64, Shape, bool, bool) = (10, 20, Shape::Uniform, false, false);
const CALM: (u64, u64, Shape, bool, bool) = (90, 900, Shape::LogNormal, true, true);

#[test]
fn a_preset_gives_what_its_table_leaves_out() {
    let loaded = load(
        "[account.acc_calm]\npreset = \"calm\"\n[account.acc_own]\npreset = \"calm\"\ngap.min = \"2m\"",
        &[],
    );
    let loaded = loaded.unwrap();
    assert_eq!(gap(&of(&loaded, "acc_other")), GUIDE);
    assert_eq!(gap(&of(&loaded, "acc_calm")), CALM);
    assert_eq!(of(&loaded, "acc_own").gap.min.as_secs(), 120, "a key beats the preset");
    assert!(
        loaded.effective_toml().contains("gap.shape = \"log-normal\" # from preset calm\n"),
        "{}",
        loaded.effective_toml()
    );

    let text = "[policy.default]\npreset = \"calm\"\n[account.acc_guide]\npreset = \"guide\"\n[account.acc_plain]\nzone = \"UTC\"";
    let loaded = load(text, &[]).unwrap();
    assert_eq!(gap(&of(&loaded, "acc_guide")), GUIDE, "an account's preset comes before the default's");
    assert_eq!(gap(&of(&loaded, "acc_plain")), CALM);
}

#[test]
fn breaks_and_warm_up_take_their_ends() {
    let text = r#"
        [policy.default]
        breaks = { after = "3-4", min = "7m", max = "8m" }
        warm_up = { ramp = "50", start = "2026-12-01", after_quiet = "720h" }
    "#;
    let policy = of(&load(text, &[]).unwrap(), "acc_1");
    let breaks = policy.rhythm.breaks.unwrap();
    assert_eq!(
        (breaks.after_min, breaks.after_max, breaks.min.as_secs(), breaks.max.as_secs()),
        (3, 4, 420, 480)
    );
    let warm_up = policy.warm_up.unwrap();
    assert_eq!((warm_up.ramp, warm_up.start.unwrap().to_string()), (vec![50], "2026-12-01".to_owned()));
    assert_eq!(warm_up.after_quiet.unwrap().as_secs(), 720 * 3600);
}

#[test]
fn each_day_has_its_hours_and_holidays_come_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("holidays.txt");
    std::fs::write(&file, "# France\n2027-01-01\n2027-05-01 # Fête du Travail\n").unwrap();
    let days = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
    let hours: String =
        days.iter().enumerate().map(|(day, name)| format!("hours.{name} = \"0{day}:00-18:00\"\n")).collect();
    let text = format!(
        "[policy.default]\nzone = \"Europe/Paris\"\n{hours}hours.days_off = \"2026-12-25\"\nhours.start_late = \"35m\"\n\
         hours.end_early = \"10m\"\nhours.holidays = \"{}\"",
        file.display()
    );
    let calendar = of(&load(&text, &[]).unwrap(), "acc_1").calendar.unwrap();
    for day in 0..7_u16 {
        assert_eq!(calendar.week[usize::from(day)][0].from, day * 60);
    }
    assert_eq!((calendar.start_late.as_secs(), calendar.end_early.as_secs()), (35 * 60, 600));
    let off: Vec<String> = calendar.days_off.iter().map(|(day, _)| day.to_string()).collect();
    assert_eq!(off, ["2026-12-25", "2027-01-01", "2027-05-01"]);

    std::fs::write(&file, "2027-01-01\n1st of May\n").unwrap();
    let error = load(&text, &[]).unwrap_err().to_string();
    assert!(error.contains(&format!("{}: line 2: \"1st of May\" is not a date", file.display())), "{error}");
}

#[test]
fn high_caps_need_consent_and_are_warned_of() {
    let text = "[policy.default]\ncaps.all = \"500/24h\"\n[account.acc_1]\ncaps.new_chat = \"\"";
    assert_eq!(load(text, &[]).unwrap_err().problems.len(), 2);
    let loaded = load(text, &[("OUTBOXD_POLICY_ALLOW_HIGH_CAPS", "true")]).unwrap();
    let high: Vec<_> =
        loaded.warnings().iter().filter(|warning| warning.contains("more than is advised")).collect();
    assert!(
        high[0].starts_with("account.\"acc_1\".caps") && high[1].starts_with("policy.default.caps"),
        "{high:?}"
    );
}

fn asked(book: &PolicyBook, account: &str, values: Value) -> Result<Policy, Vec<String>> {
    let Value::Object(values) = values else { unreachable!("a test gives an object") };
    let problems = |problems: Vec<outboxd::config::Problem>| {
        problems.into_iter().map(|problem| problem.message).collect()
    };
    book.policy(&AccountId::new(account), &values).map_err(problems)
}

#[test]
fn a_request_changes_what_it_names_and_nothing_else() {
    let text = "[unipile]\napi_key = \"k3y-NOBODY\"\n[policy.default]\ngap.max = \"40s\"\n[account.acc_1]\nzone = \"Asia/Tokyo\"\ngap.max = \"50s\"";
    let loaded = load(text, &[]).unwrap();
    let book = &loaded.settings.policy_book;
    assert!(!format!("{book:?}").contains("k3y-NOBODY"), "the API key is not kept with the rules");
    let unchanged = book.policy(&AccountId::new("acc_1"), &Map::new()).unwrap();
    assert_eq!(unchanged, of(&loaded, "acc_1"));
    let changed = asked(book, "acc_1", json!({"gap.min": "30s", "caps.new_chat": "10/day"})).unwrap();
    assert_eq!((changed.gap.min.as_secs(), changed.gap.max.as_secs()), (30, 50));
    assert!(changed.caps.list.iter().any(|cap| cap.to_string() == "caps.new_chat 10/day"));
    assert_eq!(asked(book, "acc_2", json!({"gap.max": "41s"})).unwrap().gap.max.as_secs(), 41);
    let calm = asked(book, "acc_1", json!({"preset": "calm", "gap.max": "20m"})).unwrap();
    assert_eq!((calm.gap.min.as_secs(), calm.gap.max.as_secs(), calm.rhythm.spread), (90, 1200, true));
}

#[test]
fn a_request_is_refused_with_its_key_and_the_way_out() {
    let loaded = load("", &[]).unwrap();
    for (values, expected) in [
        (json!({"gap.mn": "30s"}), "unknown key `gap.mn` in the request; did you mean `gap.min`?"),
        (json!({"gap.min": 30}), "gap.min: expected text in quotes, got 30; write it as in: min = \"10s\""),
        (json!({"caps.jitter_percent": 1.5}), "caps.jitter_percent: expected a whole number, got 1.5;"),
        (json!({"gap.min": "5s"}), "gap.min in the request: 5s is below 10s;"),
        (json!({"caps.all": "0/day"}), "caps.all in the request: \"0/day\" would let nothing through;"),
        (
            json!({"hours.monday": "09:00-18:00"}),
            "hours.monday in the request: needs a zone, and the account has none;",
        ),
        (json!({"zone": "Mars/Base"}), "zone in the request: \"Mars/Base\" is not a known time zone;"),
    ] {
        let problems = asked(&loaded.settings.policy_book, "acc_1", values.clone()).unwrap_err();
        assert!(problems.iter().any(|problem| problem.starts_with(expected)), "{values}: {problems:?}");
    }
}
