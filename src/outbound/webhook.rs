//! An event as a webhook by the Standard Webhooks specification: `webhook-id`, `webhook-timestamp`, and
//! `webhook-signature` over both and the body.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretSlice};
use serde_json::json;
use sha2::Sha256;

use crate::domain::hook::Undelivered;
use crate::provider::Receiver;
use crate::types::event::Event;

/// Characters of the queue's id in the id of a webhook.
const QUEUE_CHARS: usize = 12;

/// A receiver of webhooks.
pub struct Webhook {
    receiver: Receiver,
    secrets: Vec<SecretSlice<u8>>,
}

impl Webhook {
    /// Creates a receiver at `receiver`'s address; each secret signs.
    pub fn new(receiver: Receiver, secrets: Vec<SecretSlice<u8>>) -> Self {
        Self { receiver, secrets }
    }

    /// Posts an event of the queue `queue`. A repetition has the same id.
    pub(super) async fn deliver(
        &self,
        queue: &str,
        event: &Event,
        now: Timestamp,
    ) -> Result<(), Undelivered> {
        let queue: String = queue.chars().take(QUEUE_CHARS).collect();
        let (id, time) = (format!("evt_{queue}_{}", event.seq), now.as_second().to_string());
        let body = json!({ "type": event.kind, "timestamp": event.at, "data": event }).to_string();
        let signatures: Vec<String> =
            self.secrets.iter().map(|secret| signature(secret.expose_secret(), &id, &time, &body)).collect();
        let headers =
            [("webhook-id", id), ("webhook-timestamp", time), ("webhook-signature", signatures.join(" "))];
        self.receiver.post(headers, body, now).await
    }
}

/// Returns the signature of a webhook with one secret.
fn signature(secret: &[u8], id: &str, time: &str, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes a key of any length");
    for part in [id, ".", time, ".", body] {
        mac.update(part.as_bytes());
    }
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the published libraries' tests.
    #[test]
    fn a_signature_is_that_of_the_specification() {
        let secret = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signed =
            signature(&secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", r#"{"test": 2432232314}"#);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }
}
