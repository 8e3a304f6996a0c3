//! How much memory large files take: eight accounts that send 20 MB each at once.

use std::path::Path;
use std::time::Duration;

use super::Figure;
use super::client::Client;
use super::process::{self, pause};
use super::scenes::delivered;

/// The largest message that LinkedIn accepts, all of it one file.
const FILE_BYTES: usize = 20 << 20;
const ACCOUNTS: usize = 8;

/// Takes the files in one after the other, as uploads, and then sends all of them at the same time.
pub(crate) fn memory(folder: &Path, figures: &mut Vec<Figure>) {
    let (_sandbox, url) = process::sandbox();
    let (daemon, _, socket) = process::daemon(folder, "memory", &url, &[]);
    let mut client = Client::connect(&socket);
    client.post("/v1/pause", "application/json", "");
    for account in 0..ACCOUNTS {
        let (status, answer) =
            client.post_bytes("/v1/messages", "multipart/form-data; boundary=b", &upload(account));
        assert_eq!(status, 201, "{answer}");
    }
    let taken_in = peak_mib(daemon.pid());
    // Resets the peak (proc(5), clear_refs).
    std::fs::write(format!("/proc/{}/clear_refs", daemon.pid()), "5").expect("it is our own process");
    client.post("/v1/resume", "application/json", "");
    let address = url.trim_start_matches("http://").to_owned();
    let mut waited = Duration::ZERO;
    while delivered(&address) < ACCOUNTS {
        assert!(waited < Duration::from_secs(120), "the files were not sent within two minutes");
        waited += Duration::from_millis(50);
        pause(Duration::from_millis(50));
    }
    let sending = peak_mib(daemon.pid());
    for (name, value) in [("memory_sending_8_x_20_mb", sending), ("memory_taking_in_8_x_20_mb", taken_in)] {
        let goal = "under 400 MB";
        figures.push(Figure {
            name,
            value,
            spread: None,
            unit: "MiB",
            floor: None,
            goal,
            met: value < 400e6 / 1_048_576.0,
        });
    }
}

/// Returns a message with a file that no other account has.
fn upload(account: usize) -> Vec<u8> {
    let message = format!("{{\"account_id\":\"acc_{account}\",\"chat_id\":\"c\"}}");
    let mut body = format!(
        "--b\r\nContent-Disposition: form-data; name=\"message\"\r\n\r\n{message}\r\n\
         --b\r\nContent-Disposition: form-data; name=\"attachments\"; filename=\"film.mp4\"\r\n\r\n"
    )
    .into_bytes();
    let seed = u64::try_from(account).expect("a small number") + 1;
    let next = |state: &u64| Some(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    let words = std::iter::successors(Some(seed), next).take(FILE_BYTES / 8);
    body.extend(words.flat_map(u64::to_le_bytes));
    body.extend_from_slice(b"\r\n--b--\r\n");
    body
}

/// Returns the peak resident memory.
fn peak_mib(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("a size");
    let kib: f64 = line.split_whitespace().nth(1).and_then(|text| text.parse().ok()).expect("a number");
    kib / 1024.0
}
