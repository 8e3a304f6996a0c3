//! Runs the examples of `docs/messages.md` verbatim: through the socket, the command line and SQL. What reaches the
//! sandbox must be what the page says.

use std::process::Command;

use serde_json::Value;

use crate::daemon::{Daemon, TestEnv, eventually, run};

/// One form of message, as the page shows it.
struct Form {
    title: String,
    /// The body that `curl` posts.
    posted: String,
    /// The upload, for a form with files.
    upload: Option<String>,
    command: String,
    sql: String,
    /// The typing indicator that is shown before the message.
    after: Option<String>,
    path: String,
    body: Value,
}

fn forms() -> Vec<Form> {
    let page = include_str!("../../docs/messages.md");
    page.split("\n## ").skip(1).map(form).collect()
}

fn form(section: &str) -> Form {
    let title = section.lines().next().expect("a title").to_owned();
    let blocks = |kind: &str| -> Vec<&str> {
        let begin = format!("```{kind}\n");
        section.split(&begin).skip(1).map(|rest| rest.split("\n```").next().expect("an end")).collect()
    };
    let shell = blocks("sh");
    assert_eq!((blocks("sql").len(), blocks("json").len()), (1, 1), "{title}");
    let [posted, upload @ .., command] = &shell[..] else { panic!("{title}: too few examples") };
    assert!(upload.len() <= 1, "{title}");
    let posted = posted.split_once("-d '").expect("a body").1.trim_end_matches('\'').to_owned();
    let path = section.split("goes out as `POST ").nth(1).expect("a path").split('`').next().expect("a path");
    Form {
        posted,
        upload: upload.first().map(|upload| (*upload).to_owned()),
        command: (*command).to_owned(),
        sql: blocks("sql")[0].trim_end_matches(';').to_owned(),
        after: section
            .split("After `POST ")
            .nth(1)
            .and_then(|rest| rest.split('`').next())
            .map(str::to_owned),
        path: path.to_owned(),
        body: serde_json::from_str(blocks("json")[0]).expect("JSON"),
        title,
    }
}

impl Form {
    /// Enqueues the form through each interface, one after the other; returns how many messages this makes.
    async fn put_in(&self, env: &TestEnv, daemon: &Daemon) -> usize {
        let (status, answer) = daemon.post_with("/v1/messages", ("accept", "*/*"), &self.posted).await;
        assert_eq!(status, 201, "{}: {answer}", self.title);
        let program = env.outboxd(&[]);
        let folder = std::path::Path::new(program.get_program()).parent().expect("a folder").to_owned();
        let mut shell = Command::new("/bin/sh");
        shell
            .args(["-c", &format!("{} --allow-repeat", self.command)])
            .current_dir(env.path(""))
            .env("PATH", folder)
            .env("OUTBOXD_SOCKET", env.socket());
        let (ok, said) = run(shell, "");
        assert!(ok, "{}: {said}", self.title);
        // The same person gets the same text through each interface, which has to be allowed.
        let allowed = self.sql.replacen("messages (", "messages (allow_repeat, ", 1);
        env.sql(&format!("{} RETURNING id", allowed.replacen("VALUES (", "VALUES (1, ", 1)));
        let Some(upload) = &self.upload else { return 3 };
        let socket = env.socket().display().to_string();
        match env.run("curl", &["--version"], "") {
            Some(_) => {
                let (ok, said) = env
                    .run(
                        "sh",
                        &[
                            "-c",
                            &upload.replace("outboxd.sock", &socket).replacen(
                                '{',
                                "{\"allow_repeat\": true, ",
                                1,
                            ),
                        ],
                        "",
                    )
                    .expect("a shell");
                assert!(ok && said.contains("queued"), "{}: {said}", self.title);
                4
            }
            None => {
                println!("not installed here: curl");
                3
            }
        }
    }
}

/// Shows the typing indicator for a moment only.
fn typing_quickly(env: TestEnv) -> TestEnv {
    let keys = ["BASE", "PER_CHAR_MIN", "PER_CHAR_MAX", "MIN"];
    keys.into_iter().fold(env, |env, key| env.set(&format!("OUTBOXD_POLICY_DEFAULT_TYPING_{key}"), "0s"))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_goes_out_as_the_page_says_by_each_door() {
    let env = typing_quickly(TestEnv::new().await.hasty());
    let files: [(&str, &[u8]); 4] = [
        ("offer.pdf", b"%PDF-1.7"),
        ("photo.png", b"\x89PNG\r\n\x1a\n"),
        ("clip.mp4", b"\0\0\0\x18ftypmp42"),
        ("voice.mp3", b"ID3voice"),
    ];
    for (name, bytes) in files {
        std::fs::write(env.path(name), bytes).expect("a file");
    }
    let daemon = env.serve().await;
    let forms = forms();
    assert!(forms.len() >= 12, "{} forms", forms.len());
    let (mut delivered, mut indicators) = (0, 0);
    for form in &forms {
        let times = form.put_in(&env, &daemon).await;
        delivered += times;
        env.delivered(delivered).await;
        // The sandbox counts a delivery before it records the answer.
        let answered = || env.writes().iter().all(|call| call.status.is_some());
        assert!(eventually(async || answered()).await, "{}", form.title);
        let (shown, calls): (Vec<_>, Vec<_>) =
            env.writes().into_iter().partition(|call| call.path.contains("/composing?"));
        let shown = &shown[indicators..];
        indicators += shown.len();
        let expected: Vec<&str> = form.after.iter().flat_map(|path| vec![path.as_str(); times]).collect();
        assert_eq!(
            shown.iter().map(|call| call.path.as_str()).collect::<Vec<_>>(),
            expected,
            "{}",
            form.title
        );
        let last = &calls[calls.len() - times..];
        for call in last {
            assert_eq!((call.path.as_str(), &call.body), (form.path.as_str(), &form.body), "{}", form.title);
            assert_eq!(call.status, Some(200), "{}", form.title);
        }
    }
}

/// In the guide's dialect the same forms say `options`, and one recipient is an array of one.
#[tokio::test(flavor = "multi_thread")]
async fn the_guides_dialect_says_the_same_in_its_words() {
    let env = typing_quickly(TestEnv::new().await.hasty()).set("OUTBOXD_UNIPILE_DIALECT", "guide");
    let daemon = env.serve().await;
    for (index, form) in forms().iter().enumerate() {
        // A producer may use the guide's word as well.
        let posted = form.posted.replace("\"specifics\"", "\"options\"");
        daemon.enqueue(&posted).await;
        env.delivered(index + 1).await;
        let call = env.writes().pop().expect("a call");
        let mut body = form.body.clone();
        if let Some(specifics) = body.as_object_mut().and_then(|body| body.remove("specifics")) {
            body["options"] = specifics;
        }
        if let Some(user) = body.get("users_ids").filter(|ids| ids.is_string()).cloned() {
            body["users_ids"] = Value::Array(vec![user]);
        }
        assert_eq!(call.body, body, "{}", form.title);
    }
}
