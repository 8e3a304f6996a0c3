//! What producers, operators and misfortune do to the daemon of a scene.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::Duration;

use outboxd::sandbox::{Endpoint, Fault as ApiFault, FaultKind, WebhookFault, WebhookFaultKind};
use serde_json::{Value, json};

use super::daemon::Order;
use super::plan::Fault;
use super::scene::Scene;

const KEPT_BACKUPS: usize = 3;

impl Scene {
    /// Queues messages for the next day.
    pub(super) fn enqueue(&mut self) {
        // What the sandbox remembers is not part of the daemon.
        self.outside.world.clear_ledger();
        let mut rows = Vec::new();
        for account in 0..self.plan.accounts {
            for number in 0..14 {
                self.persons += 1;
                let person = self.persons;
                let mut row =
                    json!({ "account_id": format!("acc_{account}"), "text": format!("message {person}") });
                match number {
                    0..8 => {
                        (row["users_ids"], row["campaign"]) =
                            (json!(format!("ACoAA{person}")), json!("spring"))
                    }
                    _ => row["chat_id"] = json!(format!("c{person}")),
                }
                if number == 13 {
                    row["attachments"] = json!([{ "filename": "a.pdf", "content": "JVBERi0xLjc=" }]);
                }
                rows.push(row);
            }
        }
        let taken = self.post("/v1/messages", &Value::Array(rows));
        assert_eq!(taken["refused"], 0, "{taken}");
        let sql = self.sql();
        for account in 0..self.plan.accounts {
            self.persons += 1;
            let values =
                [format!("acc_{account}"), format!("c{}", self.persons), format!("row {}", self.persons)];
            sql.execute("INSERT INTO messages (account_id, chat_id, text) VALUES (?1, ?2, ?3)", values)
                .expect("it is taken");
        }
    }

    /// Imports a table with a follow-up, by the real command line.
    pub(super) fn import(&mut self) {
        let mut table = "first_name,provider_id\n".to_owned();
        for number in 0..12 {
            self.persons += 1;
            table += &format!("Ada{number},ACoAA{}\n", self.persons);
        }
        std::fs::write(self.path("people.csv"), table).expect("a file");
        let campaign = format!("week{}", self.persons);
        let mut command = Command::new(env!("CARGO_BIN_EXE_outboxd"));
        let words = [
            "import",
            "people.csv",
            "--column",
            "user=provider_id",
            "--account",
            "acc_0,acc_1",
            "--campaign",
        ];
        command.args(words).args([&campaign, "--step", "hello.txt", "--step", "2d", "nudge.txt"]);
        command.current_dir(self.folder.path()).env("OUTBOXD_SOCKET", self.path("queue.sock"));
        let output = self.wait_for(move || command.output()).expect("it runs");
        assert!(
            output.status.success(),
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        let steps = self.count(&format!("SELECT count(*) FROM messages WHERE campaign = '{campaign}'"));
        assert_eq!(steps, 24, "{output:?}");
    }

    pub(super) fn back_up(&mut self) {
        let answer = self.post("/v1/backup", &json!({ "keep": KEPT_BACKUPS }));
        let path = PathBuf::from(answer["path"].as_str().expect("a path"));
        let folder = std::fs::read_dir(path.parent().expect("a folder")).expect("a folder");
        let copies = folder.flatten().filter(|entry| entry.path().extension().is_some_and(|end| end == "db"));
        if copies.count() > KEPT_BACKUPS + 1 {
            self.report.wrongs.push(format!("more than {KEPT_BACKUPS} backups are kept"));
        }
    }

    pub(super) fn begin(&mut self, fault: Fault) {
        let world = &self.outside.world;
        let receivers = &self.outside.receivers;
        match fault {
            Fault::ApiUnreachable => self.outside.set_network(false),
            Fault::KeyRefused => {
                let refused = ApiFault::new(FaultKind::Error {
                    status: 401,
                    error_type: "api/expired_authorization".into(),
                    title: "Expired".into(),
                    detail: "The key has expired.".into(),
                    retry_after: None,
                    delivered: false,
                });
                world.add_fault(refused.at(Endpoint::SendMessage));
            }
            Fault::AccountDown => world.disconnect("acc_1"),
            Fault::Paused => drop(self.post("/v1/pause", &json!({}))),
            Fault::Lost => {
                world.add_fault(ApiFault::new(FaultKind::Cut { delivered: false }).at(Endpoint::SendMessage));
            }
            Fault::WrongSignature => {
                world.add_webhook_fault(WebhookFault::new(WebhookFaultKind::WrongSignature).times(6));
            }
            Fault::ReceiversSlow => receivers[0].slow_s.store(30, Ordering::SeqCst),
            Fault::ReceiverFails => receivers[1].status.store(500, Ordering::SeqCst),
            Fault::ReceiverGone => receivers[2].status.store(410, Ordering::SeqCst),
            Fault::CommandHangs => {
                self.hangs = true;
                self.reload();
            }
            Fault::Down => self.end(Order::Stop),
            Fault::WebhooksSilent => {
                let late = WebhookFaultKind::Delay(Duration::from_secs(90 * 86_400));
                world.add_webhook_fault(WebhookFault::new(late).always());
            }
            Fault::WebhookIncomplete => {
                let lacks = WebhookFaultKind::Patch(
                    json!({ "payload": { "id": null, "message_id": null, "chat_id": null } }),
                );
                world.add_webhook_fault(WebhookFault::new(lacks).times(3));
            }
            Fault::ConfigRefused => {
                self.is_mistaken = true;
                self.reload();
            }
            Fault::Locked => {
                let lock = self.sql();
                lock.execute_batch("BEGIN IMMEDIATE").expect("a lock");
                self.lock = Some(lock);
            }
        }
    }

    pub(super) fn finish(&mut self, fault: Fault) {
        let receivers = &self.outside.receivers;
        match fault {
            Fault::ApiUnreachable => self.outside.set_network(true),
            Fault::KeyRefused | Fault::Paused => drop(self.post("/v1/resume", &json!({}))),
            Fault::AccountDown => {
                self.outside.world.reconnect("acc_1");
                self.post("/v1/accounts/acc_1/resume", &json!({}));
            }
            Fault::Lost => {
                let (_, list) = self.ask("GET", "/v1/messages?state=review", "").expect("it runs");
                let list: Value = serde_json::from_str(&list).expect("JSON");
                for id in list["data"].as_array().expect("a list").iter().filter_map(|row| row["id"].as_str())
                {
                    self.post(&format!("/v1/messages/{id}/review"), &json!({ "decision": "drop" }));
                }
            }
            Fault::WrongSignature | Fault::WebhooksSilent | Fault::WebhookIncomplete => {
                self.outside.world.clear_webhook_faults()
            }
            Fault::ReceiversSlow => receivers[0].slow_s.store(0, Ordering::SeqCst),
            Fault::ReceiverFails => receivers[1].status.store(200, Ordering::SeqCst),
            Fault::ReceiverGone => {
                receivers[2].status.store(200, Ordering::SeqCst);
                self.post("/v1/hooks/gone/enable", &json!({}));
            }
            Fault::CommandHangs => {
                self.hangs = false;
                self.reload();
            }
            Fault::ConfigRefused => {
                self.is_mistaken = false;
                self.reload();
            }
            Fault::Down => self.start(),
            Fault::Locked => self.lock = None,
        }
    }
}
