//! `/import` over HTTP, from the real daemon: what is shown before anything is queued, what is queued, and what is refused.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::collections::BTreeMap;

use crate::cli_import::{HELLO, NUDGE, ran, records};
use crate::daemon::TestEnv;
use crate::dashboard::{Browser, Ui};

const TABLE: &str = "LinkedIn URL,First Name,company\nlinkedin.com/in/ada,Ada,Acme\nlinkedin.com/in/bob,,Acme\n\
                     linkedin.com/in/cyd,Cyd,\nlinkedin.com/in/ada,Ada,Acme\n";

/// What a person fills in; a file is the field `file`.
pub(crate) type Form = Vec<(String, String)>;

/// Returns the form for two steps, with some fields of another value.
pub(crate) fn form(other: &[(&str, &str)]) -> Form {
    let usual = [("campaign", "autumn"), ("accounts", "acc_1, acc_2"), ("wait", ""), ("text", HELLO)];
    let last = [("wait", "3 days"), ("text", NUDGE)];
    let mut form: Form =
        usual.iter().chain(&last).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    for (name, value) in other {
        match form.iter_mut().find(|(known, _)| known == name) {
            Some(field) => field.1 = (*value).to_owned(),
            None => form.push(((*name).to_owned(), (*value).to_owned())),
        }
    }
    form
}

/// Encodes a form as a browser does; a file named `people.csv`.
fn encoded(form: &Form, file: Option<&[u8]>) -> Vec<u8> {
    let mut body = Vec::new();
    let mut part = |head: &str, content: &[u8]| {
        body.extend(format!("--b0undary\r\nContent-Disposition: form-data; {head}\r\n\r\n").into_bytes());
        body.extend(content);
        body.extend(b"\r\n");
    };
    part(
        &format!("name=\"file\"; filename=\"{}\"", if file.is_some() { "people.csv" } else { "" }),
        file.unwrap_or_default(),
    );
    for (name, value) in form {
        part(&format!("name=\"{name}\""), value.as_bytes());
    }
    body.extend(b"--b0undary--\r\n");
    body
}

pub(crate) async fn press(browser: &Browser, form: &Form, file: Option<&[u8]>) -> (u16, String) {
    browser.post("/import", "multipart/form-data; boundary=b0undary", encoded(form, file)).await
}

/// Returns the hidden fields that carry the state from one page to the next.
fn carried(page: &str) -> BTreeMap<&str, &str> {
    let hidden = page.split("<input type=\"hidden\" name=\"").skip(1);
    hidden
        .filter_map(|rest| rest.split('>').next()?.trim_end_matches('"').split_once("\" value=\""))
        .collect()
}

/// Returns the form as the page carries it on, with another button.
pub(crate) fn next(page: &str, other: &[(&str, &str)]) -> Form {
    let carried = carried(page);
    let mut all = vec![("upload", carried["upload"]), ("seen", carried["seen"])];
    all.extend_from_slice(other);
    form(&all)
}

fn messages(env: &TestEnv) -> usize {
    env.sql("SELECT '' || count(*) FROM messages")[0].parse().unwrap()
}

#[tokio::test]
async fn a_table_is_shown_before_it_is_queued_and_queued_once() {
    let env = TestEnv::new().await.set("OUTBOXD_PEOPLE_RESOLVE", "true");
    let _daemon = env.serve().await;
    let browser = Browser::of(&env);
    let (status, empty) = browser.page("/import").await;
    assert!(status == 200 && empty.contains("enctype=\"multipart/form-data\""), "{status}: {empty}");
    let (_, shown) = press(&browser, &form(&[("do", "check")]), Some(TABLE.as_bytes())).await;
    for part in [
        "<strong>people.csv</strong>: UTF-8, comma between cells, 4 rows",
        "<option value=\"\">LinkedIn URL</option>",
        "<option value=\"\">First Name</option>",
        "2 people, 4 messages; 1 row refused",
        "<td data-label=\"Line\" class=\"n\">3</td>",
        "`first_name` is empty; fill it in",
        "Line 5 is the same person as line 2",
        "Hi Ada,\n\ndo you hire at Acme?",
        "do you hire at your company?",
        "3 days after the step before",
        "The last one goes at <time",
        "acc_1 has sent nothing yet",
        "Queue 4 messages to 2 people",
        "outboxd import people.csv --campaign autumn --account acc_1,acc_2 --step step-1.txt --step &#39;3 days&#39; step-2.txt",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert_eq!(messages(&env), 0, "nothing is queued before a person confirms");

    // What is queued is what was shown.
    let (_, changed) = press(&browser, &next(&shown, &[("do", "queue"), ("campaign", "winter")]), None).await;
    assert!(changed.contains("Something changed since you looked"), "{changed}");
    assert_eq!(messages(&env), 0);

    let confirm = next(&shown, &[("do", "queue")]);
    let (_, queued) = press(&browser, &confirm, None).await;
    assert!(queued.contains("2 people: 4 messages queued, 0 queued before; 1 row refused"), "{queued}");
    assert_eq!(messages(&env), 4);
    let (_, again) = press(&browser, &confirm, None).await;
    assert!(again.contains("2 people: 0 messages queued, 4 queued before"), "{again}");
    assert_eq!(messages(&env), 4, "a second click queues nothing twice");

    // The command that the page shows does the same: it finds everything queued.
    for (name, text) in [("people.csv", TABLE), ("step-1.txt", HELLO), ("step-2.txt", NUDGE)] {
        std::fs::write(env.path(name), text).unwrap();
    }
    let line = ["import", "people.csv", "--campaign", "autumn", "--account", "acc_1,acc_2"];
    let steps = ["--step", "step-1.txt", "--step", "3 days", "step-2.txt"];
    let told = ran(&env, &[&line[..], &steps[..]].concat());
    assert!(told.out.contains("2 people: 0 messages queued, 4 queued before"), "{}{}", told.out, told.err);
}

#[tokio::test]
async fn refused_rows_come_as_a_file_and_the_form_keeps_what_was_typed() {
    let env = TestEnv::new().await.set("OUTBOXD_PEOPLE_RESOLVE", "true");
    let _daemon = env.serve().await;
    let browser = Browser::of(&env);
    let (_, shown) = press(&browser, &form(&[("do", "check")]), Some(TABLE.as_bytes())).await;
    let (status, file) = press(&browser, &next(&shown, &[("do", "refused")]), None).await;
    assert_eq!(status, 200);
    let rows = records(&file);
    assert_eq!(rows.len(), 1, "{file}");
    assert_eq!(rows[0]["LinkedIn URL"], "linkedin.com/in/bob");
    assert!(rows[0]["refused_because"].contains("`first_name` is empty"), "{file}");

    // Steps come and go; the table stays.
    let (_, more) = press(&browser, &next(&shown, &[("do", "add")]), None).await;
    assert!(more.contains("step-3.txt") && more.contains("people.csv</strong>"), "{more}");
    let (_, less) = press(&browser, &next(&shown, &[("do", "remove-2")]), None).await;
    assert!(!less.contains("step-2.txt\"") && less.contains("do you hire at"), "{less}");

    // A chosen column wins over a noticed one.
    let choice = [("do", "check"), ("column.first_name", "company")];
    let (_, other) = press(&browser, &next(&shown, &choice), None).await;
    assert!(other.contains("<option selected>company</option>") && other.contains("Hi Acme,"), "{other}");
    assert!(other.contains("--column first_name=company"), "{other}");

    // A table that is not kept any more costs an upload and not what was typed.
    let lost = form(&[("do", "check"), ("upload", "0000"), ("campaign", "my label")]);
    let (_, lost) = press(&browser, &lost, None).await;
    assert!(lost.contains("choose it again") && lost.contains("value=\"my label\""), "{lost}");
    assert_eq!(messages(&env), 0);
}

#[tokio::test]
async fn what_is_wrong_is_named_and_nothing_is_queued() {
    let env = TestEnv::new().await;
    let _daemon = env.serve().await;
    let browser = Browser::of(&env);
    let table = b"user,first_name\nACoA1,Ada\n".as_slice();
    let no_file: Option<&[u8]> = None;
    let long = "x".repeat(3000);
    for (file, other, told) in [
        (no_file, vec![], "choose the table of people"),
        (Some(b"".as_slice()), vec![], "people.csv: is empty"),
        (Some(b"PK\x03\x04abc".as_slice()), vec![], "people.csv is an Excel workbook"),
        (Some(b"{\"user\": 1}".as_slice()), vec![], "people.csv is JSON"),
        (Some(b"user,first_name\nACoA1,\xcd\x90\xff\n".as_slice()), vec![], "--encoding NAME"),
        (Some(b"user,first_name\n\"ACoA1,Ada\n".as_slice()), vec![], "never closed"),
        (Some(b"city\nParis\n".as_slice()), vec![("text", "Hi")], "no column names the person"),
        (Some(table), vec![("text", "Hi {{ frist_name }}")], "did you mean `first_name`?"),
        (Some(table), vec![("text", "Hi {{ first_name")], "step-1.txt, line 1"),
        (Some(table), vec![("text", "")], "step-1.txt is empty; write the message"),
        (
            Some(table),
            vec![("text", "---\nattachments = [\"a.pdf\"]\n---\nHi")],
            "step-1.txt has attachments",
        ),
        (Some(table), vec![("text", "Hi"), ("accounts", "")], "say which accounts send"),
        (Some(table), vec![("text", "Hi"), ("accounts", "jane@example.com")], "begins with `acc_`"),
        (Some(table), vec![("text", "Hi"), ("campaign", "")], "name the campaign"),
        (Some(table), vec![("text", "Hi"), ("campaign", &long)], "the campaign holds 3000 bytes"),
        (Some(table), vec![("text", "Hi"), ("expires_at", "soon")], "is not a time"),
        (Some(table), vec![("text", "Hi"), ("priority", "high")], "the priority is"),
        (
            Some(table),
            vec![("text", "Hi"), ("priority", "101")],
            "the priority is \"101\"; write a number from -100 to 100",
        ),
        (Some(table), vec![("delimiter", "xy")], "write one character"),
        (Some(table), vec![("encoding", "latin-17")], "is not a known encoding"),
        (Some(table), vec![("text", "Hi {{ first_name }} [NAME]")], "[NAME]"),
    ] {
        for button in ["check", "queue"] {
            let form = form(&[other.as_slice(), &[("do", button)]].concat());
            let (status, page) = press(&browser, &form, file).await;
            let page = page.replace("&#34;", "\"").replace("&#39;", "'");
            assert!(status == 200 && page.contains(told), "{told}: {page}");
            assert!(!page.contains("value=\"queue\""), "{told}: no button queues it: {page}");
        }
    }
    let (status, large) = press(&browser, &form(&[]), Some(&vec![b'x'; (8 << 20) + 1])).await;
    assert!(status == 413 && large.contains("is larger than 8 MiB"), "{status}: {large}");
    let (status, broken) = browser.post("/import", "multipart/form-data", Vec::new()).await;
    assert!(status == 400 && broken.contains("the form cannot be read"), "{status}: {broken}");
    assert_eq!(messages(&env), 0);
}

#[tokio::test]
async fn a_read_only_view_has_no_import() {
    let env = TestEnv::new().await;
    let _daemon = env.serve().await;
    let (browser, _ui) = Ui::start(&env, &["--read-only"]).enter_and_keep().await;
    assert!(!browser.page("/").await.1.contains("href=\"/import\""));
    assert_eq!(browser.page("/import").await.0, 403);
    assert_eq!(press(&browser, &form(&[("do", "queue")]), Some(TABLE.as_bytes())).await.0, 403);
    assert_eq!(messages(&env), 0);
}
