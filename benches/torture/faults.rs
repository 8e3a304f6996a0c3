//! What goes wrong at the sandbox: about two calls in five meet a fault of their own, and some reads of chats do too.

use outboxd::clock::Dice;
use rand::RngExt;
use serde_json::{Value, json};

use super::env::TestEnv;

/// Adds the faults for a run of `messages`.
pub(crate) fn lay(env: &TestEnv, messages: usize, dice: &mut Dice) {
    let reach = u32::try_from(messages).expect("a number of messages") * 6 / 5;
    for _ in 0..messages * 2 / 5 {
        let skip = dice.random_range(0..reach);
        env.sandbox_post("/sandbox/faults", &json!({"times": 1, "skip": skip, "kind": of_a_call(dice)}));
    }
    for endpoint in ["list_messages", "get_user_chat", "list_chats"] {
        for _ in 0..messages / 40 {
            let skip = dice.random_range(0..messages / 2);
            let kind = of_a_read(dice);
            let fault = json!({"endpoint": endpoint, "times": 1, "skip": skip, "kind": kind});
            env.sandbox_post("/sandbox/faults", &fault);
        }
    }
    // Calls without a fault of their own take a moment before or after the delivery: time for a kill.
    let lag = dice.random_range(20..60);
    for kind in
        [json!({"latency": {"before_delivery_ms": lag}}), json!({"latency_after_delivery_ms": lag + 20})]
    {
        env.sandbox_post("/sandbox/faults", &json!({"times": messages, "kind": kind}));
    }
}

fn of_a_call(dice: &mut Dice) -> Value {
    let delivered = dice.random_range(0..2) == 0;
    match dice.random_range(0..20) {
        // Above the client's timeout of 1 s: delivered after the client has given up, or delivered at once and
        // answered too late.
        0..=1 => json!({"latency": {"before_delivery_ms": dice.random_range(300..1500)}}),
        2..=4 => json!({"latency_after_delivery_ms": dice.random_range(200..1500)}),
        5..=9 => json!({"cut": {"delivered": delivered}}),
        10..=11 => json!({"half_answer": {"delivered": delivered}}),
        12 => json!({"garbage": {"status": 200, "delivered": delivered}}),
        13..=15 => json!({"garbage": {"status": 502, "delivered": delivered}}),
        16..=17 => error(500, "api/internal_error", delivered),
        18 => error(504, "provider/timeout", delivered),
        // Certainly not sent, and retried.
        _ => error(407, "api/proxy_auth_error", false),
    }
}

fn of_a_read(dice: &mut Dice) -> Value {
    match dice.random_range(0..4) {
        0 => json!({"cut": {"delivered": false}}),
        1 => json!({"garbage": {"status": 200, "delivered": false}}),
        2 => json!({"half_answer": {"delivered": true}}),
        _ => error(500, "api/internal_error", false),
    }
}

fn error(status: u16, kind: &str, delivered: bool) -> Value {
    json!({"error": {"status": status, "type": kind, "title": "", "detail": "as laid", "delivered": delivered}})
}
