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
