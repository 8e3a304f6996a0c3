//! The examples in the `--help` of each command, in one list.
//!
//! `parse` adds them. A test parses every one of them, and checks that no command lacks them.

use clap::Command;

use super::Exit;

/// The words of a command and its examples. Lines that do not begin with `outboxd` are remarks.
const ALL: &[(&str, &str)] = &[
    ("serve", "outboxd serve\noutboxd serve --config /etc/outboxd/outboxd.toml"),
    ("demo", "outboxd demo\noutboxd demo --replies\noutboxd demo --ui"),
    ("sandbox", "outboxd sandbox --listen 127.0.0.1:8750"),
    ("check", "outboxd check\noutboxd check --config new.toml --json"),
    (
        "enqueue",
        "outboxd enqueue --account acc_1 --user ACoA1 --text 'Hello Ada, …'\n\
         outboxd enqueue --account acc_1 --chat CHAT --text-file more.txt\noutboxd enqueue messages.ndjson",
    ),
    (
        "import",
        "outboxd import people.csv --campaign autumn --account acc_1,acc_2 \\\n  \
         --step hello.txt --step '3 days' nudge.txt --dry-run\n\
         outboxd import people.csv.refused.csv --campaign autumn \\\n  \
         --account acc_1,acc_2 --step hello.txt --step '3 days' nudge.txt",
    ),
    (
        "list",
        "outboxd list --campaign autumn --state failed,rejected\n\
         outboxd list --campaign autumn --state queued --all | cut -f1 | \\\n  outboxd cancel --yes -\n\
         Columns: id, account, state, to, why, when. Piped, they are separated by tabs and have no header. \
         A narrow terminal shows the end of an id, which every command accepts.",
    ),
    (
        "export",
        "outboxd export --campaign autumn > results.csv\noutboxd export --person ACoA1 --json > ada.json",
    ),
    ("show", "outboxd show 6d6bd82b"),
    ("person", "outboxd person https://www.linkedin.com/in/jane-doe/"),
    ("erase", "outboxd export --person ACoA1 --json > ada.json\noutboxd erase ACoA1 --note 'request 17'"),
    ("explain", "outboxd explain 6d6bd82b"),
    (
        "forecast",
        "outboxd forecast --campaign autumn\noutboxd forecast --account acc_1 --with messages.ndjson",
    ),
    ("budget", "outboxd budget acc_1"),
    (
        "policy",
        "outboxd policy acc_1\noutboxd policy acc_1 gap.min=60s gap.max=90s\noutboxd policy acc_1 gap.min=",
    ),
    (
        "edit",
        "outboxd edit 6d6bd82b --text 'Hello Ada, …'\n\
         outboxd edit --of-campaign autumn --not-before 'tomorrow 09:00'",
    ),
    ("move", "outboxd move --campaign autumn --account acc_1 --to acc_2 --dry-run"),
    ("priority", "outboxd priority 50 --campaign autumn\noutboxd priority -10 6d6bd82b"),
    ("hold", "outboxd hold 6d6bd82b\noutboxd hold --campaign autumn --dry-run"),
    ("release", "outboxd release 6d6bd82b\noutboxd release --campaign autumn"),
    (
        "retry",
        "outboxd retry 6d6bd82b\n\
         outboxd list --state failed --all --json | jq -r '.data[].id' | outboxd retry --yes -",
    ),
    ("cancel", "outboxd cancel 6d6bd82b\noutboxd cancel --person ACoA1 --note 'left the company'"),
    (
        "review",
        "outboxd review\noutboxd review 6d6bd82b\noutboxd review 6d6bd82b sent\n\
         outboxd review --reason stale resend\n\
         A message is in review when its call may have reached the recipient and reading the chat back did not \
         settle it. Without a decision, all that is known is shown.\n- sent: you see it in the chat\n\
         - resend: it is not there, send it once more\n- drop: leave it",
    ),
    (
        "pause",
        "outboxd pause acc_1 --until 'tomorrow 09:00'\noutboxd pause --all --for 2h --note 'new texts'",
    ),
    ("resume", "outboxd resume acc_1\noutboxd resume --all"),
    (
        "stop",
        "outboxd stop --person ACoA1 --note 'called, not interested'\n\
         outboxd stop --campaign autumn --until 'tomorrow 09:00'\noutboxd stop --list",
    ),
    ("go", "outboxd go --person ACoA1\noutboxd go --campaign autumn"),
    ("campaign", "outboxd campaign list\noutboxd campaign show autumn"),
    ("campaign list", "outboxd campaign list"),
    ("campaign show", "outboxd campaign show autumn"),
    ("campaign pause", "outboxd campaign pause autumn --until 'tomorrow 09:00'"),
    ("campaign resume", "outboxd campaign resume autumn"),
    ("campaign cancel", "outboxd campaign cancel autumn --dry-run"),
    ("suppress", "outboxd suppress add ACoA1 --note 'asked by e-mail'\noutboxd suppress list | cut -f2"),
    ("suppress add", "outboxd suppress add ACoA1 --note 'asked by e-mail'"),
    ("suppress remove", "outboxd suppress remove ACoA1"),
    ("suppress list", "outboxd suppress list | cut -f2"),
    ("suppress check", "outboxd suppress check ACoA1"),
    (
        "suppress import",
        "outboxd suppress import opted-out.csv --note 'asked by e-mail'\n\
         The file has one person per line, or is a CSV with a header that names a column of people, such as `linkedin_url`.",
    ),
    (
        "webhook",
        "outboxd webhook register --url https://hooks.example.com/webhooks/unipile\noutboxd webhook test",
    ),
    ("webhook register", "outboxd webhook register --url https://hooks.example.com/webhooks/unipile"),
    ("webhook list", "outboxd webhook list"),
    ("webhook test", "outboxd webhook test\noutboxd webhook test --local"),
    ("webhook remove", "outboxd webhook remove"),
    ("audit", "outboxd audit && echo 'every promise was kept'"),
    ("backup", "outboxd backup\noutboxd backup before-the-upgrade.db"),
    ("status", "outboxd status\noutboxd status acc_1"),
    ("top", "outboxd top"),
    ("notices", "outboxd notices\noutboxd notices --json"),
    ("doctor", "outboxd doctor\noutboxd doctor --json"),
    ("watch", "outboxd watch --campaign autumn\noutboxd watch --after 0 --type 'message.*' --json"),
    ("hook", "outboxd hook list\noutboxd hook replay crm --from 1200"),
    ("hook list", "outboxd hook list"),
    ("hook enable", "outboxd hook enable crm"),
    ("hook replay", "outboxd hook replay crm --from 1200"),
    ("ui", "outboxd ui\noutboxd ui --read-only --port 8080"),
    ("token", "outboxd token board read"),
    ("generate", "outboxd generate man ./man"),
    ("generate man", "outboxd generate man ./man"),
    ("generate completions", "outboxd generate completions ./completions"),
];

/// Adds the examples to a command and those below it.
pub(super) fn with_examples(command: Command) -> Command {
    let command = below(command, "");
    command.after_help(format!("{}\n\n{}", shown("outboxd demo\noutboxd status"), Exit::HELP))
}

fn below(command: Command, path: &str) -> Command {
    let names: Vec<String> = command.get_subcommands().map(|below| below.get_name().to_owned()).collect();
    names.into_iter().fold(command, |command, name| {
        let path = if path.is_empty() { name.clone() } else { format!("{path} {name}") };
        command.mut_subcommand(name, |command| {
            let command = below(command, &path);
            match ALL.iter().find(|(of, _)| *of == path) {
                Some((_, examples)) => command.after_help(shown(examples)),
                None => command,
            }
        })
    })
}

/// Formats examples and the remarks behind them.
fn shown(examples: &str) -> String {
    let is_example = |line: &&str| line.starts_with("outboxd ") || line.starts_with("  ");
    let commands: Vec<String> = examples.lines().filter(is_example).map(|line| format!("  {line}")).collect();
    let remarks: Vec<&str> = examples.lines().filter(|line| !is_example(line)).collect();
    let mut shown = format!("Examples:\n{}", commands.join("\n"));
    if !remarks.is_empty() {
        shown = format!("{shown}\n\n{}", remarks.join("\n"));
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::CommandFactory;

    /// Splits a line as a shell does, as far as the examples need it.
    fn words(line: &str) -> Vec<String> {
        let (mut words, mut quoted) = (vec![String::new()], false);
        for c in line.chars() {
            match c {
                '\'' => quoted = !quoted,
                ' ' if !quoted => words.push(String::new()),
                c => words.last_mut().unwrap().push(c),
            }
        }
        words.retain(|word| !word.is_empty());
        words
    }

    #[test]
    fn every_command_has_examples_and_each_is_accepted() {
        fn paths(command: &Command, path: &str, all: &mut Vec<String>) {
            for below in command.get_subcommands() {
                let path = format!("{path} {}", below.get_name()).trim().to_owned();
                paths(below, &path, all);
                all.push(path);
            }
        }
        let mut all = Vec::new();
        paths(&Cli::command(), "", &mut all);
        for path in &all {
            assert!(ALL.iter().any(|(of, _)| of == path), "{path} has no examples");
        }
        assert_eq!(ALL.len(), all.len());
        for (path, examples) in ALL {
            let lines = examples.replace("\\\n  ", "");
            let lines: Vec<&str> = lines.lines().filter(|line| line.starts_with("outboxd ")).collect();
            assert!(lines.iter().any(|line| line.starts_with(&format!("outboxd {path}"))), "{path}");
            for one in lines.iter().flat_map(|line| line.split(['|', '&', '>'])).map(str::trim) {
                if one.starts_with("outboxd ") {
                    let parsed = with_examples(Cli::command()).try_get_matches_from(words(one));
                    assert!(parsed.is_ok(), "{one}: {}", parsed.unwrap_err());
                }
            }
        }
    }
}
