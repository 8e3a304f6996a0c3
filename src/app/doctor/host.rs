//! Checks of the machine: time zones and limits.

use std::path::Path;

use jiff::tz::TimeZone;

use super::Finding;
use crate::app::open_files;
use crate::store::sqlite_version;

/// The folder of the time zones.
const ZONES: &str = "/usr/share/zoneinfo";
/// Fewer open files are too few for clients, webhooks and 1,000 calls at once.
const OPEN_FILES: u64 = 4096;
/// A daemon needs one instance and a few watches; other programs of the user need the rest.
const INSTANCES: u64 = 16;
const WATCHES: u64 = 1024;

pub(super) async fn examine() -> Vec<Finding> {
    vec![zones(), files(), inotify(), versions().await]
}

fn zones() -> Finding {
    let own = TimeZone::system();
    let own = own.iana_name().unwrap_or("unknown");
    match Path::new(ZONES).join("Europe/Berlin").exists() {
        true => Finding::ok("time zones", format!("read from {ZONES}; this machine's zone is {own}")),
        false => Finding::warn(
            "time zones",
            format!("{ZONES} is missing, so the zones of this build are used; this machine's zone is {own}"),
            "install the package tzdata, so that changes of law arrive without an update of outboxd",
        ),
    }
}

/// The daemon raises its soft limit, so the hard one counts.
fn files() -> Finding {
    let possible = open_files::possible();
    let what = format!("a daemon of this user may open {possible}");
    match possible < OPEN_FILES {
        true => {
            let to_do = format!(
                "raise the hard limit: LimitNOFILE={OPEN_FILES} in the unit, nofile in /etc/security/limits.conf, or --ulimit of the container"
            );
            Finding::warn("open files", what, to_do)
        }
        false => Finding::ok("open files", what),
    }
}

fn inotify() -> Finding {
    let limit = |name: &str| {
        let text = std::fs::read_to_string(format!("/proc/sys/fs/inotify/{name}")).ok()?;
        text.trim().parse::<u64>().ok()
    };
    let (instances, watches) = (limit("max_user_instances"), limit("max_user_watches"));
    let (Some(instances), Some(watches)) = (instances, watches) else {
        return Finding::warn("inotify", "the limits cannot be read", "check that /proc is mounted");
    };
    let what = format!("{instances} instances and {watches} watches for each user");
    if instances < INSTANCES || watches < WATCHES {
        let to_do = "raise fs.inotify.max_user_instances and fs.inotify.max_user_watches with sysctl";
        return Finding::warn("inotify", what, to_do);
    }
    Finding::ok("inotify", what)
}

async fn versions() -> Finding {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let sqlite = sqlite_version().await.unwrap_or_else(|error| format!("that fails ({})", error.chain()));
    let ours = env!("CARGO_PKG_VERSION");
    Finding::ok("versions", format!("outboxd {ours}, SQLite {sqlite}, Linux {}", kernel.trim()))
}
