//! `outboxd import` and `outboxd export` against the real daemon: broken rows, kills, encodings, seats, the dry run.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::cli_fake::{Answers, Ran};
use crate::daemon::{Daemon, TestEnv, eventually, run};

pub(crate) const HELLO: &str = "Hi {{ first_name }},\n\ndo you hire at {{ company or \"your company\" }}?\n";
pub(crate) const NUDGE: &str = "{{ first_name }}, did you read this?\n";
pub(crate) const LAST: &str = "The last one, {{ company }}.\n";

/// Starts a daemon that sends nothing, with the templates of a campaign of three steps.
async fn quiet() -> (TestEnv, Daemon) {
    quiet_in(TestEnv::new().await.hasty()).await
}

async fn quiet_in(env: TestEnv) -> (TestEnv, Daemon) {
    let daemon = env.serve().await;
    daemon.post("/v1/pause", "").await;
    for (name, text) in [("hello.txt", HELLO), ("nudge.txt", NUDGE), ("last.txt", LAST)] {
        std::fs::write(env.path(name), text).unwrap();
    }
    (env, daemon)
}

pub(crate) fn ran(env: &TestEnv, arguments: &[&str]) -> Ran {
    let output = env.outboxd(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
}

/// Imports a table as the campaign of three steps.
fn import(env: &TestEnv, file: &str, more: &[&str]) -> Ran {
    let line = ["import", file, "--campaign", "autumn", "--account", "acc_1,acc_2,acc_3"];
    let steps = ["--step", "hello.txt", "--step", "3 days", "nudge.txt", "--step", "5 days", "last.txt"];
    ran(env, &[&line[..], &steps[..], more].concat())
}

fn count(env: &TestEnv) -> usize {
    env.sql("SELECT '' || count(*) FROM messages")[0].parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_has_passed_is_one_error() {
    let (env, daemon) = quiet().await;
    std::fs::write(env.path("people.csv"), "user,first_name,company\nACoA1,Jane,Acme\nACoA2,Ann,Acme\n")
        .unwrap();
    for more in [
        &["--expires-at", "2024-01-01T00:00:00Z"][..],
        &["--expires-at", "2024-01-01T00:00:00Z", "--dry-run"],
    ] {
        let ran = import(&env, "people.csv", more);
        let told = "error: --expires-at has passed: 2024-01-01T00:00:00.000Z; give a time in the future\n";
        assert!(ran.code == 2 && ran.err.ends_with(told) && ran.err.matches("error").count() == 1, "{ran:?}");
        assert_eq!(count(&env), 0);
    }
    daemon.stop().await;
}

/// Rows that are broken: the person, first name, company, account, and what the reason must say.
pub(crate) fn broken_rows() -> Vec<(&'static str, &'static str, &'static str, &'static str, &'static str)> {
    let long: &'static str = Box::leak("long".repeat(2500).into_boxed_str());
    vec![
        ("ACoB01", "", "Acme", "", "`first_name` is empty"),
        ("ACoB02", "  ", "Acme", "", "`first_name` is empty"),
        ("ACoB03", "nan", "Acme", "", "\"nan\", which means a missing value"),
        ("ACoB04", "NULL", "Acme", "", "missing value"),
        ("ACoB05", "None", "Acme", "", "missing value"),
        ("ACoB06", "undefined", "Acme", "", "missing value"),
        ("ACoB07", "#N/A", "Acme", "", "missing value"),
        ("ACoB08", "-", "Acme", "", "missing value"),
        ("ACoB09", "{{first_name}}", "Acme", "", "not filled in"),
        ("ACoB10", "{first_name}", "Acme", "", "not filled in"),
        ("ACoB11", "[First Name]", "Acme", "", "not filled in"),
        ("ACoB12", "%FIRSTNAME%", "Acme", "", "not filled in"),
        ("ACoB13", "MÃ¼ller", "Acme", "", "\"Müller\" in a wrong encoding"),
        ("ACoB14", "M\u{fffd}ller", "Acme", "", "characters are lost"),
        ("ACoB15", "Jane", "", "", "`company` is empty"),
        ("ACoB16", "Jane", "N/A", "", "missing value"),
        ("ACoB17", "Jane", "{company}", "", "not filled in"),
        ("ACoB18", "Jane", long, "", "characters, 8000 are allowed"),
        ("ACoB19", "Jane\u{7}", "Acme", "", "U+0007"),
        ("", "Jane", "Acme", "", "`Provider ID` is empty"),
        ("NULL", "Jane", "Acme", "", "`Provider ID` is \"NULL\""),
        ("undefined", "Jane", "Acme", "", "missing value"),
        ("{{ $json.id }}", "Jane", "Acme", "", "placeholder"),
        ("\"ACoB24,ACoB25\"", "Jane", "Acme", "", "give one id"),
        ("ACoB26 ACoB27", "Jane", "Acme", "", "give one id"),
        ("ACo\u{200b}B28", "Jane", "Acme", "", "invisible"),
        ("https://example.com/jane", "Jane", "Acme", "", "an address"),
        ("ACoB30", "Jane", "Acme", "Acme", "`account` does not begin with `acc_`"),
        ("ACoB31", "Jane", "Acme", "NULL", "`account` is \"NULL\""),
        ("ACoB32", "Jane", "Acme", "acc_1,extra", "has 5 cells"),
    ]
}

/// Returns 400 rows: every broken one somewhere among good ones.
pub(crate) fn four_hundred() -> String {
    let mut table = "Provider ID,First Name,company,account\n".to_owned();
    let mut broken = broken_rows().into_iter();
    for number in 0..400 {
        let next = if number % 13 == 5 { broken.next() } else { None };
        match next {
            Some((user, first_name, company, account, _)) => {
                writeln!(table, "{user},{first_name},{company},{account}").unwrap();
            }
            None => writeln!(table, "ACoA{number:04},Jane{number},\"Acme, Inc\",").unwrap(),
        }
    }
    assert_eq!(broken.next(), None);
    table
}

/// Returns the records of a table as maps.
pub(crate) fn records(text: &str) -> Vec<BTreeMap<String, String>> {
    let mut reader =
        csv::ReaderBuilder::new().flexible(true).from_reader(text.trim_start_matches('\u{feff}').as_bytes());
    let header = reader.headers().unwrap().clone();
    let pairs = |record: csv::StringRecord| {
        header.iter().zip(record.iter()).map(|(name, cell)| (name.to_owned(), cell.to_owned())).collect()
    };
    reader.records().map(|record| pairs(record.unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_rows_are_refused_with_their_reason_mended_and_imported() {
    let (env, daemon) = quiet().await;
    std::fs::write(env.path("people.csv"), four_hundred()).unwrap();
    let first = import(&env, "people.csv", &[]);
    assert_eq!(first.code, 4, "{}", first.err);
    let counts = "370 people: 1110 messages queued, 0 queued before; 30 rows refused\n";
    assert_eq!(first.out, counts, "{}", first.err);
    let shown = "people.csv: UTF-8, comma between cells, 400 rows\n  user <- Provider ID\n  first_name <- First Name\n";
    assert!(first.err.starts_with(shown), "{}", first.err);
    assert!(first.err.contains("people.csv.refused.csv; mend them"), "{}", first.err);

    // Nothing of a broken row is in the queue, not even its good steps.
    assert_eq!(env.sql("SELECT '' || count(*) FROM messages WHERE users_ids NOT LIKE '%ACoA%'"), ["0"]);
    let steps = env.sql("SELECT users_ids FROM messages GROUP BY users_ids HAVING count(*) <> 3");
    assert_eq!(steps, Vec::<String>::new());
    let texts = "SELECT text FROM messages WHERE users_ids LIKE '%ACoA0000%' ORDER BY step";
    let text = "Hi Jane0,\n\ndo you hire at Acme, Inc?";
    assert_eq!(env.sql(texts), [text, "Jane0, did you read this?", "The last one, Acme, Inc."]);
    let meta = env.sql("SELECT meta FROM messages WHERE users_ids LIKE '%ACoA0001%' AND step = 2");
    let meta: Value = serde_json::from_str(&meta[0]).unwrap();
    let columns = r#"{"Provider ID": "ACoA0001", "First Name": "Jane1", "company": "Acme, Inc"}"#;
    assert_eq!(meta, serde_json::from_str::<Value>(columns).unwrap());

    // Each refused row has its reason.
    let file = std::fs::read_to_string(env.path("people.csv.refused.csv")).unwrap();
    let refused = records(&file);
    assert_eq!(refused.len(), 30);
    for (row, (user, .., told)) in refused.iter().zip(broken_rows()) {
        // The row with too many cells has its reason in the next column.
        let reason = if told == "has 5 cells" { "has 5 cells" } else { row["refused_because"].as_str() };
        assert!(reason.contains(told), "{user}: {reason:?} does not say {told:?}");
    }
    assert!(file.contains("has 5 cells, and the header has 4"), "{file}");

    // The same command again adds nothing and keeps the file.
    let again = import(&env, "people.csv", &[]);
    assert_eq!(again.out, "370 people: 0 messages queued, 1110 queued before; 30 rows refused\n");
    assert!(!env.path("people.csv.refused-2.csv").exists());

    // Mended and imported.
    let mut mended = csv::Writer::from_writer(Vec::new());
    mended.write_record(["Provider ID", "First Name", "company", "account", "refused_because"]).unwrap();
    for number in 0..30 {
        mended.write_record([&format!("ACoC{number:02}"), "Jane", "Acme", "", "an old reason"]).unwrap();
    }
    std::fs::write(env.path("people.csv.refused.csv"), mended.into_inner().unwrap()).unwrap();
    let third = import(&env, "people.csv.refused.csv", &[]);
    assert_eq!(
        (third.code, third.out.as_str()),
        (0, "30 people: 90 messages queued, 0 queued before; 0 rows refused\n"),
        "{}",
        third.err
    );
    assert_eq!(count(&env), 1200);
    assert_eq!(env.sql("SELECT '' || count(*) FROM messages WHERE meta LIKE '%old reason%'"), ["0"]);
    daemon.stop().await;
}

/// P1, P2
#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_is_killed_can_be_run_again() {
    // Many small commits.
    let env = TestEnv::new().await.hasty().set("OUTBOXD_API_BATCH_ROWS", "50");
    let (env, daemon) = quiet_in(env).await;
    let mut table = "user,first_name,company\n".to_owned();
    for number in 0..1500 {
        writeln!(table, "ACoA{number:04},Jane,Acme").unwrap();
    }
    std::fs::write(env.path("people.csv"), &table).unwrap();
    let line = [
        "import",
        "people.csv",
        "--campaign",
        "autumn",
        "--account",
        "acc_1,acc_2",
        "--step",
        "hello.txt",
        "--step",
        "1 day",
        "nudge.txt",
    ];
    // Killed at once, then each time after the next commit.
    for moment in 0..20 {
        let before = count(&env);
        let mut running = env.outboxd(&line).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        if moment > 0 {
            let stored = eventually(async || count(&env) > before || running.try_wait().unwrap().is_some());
            assert!(stored.await);
        }
        running.kill().unwrap();
        running.wait().unwrap();
    }
    let stored = count(&env);
    assert!(stored > 0 && stored < 3000, "{stored} messages: it was killed too early or too late");
    let last = ran(&env, &line);
    assert_eq!(last.code, 0, "{}", last.err);
    assert!(last.out.starts_with("1500 people: "), "{}", last.out);
    let of_each = "SELECT count(*) || ' of ' || n FROM (SELECT count(*) AS n, count(DISTINCT step) AS s FROM messages GROUP BY users_ids) WHERE n = s GROUP BY n";
    assert_eq!(env.sql(of_each), ["1500 of 2"]);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn encodings_and_delimiters_are_noticed_and_said() {
    let (env, daemon) = quiet().await;
    let table = |campaign: &str, delimiter: &str| {
        let rows = ["user,first_name,company", "ACoA1x,Zoë,Café", "ACoA2x,Jürgen,Größe"];
        rows.join("\r\n").replace(',', delimiter).replace("x", campaign) + "\r\n"
    };
    let utf_16: Vec<u8> =
        format!("\u{feff}{}", table("c", "\t")).encode_utf16().flat_map(u16::to_le_bytes).collect();
    let latin: Vec<u8> = table("d", ";").chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
    for (campaign, bytes, said) in [
        ("a", table("a", ",").into_bytes(), "UTF-8, comma between cells, 2 rows"),
        (
            "b",
            format!("\u{feff}{}", table("b", ";")).into_bytes(),
            "UTF-8 with a byte order mark, semicolon between",
        ),
        ("c", utf_16, "UTF-16LE with a byte order mark, tab between"),
        ("d", latin, "Windows-1252, semicolon between"),
    ] {
        std::fs::write(env.path("people.csv"), bytes).unwrap();
        let line =
            ["import", "people.csv", "--campaign", campaign, "--account", "acc_1", "--step", "hello.txt"];
        let done = ran(&env, &line);
        assert!(done.code == 0 && done.err.contains(said), "{campaign}: {}", done.err);
        let sql = format!("SELECT text FROM messages WHERE campaign = '{campaign}' ORDER BY users_ids");
        assert_eq!(env.sql(&sql), ["Hi Zoë,\n\ndo you hire at Café?", "Hi Jürgen,\n\ndo you hire at Größe?"]);
    }
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_keeps_the_seat_when_rows_and_accounts_change_places() {
    let (env, daemon) = quiet().await;
    let table = |numbers: &mut dyn Iterator<Item = usize>| {
        let rows = numbers.map(|number| format!("ACoA{number:03},Jane,Acme\n"));
        format!("user,first_name,company\n{}", rows.collect::<String>())
    };
    let seats =
        || env.sql("SELECT users_ids || ' ' || account_id FROM messages WHERE step = 1 ORDER BY users_ids");
    std::fs::write(env.path("people.csv"), table(&mut (0..200))).unwrap();
    assert_eq!(import(&env, "people.csv", &[]).code, 0);
    let before = seats();
    let each = env.sql("SELECT '' || count(*) FROM messages WHERE step = 1 GROUP BY account_id");
    assert!(each.len() == 3 && each.iter().all(|n| n.parse::<u32>().unwrap() > 40), "{each:?}");
    // More rows, in another order, and the accounts as well.
    std::fs::write(env.path("people.csv"), table(&mut (0..300).rev())).unwrap();
    let line =
        ["import", "people.csv", "--campaign", "summer", "--account", "acc_3,acc_1", "--account", "acc_2"];
    let done = ran(
        &env,
        &[&line[..], &["--step", "hello.txt", "--step", "1 day", "last.txt", "--allow-repeat"]].concat(),
    );
    assert_eq!(done.code, 0, "{}", done.err);
    let sql =
        "SELECT DISTINCT users_ids || ' ' || account_id FROM messages WHERE campaign = 'summer' ORDER BY 1";
    assert_eq!(env.sql(sql)[..200], before);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_shows_messages_refusals_and_the_forecast_and_queues_nothing() {
    let (env, daemon) = quiet().await;
    daemon.post("/v1/resume", "").await;
    std::fs::write(env.path("people.csv"), four_hundred()).unwrap();
    let done = import(&env, "people.csv", &["--dry-run"]);
    assert_eq!(done.code, 4, "{}", done.err);
    for shown in [
        "line 2, step 1: from acc_",
        "  Hi Jane0,\n  \n  do you hire at Acme, Inc?",
        "step 2: from acc_",
        ", 3 days after the step before\n  Jane0, did you read this?",
        "  The last one, Acme, Inc.",
        "370 people, 1110 messages, the last one goes at ",
        " if no one replies\nthe last first message goes at ",
    ] {
        assert!(done.out.contains(shown), "{shown:?} is not in {}", done.out);
    }
    let refused = done.err.lines().filter(|line| line.starts_with("error: line "));
    assert_eq!(refused.count(), 30, "{}", done.err);
    assert!(done.err.contains("acc_3 has sent nothing yet and is not in the configuration"), "{}", done.err);
    assert_eq!(count(&env), 0);
    assert!(!env.path("people.csv.refused.csv").exists());
    let done = import(&env, "people.csv", &["--dry-run", "--json"]);
    let answer: Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!((&answer["people"], answer["refused"].as_array().unwrap().len()), (&Value::from(370), 30));
    assert_eq!(answer["forecast"]["with"]["messages"], 1110);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_the_whole_table_queues_nothing() {
    let (env, daemon) = quiet().await;
    let good = "user,first_name,company\nACoA1,Jane,Acme\n";
    std::fs::write(env.path("wrong.txt"), "Hi {{ frist_name }}, {{ company }}\n").unwrap();
    std::fs::write(env.path("open.txt"), "Hi {{ first_name\n").unwrap();
    let steps = |template: &'static str| vec!["--step", template];
    for (table, step, told) in [
        (
            good,
            steps("wrong.txt"),
            "wrong.txt uses `frist_name`, and no column has that name; did you mean `first_name`?",
        ),
        (good, steps("open.txt"), "open.txt, line 1: "),
        (good, steps("none.txt"), "none.txt cannot be read"),
        (
            good,
            vec!["--step", "hello.txt", "--step", "nudge.txt"],
            "say how long after the step before: --step '3 days' nudge.txt",
        ),
        (
            good,
            vec!["--step", "hello.txt", "--step", "nudge.txt", "3 days"],
            "write the wait before the file",
        ),
        (good, vec!["--step", "hello.txt", "--step", "soon", "nudge.txt"], "is not a wait: \"soon\""),
        (good, vec!["--step", "3 days", "hello.txt"], "the first --step has no wait"),
        (good, vec!["--step", "hello.txt", "--column", "user=id"], "`--column user=id` names no column"),
        ("first_name,company\nJane,Acme\n", steps("hello.txt"), "no column names the person"),
        (
            "user,first_name,company\nACoA1,\"Jane,Acme\nACoA2,John,Acme\n",
            steps("hello.txt"),
            "line 2 has a quotation mark that is never closed",
        ),
        ("[{\"text\": \"a\"}]", steps("hello.txt"), "is a JSON array; `outboxd enqueue FILE`"),
        ("PK\u{3}\u{4}", steps("hello.txt"), "is an Excel workbook"),
        ("", steps("hello.txt"), "is empty"),
    ] {
        std::fs::write(env.path("people.csv"), table).unwrap();
        let line = ["import", "people.csv", "--campaign", "autumn", "--account", "acc_1"];
        let done = ran(&env, &[&line[..], &step[..]].concat());
        assert!(done.code == 2 && done.err.contains(told), "{told:?} is not in {} ({})", done.err, done.code);
    }
    assert_eq!(count(&env), 0);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn results_are_exported_with_the_columns_that_came_in() {
    let (env, daemon) = quiet().await;
    let table = "user,first_name,company,state\nACoA1,Jane,\"Acme, Inc\",NRW\nACoA2,John,Brandt,\n";
    std::fs::write(env.path("people.csv"), table).unwrap();
    assert_eq!(import(&env, "people.csv", &[]).code, 0);
    daemon.post("/v1/resume", "").await;
    env.delivered(2).await;
    let sent =
        eventually(async || env.sql("SELECT '' || count(*) FROM messages WHERE state = 'sent'") == ["2"]);
    assert!(sent.await);
    let done = ran(&env, &["export", "--campaign", "autumn", "--csv"]);
    let rows = records(&done.out);
    assert!(done.out.starts_with("company,first_name,meta.state,user,id,campaign,step,"), "{}", done.out);
    let mut shown: Vec<String> = rows
        .iter()
        .map(|row| {
            ["first_name", "meta.state", "step", "state", "to"].map(|name| row[name].clone()).join(" ")
        })
        .collect();
    shown.sort();
    let of_jane = ["Jane NRW 1 sent ACoA1", "Jane NRW 2 queued ACoA1", "Jane NRW 3 queued ACoA1"];
    assert_eq!(
        shown,
        [&of_jane[..], &["John  1 sent ACoA2", "John  2 queued ACoA2", "John  3 queued ACoA2"]].concat()
    );
    assert!(rows.iter().all(|row| (row["state"] == "sent") == row["sent_at"].ends_with('Z')));
    let lines = ran(&env, &["export", "--campaign", "autumn", "--state", "sent", "--json"]).out;
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["meta"]["company"], "Acme, Inc");
    daemon.stop().await;
}

#[test]
fn the_table_of_a_find_tool_works_as_it_is() {
    let accepted = r#"{"accepted": 12, "duplicates": 0, "refused": 0, "results": []}"#;
    let fake = Answers::default().on("POST /v1/messages", 200, accepted).start();
    for name in ["people.csv", "hello.txt", "nudge.txt", "last.txt"] {
        let file = format!("{}/examples/campaign/{name}", env!("CARGO_MANIFEST_DIR"));
        fake.file(name, &std::fs::read_to_string(file).unwrap());
    }
    let line = "import people.csv --campaign autumn --account acc_1,acc_2 --step hello.txt --step";
    let arguments: Vec<&str> =
        line.split(' ').chain(["3 days", "nudge.txt", "--step", "5 days", "last.txt"]).collect();
    let done = fake.run(&arguments);
    assert_eq!(done.code, 0, "{}", done.err);
    assert!(done.err.contains("  user <- linkedin_url\n"), "{}", done.err);
    let asked = fake.asked();
    let asked =
        asked.iter().find(|asked| asked.what == "POST /v1/messages?atomic=person&accounts=keep").unwrap();
    let messages: Vec<Value> = asked.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(messages.len(), 12);
    assert_eq!(messages[0]["users_ids"], "https://www.linkedin.com/in/jane-doe-4711/");
    assert_eq!(messages[1]["wait"], "3 days");
    assert_eq!(messages[3]["text"].as_str().unwrap().lines().next(), Some("Hi Zoë,"));
    assert!(
        messages[9]["text"].as_str().unwrap().contains("I help teams to hire"),
        "no company: {}",
        messages[9]
    );
    // The table may come after the first step, too.
    let ran = fake.run(&[
        "import",
        "--campaign",
        "autumn",
        "--account",
        "acc_1",
        "--step",
        "hello.txt",
        "people.csv",
    ]);
    assert_eq!(ran.code, 0, "{}", ran.err);
}

/// Of the rows of a person the first good one counts, also if only the daemon refuses the first row.
fn the_first_good_row_counts(env: &TestEnv) {
    let two = "first_name,linkedin_url,company\n[NAME],https://www.linkedin.com/in/two-rows/,Acme\n\
               Jane,https://www.linkedin.com/in/two-rows/,Acme\nJanet,https://www.linkedin.com/in/two-rows/,Acme\n";
    std::fs::write(env.path("two.csv"), two).unwrap();
    let dry = import(env, "two.csv", &["--dry-run"]);
    assert!(
        dry.code == 4 && dry.out.contains("1 person, 3 messages") && dry.out.contains("Hi Jane,"),
        "{}",
        dry.out
    );
    assert!(dry.err.contains("line 4: the same person as in line 3"), "{}", dry.err);
    let shown = import(env, "two.csv", &["--dry-run", "--json"]);
    let shown: Value = serde_json::from_str(&shown.out).unwrap();
    assert_eq!(shown["repeated"], json!([{"line": 4, "same_as": 3}]), "{shown}");
    let done = import(env, "two.csv", &[]);
    let counts =
        "1 person: 3 messages queued, 0 queued before, 1 row of people named before; 1 row refused\n";
    assert_eq!(done.out, counts, "{}", done.err);
    assert!(done.err.contains("line 4: the same person as in line 3"), "{}", done.err);
    assert!(done.err.contains("`limits.placeholders_meant`"), "{}", done.err);
    assert!(
        done.err.contains("line 2: `first_name` holds \"[NAME]\""),
        "the cell, not the template: {}",
        done.err
    );
    assert!(!done.err.contains("allow_placeholders"), "{}", done.err);
    let (ok, said) = run(env.outboxd(&["cancel", "--person", "in/two-rows"]), "");
    assert!(ok, "{said}");
}

/// People who are in the campaign keep their account, whatever accounts an import names.
fn people_keep_their_account(env: &TestEnv) {
    let (ok, said) = run(env.outboxd(&["retry", "--campaign", "autumn"]), "");
    assert!(ok && said.contains("queued again: 15"), "{said}");
    std::fs::write(env.path("fourth.txt"), "One more question, {{ first_name }}.\n").unwrap();
    let more = [
        "--step",
        "hello.txt",
        "--step",
        "3 days",
        "nudge.txt",
        "--step",
        "5 days",
        "last.txt",
        "--step",
        "5 days",
        "fourth.txt",
    ];
    let line = ["import", "people.csv", "--campaign", " autumn", "--account", "acc_9"];
    let dry = ran(env, &[&line[..], &more, &["--dry-run"]].concat());
    assert!(dry.code == 0 && dry.out.contains("4 people, 4 messages; with them"), "{}{}", dry.out, dry.err);
    assert!(!dry.out.contains("acc_9"), "{}", dry.out);
    let added = ran(env, &[&line[..], &more].concat());
    assert_eq!(added.out, "4 people: 4 messages queued, 12 queued before; 0 rows refused\n", "{}", added.err);
    let accounts = "SELECT DISTINCT '' || count(DISTINCT account_id) FROM messages GROUP BY users_ids";
    assert_eq!(env.sql(accounts), ["1"]);
    assert_eq!(env.sql("SELECT '' || count(*) FROM messages WHERE account_id = 'acc_9'"), ["0"]);
}

/// An import does not change what was queued before: it says so of each message that the table or a template gives other
/// contents now. Columns that no template uses may change.
fn what_says_something_else_is_named(env: &TestEnv) {
    let table = std::fs::read_to_string(env.path("people.csv")).unwrap();
    std::fs::write(env.path("mended.csv"), table.replace("Jane,", "Janet,").replace("CTO", "CEO")).unwrap();
    let told = "line 2, step 1: was queued before with other contents or another wait, as message ";
    let counts =
        "queued before with other contents or another wait: 2 queued; an import does not change them";
    for more in [&[][..], &["--dry-run"]] {
        let again = import(env, "mended.csv", more);
        assert!(again.code == 0 && again.err.contains(told) && again.err.contains(counts), "{}", again.err);
        assert!(!again.err.contains("line 3,"), "{}", again.err);
    }
    let answer: Value = serde_json::from_str(&import(env, "mended.csv", &["--json"]).out).unwrap();
    let differing = answer["differing"].as_array().unwrap();
    assert_eq!(differing.len(), 2, "{answer}");
    assert_eq!((&differing[1]["line"], &differing[1]["step"]), (&json!(2), &json!(2)), "{answer}");
    // Only the wait of a step.
    let line = ["import", "people.csv", "--campaign", "autumn", "--account", "acc_1,acc_2,acc_3"];
    let other_wait =
        ran(env, &[&line[..], &["--step", "hello.txt", "--step", "4 days", "nudge.txt"]].concat());
    assert!(other_wait.err.contains("line 5, step 2: was queued before"), "{}", other_wait.err);
    assert!(other_wait.err.contains("another wait: 4 queued;"), "{}", other_wait.err);
    let same = import(env, "people.csv", &[]);
    assert!(same.code == 0 && !same.err.contains("other contents"), "{}", same.err);
}

/// Imports some people with one step of its own campaign, of which the message to Jane is sent, that to Ann scheduled, that to
/// Bob held and that to Eve cancelled; returns the ids in this order.
async fn corrected_later() -> (TestEnv, Daemon, Vec<String>) {
    let (env, daemon) = quiet().await;
    let table = "user,first_name,company\nACoA1,Jane,Acme\nACoA2,Ann,Acme\nACoA3,Bob,Acme\nACoA4,Eve,Acme\n";
    std::fs::write(env.path("one.csv"), table.lines().take(2).collect::<Vec<_>>().join("\n")).unwrap();
    std::fs::write(env.path("people.csv"), table).unwrap();
    assert_eq!(import(&env, "one.csv", &[]).code, 0);
    daemon.post("/v1/resume", "").await;
    env.delivered(1).await;
    let sent = "SELECT '' || count(*) FROM messages WHERE state = 'sent'";
    assert!(eventually(async || env.sql(sent) == ["1"]).await);
    daemon.post("/v1/pause", "").await;
    let done = import(&env, "people.csv", &[]);
    assert_eq!(done.code, 0, "{}", done.err);
    let ids = env.sql("SELECT id FROM messages WHERE step = 1 ORDER BY users_ids");
    let scheduled = json!({"not_before": "2099-01-01T00:00:00Z"}).to_string();
    assert_eq!(daemon.patch(&format!("/v1/messages/{}", ids[1]), &scheduled).await.0, 200);
    for (command, id) in [("hold", &ids[2]), ("cancel", &ids[3])] {
        let (ok, said) = run(env.outboxd(&[command, id]), "");
        assert!(ok, "{said}");
    }
    std::fs::write(env.path("people.csv"), table.replace(",Acme", ",Bolt").replace("Bob", "Bobby")).unwrap();
    (env, daemon, ids)
}

/// What still waits gets the text of the corrected table, with the event of an edit; the rest is named.
#[tokio::test(flavor = "multi_thread")]
async fn an_import_with_update_changes_what_waits_and_names_the_rest() {
    let (env, daemon, ids) = corrected_later().await;
    let texts = || env.sql("SELECT text FROM messages WHERE step = 1 ORDER BY users_ids");
    let before = texts();
    let plain = import(&env, "people.csv", &[]);
    assert!(plain.code == 0 && plain.err.contains("`outboxd import … --update`"), "{}", plain.err);
    // Step 3 names the company, step 2 only Bob, step 1 both: of Jane only step 3 waits, of Eve nothing.
    let counts = |words: &str| format!("12 queued before, of which 6 {words} changed and 3 could not be");
    let stays = [
        format!("line 2, step 1: message {} stays: it is sent and cannot be edited any more; queue", ids[0]),
        format!(
            "line 5, step 1: message {} stays: it is cancelled, and an import changes only what waits",
            ids[3]
        ),
    ];
    let dry = import(&env, "people.csv", &["--update", "--dry-run"]);
    assert!(dry.code == 0 && stays.iter().all(|told| dry.err.contains(told)), "{}{}", dry.out, dry.err);
    let would = "12 were queued before, of which 6 would be changed and 3 could not be";
    assert!(dry.out.contains(would) && texts() == before, "{}", dry.out);

    let done = import(&env, "people.csv", &["--update"]);
    assert!(done.code == 0 && done.out.contains(&counts("were")), "{}{}", done.out, done.err);
    assert!(stays.iter().all(|told| done.err.contains(told)), "{}", done.err);
    let after = texts();
    assert_eq!((&after[0], &after[3]), (&before[0], &before[3]), "sent and cancelled ones stay");
    assert!(after[1].contains("Bolt") && after[2].starts_with("Hi Bobby,"), "{after:?}");
    let kept = "SELECT '' || count(*) FROM messages WHERE held_at IS NOT NULL OR not_before LIKE '2099%'";
    assert_eq!(env.sql(kept), ["2"], "the hold and the time stay");
    let edits = "SELECT '' || count(*) FROM events WHERE kind = 'command.edit' AND detail ->> 'note' = 'import --update'";
    assert_eq!(env.sql(edits), ["6"]);
    let again: Value =
        serde_json::from_str(&import(&env, "people.csv", &["--update", "--json"]).out).unwrap();
    let differing = again["differing"].as_array().unwrap();
    assert!(differing.len() == 3 && differing.iter().all(|one| one["changed"] == false), "{again}");
    assert!(differing[0]["why"].as_str().is_some_and(|why| why.starts_with("stays: it is sent")), "{again}");
    daemon.stop().await;
}

/// An edit changes neither a wait nor files, and checks the text: an update says so of each, and its exit code is 4.
#[tokio::test(flavor = "multi_thread")]
async fn an_import_with_update_says_what_an_edit_cannot_change() {
    let (env, daemon) = quiet().await;
    std::fs::write(env.path("people.csv"), "user,first_name,company\nACoA1,Jane,Acme\nACoA2,Ann,Bolt\n")
        .unwrap();
    assert_eq!(import(&env, "people.csv", &[]).code, 0);
    // The text of Ann's first message is one that she was queued in a message of its own.
    let taken = json!({"account_id": "acc_1", "users_ids": "ACoA2", "text": "Dear Ann"}).to_string();
    let account = env.sql("SELECT account_id FROM messages WHERE users_ids LIKE '%ACoA2%'").remove(0);
    let taken = daemon.enqueue(&taken.replace("acc_1", &account)).await;
    std::fs::write(env.path("hello.txt"), "Dear {{ first_name }}\n").unwrap();
    std::fs::write(env.path("nudge.txt"), "{{ first_name }}, have you read this?\n").unwrap();
    std::fs::write(env.path("last.txt"), format!("---\nattachments = [\"hello.txt\"]\n---\n{LAST}")).unwrap();
    let line = ["import", "people.csv", "--campaign", "autumn", "--account", "acc_1,acc_2,acc_3"];
    let steps = ["--step", "hello.txt", "--step", "4 days", "nudge.txt", "--step", "5 days", "last.txt"];
    let line = [&line[..], &steps[..], &["--update"]].concat();
    let done = ran(&env, &line);
    assert!(done.code == 4 && done.out.contains("of which 3 were changed and 3 could not be"), "{done:?}");
    for told in [
        "line 2, step 2: message ",
        " gets the new text only: an edit does not change the wait after the step before; `outboxd edit ",
        " was not changed: its files differ, and an edit changes only the text; `outboxd cancel ",
        &format!("was queued for this person before, as message {taken}"),
    ] {
        assert!(done.err.contains(told), "{told}: {}", done.err);
    }
    let texts = env.sql("SELECT text FROM messages WHERE campaign = 'autumn' ORDER BY users_ids, step");
    assert_eq!(
        (texts[0].as_str(), texts[4].as_str()),
        ("Dear Jane", "Ann, have you read this?"),
        "{texts:?}"
    );
    daemon.stop().await;
}

/// Of a table with one more person, a dry run counts that one.
fn a_dry_run_counts_what_is_new(env: &TestEnv) {
    let mut table = std::fs::read_to_string(env.path("people.csv")).unwrap();
    let last = table
        .lines()
        .last()
        .unwrap()
        .replace("https://www.linkedin.com/in/", "https://www.linkedin.com/in/x");
    table.push_str(&format!("{last}\n"));
    std::fs::write(env.path("people.csv"), &table).unwrap();
    let dry = import(env, "people.csv", &["--dry-run"]);
    assert!(dry.out.contains("1 person, 3 messages"), "{}{}", dry.out, dry.err);
}

/// The commands of docs/campaigns.md, in a copy of the folder of the examples.
#[tokio::test(flavor = "multi_thread")]
async fn the_example_is_queued_by_the_real_daemon() {
    let env = TestEnv::new().await.hasty().set("OUTBOXD_PEOPLE_RESOLVE", "true");
    let daemon = env.serve().await;
    daemon.post("/v1/pause", "").await;
    for name in ["people.csv", "hello.txt", "nudge.txt", "last.txt"] {
        let file = format!("{}/examples/campaign/{name}", env!("CARGO_MANIFEST_DIR"));
        std::fs::copy(file, env.path(name)).unwrap();
    }
    let dry = import(&env, "people.csv", &["--dry-run"]);
    assert!(dry.code == 0 && dry.out.contains("  Hi Jane,"), "{}{}", dry.out, dry.err);
    assert_eq!(count(&env), 0);
    let done = import(&env, "people.csv", &[]);
    assert_eq!(done.out, "4 people: 12 messages queued, 0 queued before; 0 rows refused\n", "{}", done.err);
    let people = env.sql("SELECT DISTINCT users_ids FROM messages ORDER BY 1");
    assert!(people.len() == 4 && people[1].contains("in/jane-doe-4711"), "{people:?}");
    let again = import(&env, "people.csv", &[]);
    assert_eq!(again.out, "4 people: 0 messages queued, 12 queued before; 0 rows refused\n", "{}", again.err);
    what_says_something_else_is_named(&env);
    // What was cancelled is not queued again by an import, and it says what does that.
    let (ok, said) = run(env.outboxd(&["campaign", "cancel", "autumn"]), "");
    assert!(ok, "{said}");
    let cancelled = "queued before and not sent: 12 cancelled; `outboxd list --campaign autumn --state cancelled` says why, and `outboxd retry ID` queues one again\n";
    let again = import(&env, "people.csv", &[]);
    assert!(again.code == 0 && again.err.contains(cancelled), "{}{}", again.out, again.err);
    let dry = import(&env, "people.csv", &["--dry-run"]);
    assert_eq!(dry.out, "0 people, 0 messages: nothing would be queued, 12 were queued before\n");
    assert!(dry.err.contains(cancelled), "{}", dry.err);
    the_first_good_row_counts(&env);
    people_keep_their_account(&env);
    a_dry_run_counts_what_is_new(&env);
    daemon.stop().await;
}

#[test]
fn an_import_that_loses_the_daemon_says_how_to_go_on() {
    let unavailable = r#"{"error": {"code": "unavailable", "field": "", "problem": "the queue cannot be written", "fix": "free some space"}}"#;
    let fake = Answers::default().on("POST /v1/messages", 503, unavailable).start();
    fake.file("people.csv", "user,first_name,company\nACoA1,Jane,Acme\n");
    fake.file("hello.txt", HELLO);
    let done =
        fake.run(&["import", "people.csv", "--campaign", "a", "--account", "acc_1", "--step", "hello.txt"]);
    assert_eq!(done.code, 1);
    assert!(
        done.err.contains("the queue cannot be written") && done.err.contains("run the same command again"),
        "{}",
        done.err
    );
}

/// What is wrong with every row is one error, before anything is queued.
#[tokio::test(flavor = "multi_thread")]
async fn a_template_or_an_option_that_would_refuse_every_row_is_one_error() {
    let (env, daemon) = quiet().await;
    std::fs::write(env.path("people.csv"), "user,first_name\nACoA1,Jane\nACoA2,Ann\n").unwrap();
    for (name, text) in
        [("shout.txt", "Hi\n{{ first_name | shout }}"), ("empty.txt", " \n"), ("ok.txt", "Hi")]
    {
        std::fs::write(env.path(name), text).unwrap();
    }
    let ran = |step: &str, label: &str, more: &[&str]| {
        let line = ["import", "people.csv", "--campaign", label, "--account", "acc_1", "--step", step];
        ran(&env, &[&line[..], more].concat())
    };
    for (step, label, more, told) in [
        ("shout.txt", "a", &[][..], "error: shout.txt, line 2: there is no filter `shout`"),
        ("shout.txt", "a", &["--dry-run"], "error: shout.txt, line 2: there is no filter `shout`"),
        ("empty.txt", "a", &[], "error: empty.txt is empty; write the message"),
        ("ok.txt", "a", &["--priority", "101"], "101 is not in -100..=100"),
        ("ok.txt", "..", &[], "no campaign can have this label"),
    ] {
        let ran = ran(step, label, more);
        assert!(ran.code == 2 && ran.err.contains(told), "{ran:?}");
        assert!(!env.path("people.csv.refused.csv").exists() && count(&env) == 0, "{ran:?}");
    }
    for words in [&["campaign", "show", ".."][..], &["campaign", "show", ""], &["list", "--campaign", ".."]] {
        let ran = self::ran(&env, words);
        assert!(ran.code == 2 && ran.err.contains("label"), "{ran:?}");
    }
    // Characters of a cell are those of the cell, also in a later line of the text.
    let bad = "user,First Name\nACoA1,Ja\0ne\nACoA2,An\u{7}n\nACoA3,J\u{fffd}\nACoA4,Jane\n";
    std::fs::write(env.path("people.csv"), bad).unwrap();
    std::fs::write(env.path("hi.txt"), "Hi,\n\n{{ first_name }}").unwrap();
    let ran = ran("hi.txt", "a", &[]);
    assert_eq!(ran.code, 4, "{ran:?}");
    assert!(ran.err.contains("line 2: `First Name` holds a NUL character"), "{ran:?}");
    assert!(ran.err.contains("line 3: `First Name` holds the control character U+0007;"), "{ran:?}");
    assert!(ran.out.starts_with("1 person: 1 message queued, 0 queued before; 3 rows refused"), "{ran:?}");
    daemon.stop().await;
}
