//! A peer on one socket, which reads one request and then does exactly what the test says.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// Answers every request with these bytes, or with none, and closes.
pub(crate) struct Peer {
    pub(crate) url: String,
    requests: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

impl Peer {
    /// Starts a peer that answers with these bytes; if they are empty, it closes the connection without an answer.
    pub(crate) async fn answering(answer: &str) -> Self {
        Self::start(answer, true).await
    }

    /// Starts a peer that sends this before it has read a byte, and closes.
    pub(crate) async fn speaking_first(words: &str) -> Self {
        Self::start(words, false).await
    }

    /// Starts a peer that closes each connection before it has read a byte.
    pub(crate) async fn closing() -> Self {
        Self::start("", false).await
    }

    async fn start(answer: &str, reads: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (seen, answer) = (Arc::clone(&requests), answer.to_owned());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.expect("a connection");
                if reads {
                    let request = read_request(&mut stream).await;
                    seen.lock().expect("nobody panics").push(request);
                }
                let _the_caller_may_have_left = stream.write_all(answer.as_bytes()).await;
                let _the_caller_may_have_left = stream.shutdown().await;
            }
        });
        Self { url, requests, _tasks: tasks }
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().expect("nobody panics").clone()
    }
}

/// Reads head and body of one request.
async fn read_request(stream: &mut tokio::net::TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let read = stream.read(&mut buffer).await.unwrap_or(0);
        bytes.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if read == 0 {
            return text;
        }
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                line.to_lowercase().strip_prefix("content-length: ").and_then(|length| length.parse().ok())
            });
            if body.len() >= length.unwrap_or(0) {
                return text;
            }
        }
    }
}

/// Formats a whole HTTP answer.
pub(crate) fn http(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n{headers}connection: close\r\n\r\n{body}", body.len())
}
