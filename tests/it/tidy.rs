//! The rules of the source that a compiler does not check: which module may name which, file length, and that the
//! documents match the code. Each test lists everything that breaks its rule, and how to fix it.
//!
//! It reads source text and is not clever: a line that begins with `//` is a comment, `crate::x` names module `x`.

mod circles;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Every module, and the other modules of ours that it may name (ARCHITECTURE.md, "Who may name whom").
const MAY_NAME: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("policy", &["domain"]),
    ("clock", &[]),
    ("tasks", &[]),
    ("metrics", &[]),
    ("traces", &["domain"]),
    ("store", &["domain", "clock", "tasks", "metrics", "traces"]),
    ("provider", &["domain", "clock"]),
    ("sandbox", &["clock"]),
    ("config", &["domain"]),
    ("telemetry", &["config"]),
    ("engine", &["policy", "domain", "store", "provider", "clock", "tasks", "metrics", "traces"]),
    ("types", &["domain"]),
    ("import", &["types", "domain"]),
    ("inbound", &["engine", "policy", "store", "domain", "clock", "tasks"]),
    ("outbound", &["types", "engine", "provider", "store", "domain", "clock"]),
    ("http", &["types", "import", "engine", "inbound", "store", "domain", "tasks", "metrics", "traces"]),
    ("intake", &["http", "store", "domain", "tasks", "traces"]),
    (
        "app",
        &[
            "http",
            "inbound",
            "intake",
            "outbound",
            "engine",
            "store",
            "provider",
            "sandbox",
            "config",
            "telemetry",
            "tasks",
            "clock",
            "domain",
            "metrics",
            "traces",
        ],
    ),
    ("cli", &["types", "app", "import", "config", "telemetry", "clock"]),
    ("main", &["cli"]),
    ("lib", &[]),
];

/// Names that only these files may use, by the beginning of their path.
const ONLY_IN: &[(&str, &[&str])] = &[
    ("sqlx::", &["src/store/"]),
    ("utoipa::", &["src/types/", "src/http/openapi.rs", "src/http/wire.rs"]),
    // The configuration parses an address with the same parser that will use it; the demo acts as a producer.
    (
        "reqwest::",
        &[
            "src/provider/",
            "src/cli/client.rs",
            "src/cli/enqueue.rs",
            "src/cli/files.rs",
            "src/app/demo.rs",
            "src/app/demo_replies.rs",
            "src/config/read.rs",
            "src/config/outbound.rs",
            "src/config/effective.rs",
        ],
    ),
    ("axum::", &["src/http/", "src/sandbox/", "src/app"]),
];

/// The verbs of the command line.
const VERBS: &[&str] = &[
    "serve", "demo", "sandbox", "check", "enqueue", "list", "show", "explain", "forecast", "budget",
    "policy", "cancel", "review", "pause", "resume", "audit", "backup", "status", "top", "stop", "go",
    "suppress", "campaign", "import", "export", "edit", "move", "priority", "hold", "release", "retry",
    "person", "erase", "webhook", "watch", "hook", "doctor", "notices", "generate", "token", "ui",
];

const MAX_LINES: usize = 400;

/// A Rust file: its path below the repository, and its text.
struct Source {
    path: String,
    text: String,
}

impl Source {
    /// Returns the module of `src/` that it belongs to.
    fn module(&self) -> &str {
        let below = self.path.trim_start_matches("src/");
        below.split('/').next().unwrap_or(below).trim_end_matches(".rs")
    }

    /// Returns how many modules deep its first line is: `src/x.rs` and `src/x/mod.rs` are 1 deep.
    fn depth(&self) -> usize {
        let below = self.path.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
        below.split('/').count() + usize::from(below.ends_with("_tests"))
    }

    /// Returns its lines with their numbers, without the comments.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().enumerate().map(|(index, line)| (index + 1, line));
        lines.filter(|(_, line)| !line.trim_start().starts_with("//"))
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn document(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn sources(folder: &str) -> Vec<Source> {
    fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.expect("a readable folder").path();
            if path.is_dir() {
                collect(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    collect(&root().join(folder), &mut found);
    found.sort();
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let path = path.strip_prefix(root()).expect("it lies below the repository").display().to_string();
        Source { path, text }
    };
    found.into_iter().map(read).collect()
}

fn assert_none(broken: &[String], rule: &str) {
    assert!(broken.is_empty(), "{rule}\n  {}\n", broken.join("\n  "));
}

/// Returns the identifiers right after `prefix` in `line`; after `prefix{` those of the list, at its top level.
fn named<'a>(line: &'a str, prefix: &str) -> Vec<&'a str> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let first = |text: &'a str| text.split(|c| !word(c)).next().unwrap_or_default();
    let mut found = Vec::new();
    for (at, _) in line.match_indices(prefix) {
        if line[..at].ends_with(|c| word(c) || c == ':') {
            continue;
        }
        let rest = &line[at + prefix.len()..];
        let Some(list) = rest.strip_prefix('{') else {
            found.push(first(rest));
            continue;
        };
        let mut depth = 0_usize;
        let mut item = 0;
        for (at, c) in list.char_indices() {
            match c {
                '{' => depth += 1,
                ',' if depth == 0 => {
                    found.push(first(list[item..at].trim()));
                    item = at + 1;
                }
                '}' if depth == 0 => {
                    found.push(first(list[item..at].trim()));
                    break;
                }
                '}' => depth -= 1,
                _ => {}
            }
        }
    }
    found
}

/// Returns the modules of ours that a file names: by `crate::`, by enough `super::`, and in `main.rs` by `outboxd::`.
fn modules_named(source: &Source) -> BTreeSet<String> {
    let mut code = String::new();
    let mut depth = source.depth();
    let mut found = BTreeSet::new();
    let known = |name: &&str| MAY_NAME.iter().any(|(module, _)| module == name);
    for (_, line) in source.code() {
        if line.starts_with("mod tests {") {
            depth += 1;
        }
        found.extend(named(line, &"super::".repeat(depth)).into_iter().filter(known).map(str::to_owned));
        code.push_str(line);
        code.push('\n');
    }
    let ours = if source.module() == "main" { "outboxd::" } else { "crate::" };
    // The whole text at once: a list of imports may span several lines.
    found.extend(named(&code, ours).into_iter().filter(known).map(str::to_owned));
    found
}

#[test]
fn nobody_names_whom_it_may_not() {
    let mut broken = Vec::new();
    for source in sources("src") {
        let module = source.module();
        let Some((_, allowed)) = MAY_NAME.iter().find(|(name, _)| *name == module) else {
            broken
                .push(format!("{}: `{module}` stands in no row of MAY_NAME (tests/it/tidy.rs)", source.path));
            continue;
        };
        for name in modules_named(&source) {
            if name != module && !allowed.contains(&name.as_str()) {
                broken.push(format!("{} names `{name}`; {module} may name {allowed:?}", source.path));
            }
            let sleeps =
                ["src/store/administration/watch.rs", "src/store/views/events.rs", "src/store/writer/"];
            let may_sleep = sleeps.iter().any(|place| source.path.starts_with(place));
            if module == "store" && name == "clock" && !may_sleep {
                broken.push(format!("{} names `clock`; in the store only {sleeps:?} may sleep", source.path));
            }
        }
    }
    assert_none(
        &broken,
        "who may name whom (ARCHITECTURE.md): hand it in as an argument, or move the type to domain",
    );
}

#[test]
fn a_library_stays_behind_its_seam() {
    let mut broken = Vec::new();
    for source in sources("src") {
        for (number, line) in source.code() {
            for (name, places) in ONLY_IN {
                let uses = !named(line, name).is_empty()
                    || line.trim() == format!("use {};", name.trim_end_matches(':'));
                if uses && !places.iter().any(|place| source.path.starts_with(place)) {
                    broken
                        .push(format!("{}:{number} uses `{name}`, which belongs to {places:?}", source.path));
                }
            }
        }
    }
    assert_none(&broken, "a library is used on its side of the seam only");
}

#[test]
fn no_limit_is_a_bare_parameter() {
    let mut broken = Vec::new();
    for source in sources("src/store") {
        for (number, line) in source.code() {
            let bare = ["LIMIT ?", "OFFSET ?"].iter().flat_map(|bound| line.match_indices(bound)).any(
                |(at, bound)| {
                    let rest =
                        line[at + bound.len()..].trim_start_matches(|digit: char| digit.is_ascii_digit());
                    !rest.starts_with(" + 0")
                },
            );
            if bare {
                broken.push(format!("{}:{number}: {}", source.path, line.trim()));
            }
        }
    }
    assert_none(
        &broken,
        "SQLite compiles such a statement anew for each value; write `?1 + 0` (src/store/sqlite/mod.rs)",
    );
}

#[test]
fn domain_and_policy_are_not_async() {
    let mut broken = Vec::new();
    for source in sources("src").iter().filter(|source| ["domain", "policy"].contains(&source.module())) {
        for (number, line) in source.code() {
            if ["async fn", "async {", "async move", ".await"].iter().any(|word| line.contains(word)) {
                broken.push(format!("{}:{number}: {}", source.path, line.trim()));
            }
        }
    }
    assert_none(&broken, "domain and policy are pure: what waits belongs to the engine");
}

#[test]
fn every_file_says_what_it_is_and_is_short() {
    let mut broken = Vec::new();
    for source in sources("src") {
        if !source.text.starts_with("//! ") {
            broken.push(format!("{} does not begin with a `//!` header", source.path));
        }
        let lines = source.text.lines().count();
        if lines > MAX_LINES {
            broken.push(format!("{} has {lines} lines; at most {MAX_LINES}", source.path));
        }
    }
    assert_none(&broken, "one concept a file: say it in its header, and split by concept what is too long");
}

#[test]
fn nothing_is_left_for_later() {
    // Put together here, so that this file does not find itself.
    let marks = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("unimplemented", "!("),
        concat!("todo", "!("),
        concat!("dbg", "!("),
        concat!("#[", "ignore"),
    ];
    let mut broken = Vec::new();
    for source in sources("src").iter().chain(&sources("tests")) {
        for (index, line) in source.text.lines().enumerate() {
            if let Some(mark) = marks.iter().find(|mark| line.contains(*mark)) {
                broken.push(format!("{}:{} has `{mark}`", source.path, index + 1));
            }
        }
    }
    assert_none(&broken, "do it now, or open an issue; a test that cannot run is deleted");
}

/// Collects the leaves of a TOML table: dotted path and value.
fn leaves(table: &toml::Table, path: &str, found: &mut BTreeMap<String, String>) {
    for (name, value) in table {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        match value {
            toml::Value::Table(below) => leaves(below, &path, found),
            leaf => {
                found.insert(path, leaf.to_string());
            }
        }
    }
}

/// Returns the cells of a Markdown table's rows whose first cell is code.
fn code_rows(text: &str) -> impl Iterator<Item = Vec<&str>> {
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    rows.map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`')).collect())
}

#[test]
fn every_configuration_key_is_documented_with_its_default() {
    let built_in = document("config/outboxd.toml").parse::<toml::Table>().expect("the built-in file is TOML");
    let mut keys = BTreeMap::new();
    leaves(&built_in, "", &mut keys);
    let text = document("docs/configuration.md");
    let mut broken = Vec::new();
    for row in code_rows(&text) {
        let [key, default, variable, what] = row[..] else {
            broken.push(format!("the row of `{}` has not four cells: key, default, variable, what", row[0]));
            continue;
        };
        let Some(real) = keys.remove(key) else {
            broken.push(format!(
                "`{key}` is documented (twice?) and stands once or not at all in config/outboxd.toml"
            ));
            continue;
        };
        if default != real {
            broken.push(format!("`{key}`: the default is {real}, not {default}"));
        }
        let expected = format!("OUTBOXD_{}", key.replace('.', "_").to_uppercase());
        if variable != expected {
            broken.push(format!("`{key}`: the variable is {expected}, not {variable}"));
        }
        if what.is_empty() {
            broken.push(format!("`{key}`: say what it does"));
        }
    }
    broken.extend(keys.keys().map(|key| format!("`{key}` is missing")));
    assert_none(&broken, "docs/configuration.md must say what config/outboxd.toml says");
}

#[test]
fn every_verb_is_a_heading_of_its_document() {
    let text = document("docs/cli.md");
    let headings = text.lines().filter_map(|line| line.strip_prefix("## `")?.split(['`', ' ']).next());
    let headings: Vec<&str> = headings.collect();
    let mut broken: Vec<String> = VERBS
        .iter()
        .filter(|verb| !headings.contains(verb))
        .map(|verb| format!("`{verb}` has no heading"))
        .collect();
    broken.extend(
        headings.iter().filter(|verb| !VERBS.contains(verb)).map(|verb| format!("`{verb}` is not a verb")),
    );
    assert_none(&broken, "docs/cli.md must have one heading for each verb");
}

#[test]
fn the_map_of_the_house_is_whole() {
    let text = document("ARCHITECTURE.md");
    let mut broken = Vec::new();
    for number in 1..=9 {
        if !text.lines().any(|line| line.starts_with(&format!("| P{number} |"))) {
            broken.push(format!("P{number} has no row"));
        }
    }
    let modules: BTreeSet<String> = sources("src").iter().map(|source| source.module().to_owned()).collect();
    for module in modules {
        let names = [format!("| `{module}/` |"), format!("| `{module}.rs` |")];
        if !text.lines().any(|line| names.iter().any(|name| line.starts_with(name))) {
            broken.push(format!("the code map has no row for `{module}`"));
        }
    }
    if text.lines().count() > 200 {
        broken.push(format!("it has {} lines; at most 200, so that it is read", text.lines().count()));
    }
    for (index, line) in text.lines().enumerate() {
        if line.split(".rs:").skip(1).any(|rest| rest.starts_with(|c: char| c.is_ascii_digit())) {
            broken.push(format!("line {} names a line number, which is wrong by tomorrow", index + 1));
        }
    }
    assert_none(&broken, "ARCHITECTURE.md");
}

#[test]
fn names_are_found_in_every_form_of_import() {
    assert_eq!(named("use crate::domain::state::State;", "crate::"), ["domain"]);
    assert_eq!(
        named("use crate::{app, config::{Settings, Loaded}, clock};", "crate::"),
        ["app", "config", "clock"]
    );
    assert_eq!(named("let x = crate::clock::dice(crate::store::SEED);", "crate::"), ["clock", "store"]);
    assert_eq!(named("pub(in crate) fn mycrate::x()", "crate::"), Vec::<&str>::new());
    let source = |path: &str, text: &str| Source { path: path.into(), text: text.into() };
    let names = |path, text| modules_named(&source(path, text)).into_iter().collect::<Vec<_>>();
    assert_eq!(names("src/engine/mod.rs", "use super::http::Router;"), ["http"]);
    assert_eq!(names("src/engine/account.rs", "use super::live;\nuse super::super::http;"), ["http"]);
    assert_eq!(
        names("src/engine/account.rs", "mod tests {\n    use super::super::http;\n}"),
        Vec::<String>::new()
    );
    assert_eq!(
        names("src/engine/live.rs", "/// As crate::http does.\nuse crate::{\n    clock,\n    store,\n};"),
        ["clock", "store"]
    );
    assert_eq!(names("src/main.rs", "use outboxd::{app, cli};"), ["app", "cli"]);
}
