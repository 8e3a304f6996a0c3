//! What a package is made of: man pages, and completions that their shells accept.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::path::Path;
use std::process::Command;

fn generate(what: &str, folder: &Path) {
    let binary = env!("CARGO_BIN_EXE_outboxd");
    let output = Command::new(binary).args(["generate", what]).arg(folder).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// Runs a program that may be missing; returns its output, if it succeeded.
fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let Ok(output) = Command::new(program).args(arguments).output() else {
        eprintln!("{program} is not installed and left out");
        return None;
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{program}: {}{}", text(&output.stdout), text(&output.stderr));
    Some(text(&output.stdout))
}

#[test]
fn every_command_has_a_man_page() {
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("man1");
    generate("man", &pages);
    let page = |name: &str| std::fs::read_to_string(pages.join(name)).unwrap();
    let whole = page("outboxd.1");
    let cli = include_str!("../../docs/cli.md");
    let verbs = cli.lines().filter_map(|line| line.strip_prefix("## `")?.split(['`', ' ']).next());
    for verb in verbs.filter(|verb| *verb != "generate") {
        let own = page(&format!("outboxd-{verb}.1"));
        assert!(own.contains(".SH SYNOPSIS") && own.contains(".SH DESCRIPTION"), "{verb}: {own}");
        assert!(whole.contains(&format!("outboxd\\-{verb}(1)")), "{verb} is not in {whole}");
    }
    assert!(!pages.join("outboxd-generate.1").exists(), "packages need it, users do not");
    let path = pages.join("outboxd-enqueue.1");
    let shown = said("man", &["--warnings=all", "-l", path.to_str().unwrap()]);
    assert!(shown.is_none_or(|shown| shown.contains("Queue one message")));
}

#[test]
fn the_completions_are_accepted_by_their_shells() {
    let folder = tempfile::tempdir().unwrap();
    generate("completions", folder.path());
    for (shell, name) in [("bash", "outboxd.bash"), ("zsh", "_outboxd"), ("fish", "outboxd.fish")] {
        let path = folder.path().join(name);
        let path = path.to_str().unwrap();
        assert!(std::fs::read_to_string(path).unwrap().contains("enqueue"), "{name}");
        let _checked_or_missing = said(shell, &["-n", path]);
    }
    let path = folder.path().join("outboxd.bash");
    let complete = format!(
        "source {}; COMP_WORDS=(outboxd enq); COMP_CWORD=1; _outboxd outboxd enq outboxd; echo \"${{COMPREPLY[*]}}\"",
        path.display()
    );
    let completed = said("bash", &["-c", &complete]);
    assert!(completed.is_none_or(|words| words.trim() == "enqueue"));
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let binary = env!("CARGO_BIN_EXE_outboxd");
    let output = Command::new(binary).args(["generate", "man"]).arg(&file).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && told.contains(file.to_str().unwrap()), "{told}");
}

/// Returns the lines of the code block of a page that holds `word`, without the calls of systemctl.
fn block(page: &str, word: &str) -> String {
    let line = page.lines().position(|line| line.contains(word) && !line.ends_with('"')).unwrap();
    let lines: Vec<&str> = page.lines().collect();
    let is_code = |line: &&&str| !line.is_empty() && !line.starts_with("```");
    let before = lines[..line].iter().rev().take_while(is_code).count();
    let block = lines[line - before..].iter().take_while(is_code);
    block.filter(|line| !line.contains("systemctl")).map(|line| format!("{}\n", line.trim())).collect()
}

/// The daemon of a package runs as its own user, so a file that root makes with a mode of its own is one that it
/// refuses or cannot read.
#[test]
fn the_documented_commands_make_secrets_that_the_daemon_reads_and_others_do_not() {
    let folder = tempfile::tempdir().unwrap();
    let etc = folder.path().to_str().unwrap();
    let binary = Path::new(env!("CARGO_BIN_EXE_outboxd")).parent().unwrap();
    let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap());
    for (page, file, owner) in [
        (include_str!("../../docs/cli.md"), "tokens", "-o outboxd -g outboxd "),
        (include_str!("../../docs/events.md"), "crm_secret", "-g outboxd "),
    ] {
        let commands = block(page, &format!("/etc/outboxd/{file}"));
        assert!(commands.contains(owner), "{file} must belong to the daemon: {commands}");
        let here = commands.replace("sudo ", "").replace(owner, "").replace("/etc/outboxd", etc);
        let here = format!("set -e; umask 022\n{here}");
        let output = Command::new("sh").args(["-c", &here]).env("PATH", &path).output().unwrap();
        assert!(output.status.success(), "{here}: {output:?}");
    }
    let file = folder.path().join("outboxd.toml");
    let text = format!(
        "[api]\nlisten = \"127.0.0.1:0\"\ntokens_file = \"{etc}/tokens\"\n[outbound.webhook.crm]\n\
         url = \"http://127.0.0.1:1/\"\nsecret_file = \"{etc}/crm_secret\"\n"
    );
    std::fs::write(&file, text).unwrap();
    let mut check = Command::new(binary.join("outboxd"));
    check.arg("--config").arg(&file).arg("check").current_dir(folder.path());
    check.env_clear().env("OUTBOXD_UNIPILE_API_KEY", "k");
    let output = check.output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && !told.contains("others may read"), "{told}");
}

/// The unit sets both paths in the environment, which `check` and `doctor` in a shell do not see.
#[test]
fn the_configuration_of_a_package_names_the_paths_of_the_unit() {
    let unit = include_str!("../../packaging/systemd/outboxd.service");
    let install = include_str!("../../docs/install.md");
    let printed = install.lines().find_map(|line| line.strip_prefix("printf '")).unwrap();
    let printed = printed.split('\'').next().unwrap().replace("\\n", "\n");
    for text in [include_str!("../../packaging/debian/outboxd.toml"), &printed] {
        let table: toml::Table = text.parse().unwrap();
        for (variable, section, key) in
            [("OUTBOXD_STORE_PATH", "store", "path"), ("OUTBOXD_API_SOCKET", "api", "socket")]
        {
            let set = unit.lines().find_map(|line| line.strip_prefix(&format!("Environment={variable}=")));
            let named = table.get(section).and_then(|table| table.get(key)?.as_str());
            assert_eq!(named, set, "{section}.{key} in {text}");
        }
    }
}

/// The documents have the key put into a file of the clone; it must reach neither a commit nor a layer of an image.
#[test]
fn a_key_and_a_queue_in_the_clone_are_ignored() {
    let compose = include_str!("../../packaging/docker/compose.yaml");
    assert!(compose.contains("file: ./unipile_api_key"), "it names the file");
    let git: Vec<&str> = include_str!("../../.gitignore").lines().collect();
    let docker: Vec<&str> = include_str!("../../.dockerignore").lines().collect();
    for name in ["unipile_api_key", "*.db", "*.db-*", "*.db.lock", "*.db.mark", "*.sock"] {
        assert!(git.contains(&name), "{name} could be committed");
        assert!(docker.contains(&format!("**/{name}").as_str()), "{name} would be in the context of a build");
    }
}
