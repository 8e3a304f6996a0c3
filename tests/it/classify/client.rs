//! The real client: what it writes on the wire, and how it classifies a connection that breaks (P2).

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use outboxd::clock::SystemClock;
use outboxd::domain::attachment::Attachment;
use outboxd::domain::message::{AccountId, ChatId, InboxId, UserId};
use outboxd::domain::outcome::{Heard, Outcome, Phase, ProviderError};
use outboxd::provider::{
    Call, CallAttachment, CallTarget, Composing, Content, Dialect, Progress, Provider, Recipients, Reply,
    Unipile, UnipileOptions,
};
use outboxd::sandbox::{Endpoint, Fault, FaultKind, Sandbox, SandboxConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket};

use super::wire::{Peer, http};
use super::word;

/// A timeout that no test reaches by accident.
pub(crate) const PATIENT: Duration = Duration::from_secs(60);

/// Returns a client of Unipile at `url`.
pub(crate) fn client(url: &str, request_timeout: Duration) -> Unipile {
    let options = UnipileOptions {
        dialect: Dialect::Specifics,
        ca: Vec::new(),
        base_url: url.to_owned(),
        api_key: "sandbox-key".to_owned().into(),
        connect_timeout: PATIENT,
        request_timeout,
        clock: Arc::new(SystemClock::new()),
    };
    Unipile::new(&options).expect("a client")
}

fn call(target: CallTarget) -> Call {
    Call {
        account_id: AccountId::new("acc_1"),
        target,
        text: "Hello \"Ada\",\n👋".into(),
        attachments: Vec::new(),
        progress: Progress::default(),
    }
}

fn into_chat() -> Call {
    call(CallTarget::Chat { chat_id: ChatId::new("chat-1"), quote_id: None })
}

fn user(inbox: Option<&str>) -> CallTarget {
    CallTarget::Start {
        recipients: Recipients::One(UserId::new("ada")),
        inbox_id: inbox.map(InboxId::new),
        specifics: None,
    }
}

async fn sandbox() -> Sandbox {
    Sandbox::start(SandboxConfig::default()).await.expect("a free port")
}

/// Returns the phase, the outcome in one word, and the problem's kind.
fn told(reply: &Reply) -> (Phase, String, String) {
    let kind = reply.outcome.problem().map(|problem| problem.kind.clone()).unwrap_or_default();
    (reply.phase, word(&reply.outcome), kind)
}

#[tokio::test]
async fn each_endpoint_delivers_exactly_what_was_asked() {
    let sandbox = sandbox().await;
    let client = client(&sandbox.url(), PATIENT);
    let cases = [
        (user(Some("CLASSIC_PRIMARY")), Endpoint::StartChatFromInbox),
        (user(None), Endpoint::StartChat),
        (CallTarget::Chat { chat_id: ChatId::new("2-a/b:c==%+ é?#"), quote_id: None }, Endpoint::SendMessage),
        (CallTarget::Chat { chat_id: ChatId::new("2-chat/000001=="), quote_id: None }, Endpoint::SendMessage),
    ];
    for (target, endpoint) in cases {
        let reply = client.send(call(target.clone())).await;
        assert_eq!(reply.phase, Phase::Answered);
        let Outcome::Accepted { chat_id, message_ids } = reply.outcome else { panic!("{reply:?}") };
        let delivery = sandbox.world().deliveries().pop().unwrap();
        let last = sandbox.world().calls().pop().unwrap();
        assert_eq!((last.endpoint, last.account_id.as_str()), (endpoint, "acc_1"));
        assert_eq!(delivery.text, "Hello \"Ada\",\n👋");
        assert_eq!(message_ids, [delivery.message_id]);
        match target {
            CallTarget::Chat { chat_id: chat, .. } => {
                assert_eq!((chat_id, delivery.chat_id), (None, chat.to_string()));
            }
            CallTarget::Start { .. } | CallTarget::Forward { .. } => {
                assert_eq!(chat_id.unwrap().as_str(), delivery.chat_id);
                assert_eq!(delivery.recipients, ["ada"]);
            }
        }
    }
    assert_eq!(sandbox.world().delivered_count(), 4);
}

#[tokio::test]
async fn composing_is_shown_and_its_failure_is_told() {
    let sandbox = sandbox().await;
    let client = client(&sandbox.url(), PATIENT);
    let composing = || client.set_composing(AccountId::new("acc_1"), ChatId::new("a/b"), Composing::Typing);
    assert!(composing().await.is_ok());
    let last = sandbox.world().calls().pop().unwrap();
    assert_eq!(
        (last.endpoint, last.path.as_str()),
        (Endpoint::SetComposing, "/v2/acc_1/chats/a%2Fb/composing?action=typing")
    );
    sandbox.fault(Fault::new(FaultKind::Garbage { status: 200, delivered: false }));
    let page = composing().await.unwrap_err().problem;
    assert_eq!((page.kind.as_str(), page.heard()), ("outboxd/untyped_success", Heard::Trouble));
    sandbox.fault(Fault::provider_429());
    assert_eq!(composing().await.unwrap_err().problem.kind, "provider/too_many_requests");
    sandbox.world().disconnect("acc_1");
    let problem: ProviderError = *composing().await.unwrap_err().problem;
    assert_eq!((problem.kind.as_str(), problem.status), ("provider/invalid_authorization", Some(401)));
    assert_eq!(sandbox.world().delivered_count(), 0);
    // A port that is taken and does not listen; the client has no connection to it that is open.
    let closed = TcpSocket::new_v4().unwrap();
    closed.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let client = self::client(&format!("http://{}", closed.local_addr().unwrap()), PATIENT);
    let composing = client.set_composing(AccountId::new("acc_1"), ChatId::new("a/b"), Composing::Typing);
    assert_eq!(composing.await.unwrap_err().problem.kind, "outboxd/cannot_connect");
}

#[tokio::test]
async fn an_indicator_is_shown_whatever_the_answer_says_but_a_page_is_no_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = client(&format!("http://{}", listener.local_addr().unwrap()), PATIENT);
    for (status, body, is_shown) in [
        ("200 OK", r#"{"object":"ComposingSet"}"#, true),
        ("200 OK", "{}", true),
        ("200 OK", "", true),
        ("204 No Content", "", true),
        ("200 OK", "<html>Sign in</html>", false),
    ] {
        let answer = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            assert_ne!(stream.read(&mut request).await.unwrap(), 0);
            let head = format!("HTTP/1.1 {status}\r\nconnection: close\r\n");
            let length = if status.starts_with("204") {
                String::new()
            } else {
                format!("content-length: {}\r\n", body.len())
            };
            stream.write_all(format!("{head}{length}\r\n{body}").as_bytes()).await.unwrap();
        };
        let composing = client.set_composing(AccountId::new("acc_1"), ChatId::new("c"), Composing::Typing);
        let ((), shown) = tokio::join!(answer, composing);
        assert_eq!(shown.is_ok(), is_shown, "{status} {body}: {shown:?}");
    }
}

#[tokio::test]
async fn every_fault_of_the_sandbox_is_classified_by_what_it_may_have_done() {
    let sandbox = sandbox().await;
    let client = client(&sandbox.url(), PATIENT);
    let unknown = "uncertain: written";
    let cases = [
        (Fault::api_429(30), "not sent: account 30s", "api/too_many_requests", Phase::Answered),
        (Fault::provider_429(), "throttled", "provider/too_many_requests", Phase::Answered),
        (Fault::internal_error(true), "uncertain: answered", "api/internal_error", Phase::Answered),
        (Fault::gateway(502, true), "uncertain: answered", "outboxd/untyped_answer", Phase::Answered),
        (Fault::disconnected(), "down: disconnected", "provider/invalid_authorization", Phase::Answered),
        (Fault::restricted(), "down: restricted", "api/account_restricted", Phase::Answered),
        (Fault::new(FaultKind::Cut { delivered: true }), unknown, "outboxd/no_answer", Phase::Written),
        (Fault::new(FaultKind::Cut { delivered: false }), unknown, "outboxd/no_answer", Phase::Written),
        (
            Fault::new(FaultKind::HalfAnswer { delivered: true }),
            unknown,
            "outboxd/broken_answer",
            Phase::Written,
        ),
        (
            Fault::new(FaultKind::Garbage { status: 200, delivered: true }),
            "uncertain: answered",
            "outboxd/untyped_success",
            Phase::Answered,
        ),
    ];
    for (fault, expected, kind, phase) in cases {
        let before = sandbox.world().call_count();
        sandbox.fault(fault.clone());
        let reply = client.send(into_chat()).await;
        assert_eq!(told(&reply), (phase, expected.into(), kind.into()), "{fault:?}");
        assert_eq!(sandbox.world().call_count(), before + 1, "{fault:?}: a call is never repeated");
    }
}

#[tokio::test]
async fn a_wrong_key_is_the_keys_fault_and_not_the_accounts() {
    let config = SandboxConfig { api_key: "another".into(), ..SandboxConfig::default() };
    let sandbox = Sandbox::start(config).await.unwrap();
    let reply = client(&sandbox.url(), PATIENT).send(into_chat()).await;
    assert_eq!(word(&reply.outcome), "down: key", "{reply:?}");
}

#[tokio::test]
async fn an_answer_that_takes_too_long_is_an_unknown_outcome_and_was_delivered_once() {
    let sandbox = sandbox().await;
    sandbox.fault(Fault::new(FaultKind::LatencyAfterDelivery(PATIENT)));
    let reply = client(&sandbox.url(), Duration::from_millis(300)).send(into_chat()).await;
    assert_eq!(told(&reply), (Phase::Written, "uncertain: written".into(), "outboxd/timeout".into()));
    assert_eq!((sandbox.world().delivered_count(), sandbox.world().call_count()), (1, 1));

    sandbox.fault(Fault::new(FaultKind::SlowBody(PATIENT)));
    let reply = client(&sandbox.url(), Duration::from_millis(300)).send(into_chat()).await;
    assert_eq!(told(&reply), (Phase::Written, "uncertain: written".into(), "outboxd/broken_answer".into()));
    assert_eq!((sandbox.world().delivered_count(), sandbox.world().call_count()), (2, 2));
}

#[tokio::test]
async fn a_port_that_nobody_listens_on_reached_nobody() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let reply = client(&url, PATIENT).send(into_chat()).await;
    assert_eq!(told(&reply), (Phase::Connecting, "not sent: api".into(), "outboxd/cannot_connect".into()));
    let detail = reply.outcome.problem().unwrap().detail.clone().unwrap();
    assert!(detail.contains("refused") && !detail.contains("chat-1"), "says why, without ids: {detail}");
    let reply = client("http://no-such-host.invalid", PATIENT).send(into_chat()).await;
    assert_eq!(told(&reply), (Phase::Connecting, "not sent: api".into(), "outboxd/cannot_connect".into()));
}

#[tokio::test]
async fn a_tls_port_that_speaks_plain_reached_nobody() {
    for peer in [Peer::speaking_first("220 mail.example.org ESMTP\r\n").await, Peer::closing().await] {
        let url = peer.url.replace("http://", "https://");
        let reply = client(&url, PATIENT).send(into_chat()).await;
        assert_eq!(
            told(&reply),
            (Phase::Connecting, "not sent: api".into(), "outboxd/cannot_connect".into())
        );
        assert!(peer.requests().iter().all(|seen| !seen.contains("Hello")), "no byte of the request left");
    }
}

#[tokio::test]
async fn a_handshake_that_does_not_end_reached_nobody() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let options = UnipileOptions {
        dialect: Dialect::Specifics,
        ca: Vec::new(),
        base_url: format!("https://{}", listener.local_addr().unwrap()),
        api_key: "k".to_owned().into(),
        connect_timeout: Duration::from_millis(200),
        request_timeout: PATIENT,
        clock: Arc::new(SystemClock::new()),
    };
    let reply = Unipile::new(&options).unwrap().send(into_chat()).await;
    assert_eq!(told(&reply), (Phase::Connecting, "not sent: api".into(), "outboxd/cannot_connect".into()));
}

/// A body that was not handed to the connection reached no recipient, whatever the cause.
#[tokio::test]
async fn a_call_that_ends_before_its_body_left_reached_nobody() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let options = UnipileOptions {
        dialect: Dialect::Specifics,
        ca: Vec::new(),
        // The handshake does not end within the timeout of the whole call.
        base_url: format!("https://{}", listener.local_addr().unwrap()),
        api_key: "k".to_owned().into(),
        connect_timeout: PATIENT,
        request_timeout: Duration::from_millis(200),
        clock: Arc::new(SystemClock::new()),
    };
    let reply = Unipile::new(&options).unwrap().send(into_chat()).await;
    assert_eq!(told(&reply), (Phase::Connecting, "not sent: api".into(), "outboxd/not_written".into()));
}

/// Content of a file that ends with an error after this many pieces.
struct Breaking(u32);

impl Content for Breaking {
    fn piece(&self, piece: u32) -> BoxFuture<'_, Result<Option<Vec<u8>>, String>> {
        let bytes =
            if piece < self.0 { Ok(Some(vec![0; 3 << 16])) } else { Err("the disk fails".to_owned()) };
        Box::pin(std::future::ready(bytes))
    }
}

/// No server acts on a request that ends in the middle of its body.
#[tokio::test]
async fn a_call_that_ends_in_the_middle_of_its_body_reached_nobody() {
    let sandbox = sandbox().await;
    for pieces in [0, 1, 20] {
        let attachment = Attachment {
            filename: "a.bin".into(),
            content_type: "application/octet-stream".into(),
            send_mode: None,
            voice_note: false,
            duration: None,
            size: 20 << 20,
            sha256: String::new(),
        };
        let file = CallAttachment { attachment, content: Arc::new(Breaking(pieces)) };
        let call = Call { attachments: vec![file], ..into_chat() };
        let reply = client(&sandbox.url(), PATIENT).send(call).await;
        assert_eq!(
            told(&reply),
            (Phase::Written, "not sent: message".into(), "outboxd/cut_off".into()),
            "{pieces}"
        );
    }
    assert_eq!(sandbox.world().delivered_count(), 0);
}

#[tokio::test]
async fn a_connection_that_closes_before_an_answer_is_an_unknown_outcome() {
    for peer in [Peer::answering("").await, Peer::answering("HTTP/1.1 2").await] {
        let reply = client(&peer.url, PATIENT).send(into_chat()).await;
        assert_eq!(told(&reply), (Phase::Written, "uncertain: written".into(), "outboxd/no_answer".into()));
        assert!(peer.requests().len() <= 1, "a call is never repeated");
    }
    // A peer that closes at once may close before the body was handed over.
    let peer = Peer::closing().await;
    let reply = client(&peer.url, PATIENT).send(into_chat()).await;
    let (_, outcome, kind) = told(&reply);
    let expected = [("uncertain: written", "outboxd/no_answer"), ("not sent: api", "outboxd/not_written")];
    assert!(expected.contains(&(outcome.as_str(), kind.as_str())), "{reply:?}");
}

#[tokio::test]
async fn half_an_answer_is_an_unknown_outcome_whatever_its_status() {
    for status in ["200 OK", "400 Bad Request", "429 Too Many Requests", "503 Unavailable"] {
        let whole = http(status, "", r#"{"object":"MessageSent","message_id":"m"}"#);
        let peer = Peer::answering(&whole[..whole.len() - 10]).await;
        let reply = client(&peer.url, PATIENT).send(into_chat()).await;
        assert_eq!(
            told(&reply),
            (Phase::Written, "uncertain: written".into(), "outboxd/broken_answer".into())
        );
    }
}

#[tokio::test]
async fn what_is_not_http_or_has_no_end_is_an_unknown_outcome() {
    let peer = Peer::answering("SSH-2.0-OpenSSH_9.6\r\n").await;
    let reply = client(&peer.url, PATIENT).send(into_chat()).await;
    assert_eq!(told(&reply), (Phase::Written, "uncertain: written".into(), "outboxd/no_answer".into()));
    let peer = Peer::answering(&http("200 OK", "", &"x".repeat((1 << 20) + 1))).await;
    let reply = client(&peer.url, PATIENT).send(into_chat()).await;
    assert_eq!(told(&reply), (Phase::Written, "uncertain: written".into(), "outboxd/broken_answer".into()));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere =
        Peer::answering(&http("200 OK", "", r#"{"object":"MessageSent","message_id":"m"}"#)).await;
    for status in ["301 Moved", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"] {
        let location = format!("location: {}/elsewhere\r\n", elsewhere.url);
        let peer = Peer::answering(&http(status, &location, "")).await;
        let reply = client(&peer.url, PATIENT).send(into_chat()).await;
        // A request that must be repeated unchanged was not acted on; the other redirects may follow an action.
        let repeats = status.starts_with("307") || status.starts_with("308");
        let expected = if repeats { "not sent: api" } else { "uncertain: answered" };
        assert_eq!(word(&reply.outcome), expected, "{status}");
        assert_eq!(peer.requests().len(), 1);
    }
    assert_eq!(elsewhere.requests(), [""; 0], "the key and the text went nowhere else");
}

#[tokio::test]
async fn the_key_the_agent_and_the_exact_body_are_on_the_wire() {
    let peer =
        Peer::answering(&http("200 OK", "", r#"{"object":"ChatStarted","chat_id":"c","message_id":"m"}"#))
            .await;
    let reply = client(&format!("{}/", peer.url), PATIENT).send(call(user(Some("CLASSIC_PRIMARY")))).await;
    assert_eq!(word(&reply.outcome), "accepted");
    let request = peer.requests().pop().unwrap();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let mut lines = head.lines();
    assert_eq!(lines.next(), Some("POST /v2/acc_1/inboxes/CLASSIC_PRIMARY/chats/send HTTP/1.1"));
    let headers: Vec<String> = lines.map(str::to_lowercase).collect();
    for expected in [
        "x-api-key: sandbox-key".to_owned(),
        format!("user-agent: outboxd/{}", env!("CARGO_PKG_VERSION")),
        "content-type: application/json".to_owned(),
        "accept: application/json".to_owned(),
    ] {
        assert!(headers.contains(&expected), "{expected} is missing: {headers:?}");
    }
    assert_eq!(body, "{\"text\":\"Hello \\\"Ada\\\",\\n👋\",\"users_ids\":\"ada\"}");
}

#[tokio::test]
async fn the_time_to_wait_is_read_from_either_header() {
    let body = r#"{"object":"Error","type":"api/too_many_requests","status":429}"#;
    let cases = [
        ("retry-after: 30\r\nx-ratelimit-reset: 99\r\n", "not sent: account 30s"),
        ("x-ratelimit-reset: 99\r\n", "not sent: account 99s"),
        ("Retry-After:  43200 \r\n", "not sent: account 43200s"),
        ("retry-after: Wed, 21 Oct 2026 07:28:00 GMT\r\nx-ratelimit-reset: 99\r\n", "not sent: account 99s"),
        // H5: relative to the answer's own date, whatever the local clock says.
        (
            "date: Wed, 21 Oct 2026 05:28:00 GMT\r\nretry-after: Wed, 21 Oct 2026 07:28:00 GMT\r\n",
            "not sent: account 7200s",
        ),
        ("retry-after: 7200.5\r\n", "not sent: account 7201s"),
        ("retry-after: -3\r\n", "not sent: account"),
        ("retry-after: soon\r\n", "not sent: account"),
        ("", "not sent: account"),
    ];
    for (headers, expected) in cases {
        let peer = Peer::answering(&http("429 Too Many Requests", headers, body)).await;
        let reply = client(&peer.url, PATIENT).send(into_chat()).await;
        assert_eq!(word(&reply.outcome), expected, "{headers:?}");
    }
}
