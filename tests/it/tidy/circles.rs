//! No two files of a folder import each other, directly or through others: each can be read once, from the top down.
//! The folders of the store name each other in one direction.

use std::collections::{BTreeMap, BTreeSet};

use super::{Source, assert_none, named, sources};

/// The folders of the store, and the others of them that each may name (ARCHITECTURE.md, "The folders of the store").
const STORE: &[(&str, &[&str])] = &[
    ("sqlite", &[]),
    ("transitions", &["sqlite"]),
    ("views", &["transitions", "sqlite"]),
    ("administration", &["transitions", "views", "sqlite"]),
    ("writer", &["transitions", "sqlite"]),
];

/// The files of a folder by name, each with the other files of the folder that it names.
type Folder = BTreeMap<String, BTreeSet<String>>;

fn folders(sources: &[Source]) -> BTreeMap<String, Folder> {
    let mut folders: BTreeMap<String, Folder> = BTreeMap::new();
    for source in sources {
        let Some((folder, file)) = source.path.rsplit_once('/') else { continue };
        let name = file.trim_end_matches(".rs");
        if name == "mod" || name.ends_with("_tests") || folder == "src" {
            continue;
        }
        let lines = source.code().map(|(_, line)| line.trim());
        // `super` means another file in the tests of a file.
        let text: String = lines.take_while(|line| *line != "#[cfg(test)]").collect();
        let room = folder.trim_start_matches("src/").replace('/', "::");
        let beside = named(&text, "super::").into_iter().chain(named(&text, &format!("crate::{room}::")));
        let beside = beside.map(str::to_owned).filter(|other| other != name).collect();
        folders.entry(folder.to_owned()).or_default().insert(name.to_owned(), beside);
    }
    folders
}

/// Returns a cycle of imports through `from`, if there is one.
fn circle(folder: &Folder, from: &str) -> Option<Vec<String>> {
    let mut ways = vec![vec![from.to_owned()]];
    let mut seen = BTreeSet::new();
    while let Some(way) = ways.pop() {
        for next in folder.get(way.last()?).into_iter().flatten() {
            let longer = way.iter().cloned().chain([next.clone()]).collect();
            if next == from {
                return Some(longer);
            }
            if folder.contains_key(next) && seen.insert(next.clone()) {
                ways.push(longer);
            }
        }
    }
    None
}

#[test]
fn files_of_a_folder_do_not_import_each_other_in_circles() {
    let mut broken = BTreeSet::new();
    for (path, folder) in folders(&sources("src")) {
        // Each file of a cycle finds it; only the shortest way is reported.
        let circles = folder.keys().filter_map(|name| circle(&folder, name));
        if let Some(way) = circles.min_by_key(Vec::len) {
            broken.insert(format!("{path}: {}", way.join(" -> ")));
        }
    }
    assert_none(&broken.into_iter().collect::<Vec<_>>(), "move what both need into a file of its own");
}

/// Returns each folder of the store that a file names and may not, as a line for the report.
fn wrong_folders(source: &Source) -> Vec<String> {
    let Some((folder, file)) = source.path.strip_prefix("src/store/").and_then(|path| path.split_once('/'))
    else {
        return Vec::new();
    };
    let Some((_, allowed)) = STORE.iter().find(|(name, _)| *name == folder) else {
        return vec![format!("{}: `{folder}` has no row in STORE (tests/it/tidy/circles.rs)", source.path)];
    };
    let text: String = source.code().map(|(_, line)| format!("{}\n", line.trim())).collect();
    let mut found = named(&text, "crate::store::");
    found.extend(named(&text, if file == "mod.rs" { "super::" } else { "super::super::" }));
    let is_wrong = |name: &&str| *name != folder && !allowed.contains(name);
    let known = found.into_iter().filter(|name| STORE.iter().any(|(one, _)| one == name));
    known.filter(is_wrong).map(|name| format!("{} names `{name}`", source.path)).collect()
}

#[test]
fn the_folders_of_the_store_name_each_other_in_one_direction() {
    let broken: Vec<String> = sources("src/store").iter().flat_map(wrong_folders).collect();
    assert_none(
        &broken,
        "who may name whom in the store (ARCHITECTURE.md): move what both need further down",
    );
}

#[test]
fn a_wrong_folder_is_found() {
    let wrong =
        |path: &str, text: &str| wrong_folders(&Source { path: path.into(), text: text.into() }).len();
    assert_eq!(wrong("src/store/sqlite/a.rs", "use crate::store::transitions::stops;"), 1);
    assert_eq!(wrong("src/store/sqlite/a.rs", "use crate::store::{Store, views::stops};"), 1);
    assert_eq!(wrong("src/store/sqlite/mod.rs", "let x = super::writer::x();"), 1);
    assert_eq!(wrong("src/store/views/stops.rs", "use crate::store::{Store, transitions::stops};"), 0);
    assert_eq!(wrong("src/store/other/a.rs", ""), 1);
}

#[test]
fn a_circle_is_found_and_a_line_of_files_is_none() {
    let source = |path: &str, text: &str| Source { path: path.into(), text: text.into() };
    let room = |c: &str| {
        let files = [
            source("src/room/a.rs", "use super::b::B;"),
            source("src/room/b.rs", "use super::{\n    c::C,\n};"),
            source("src/room/c.rs", c),
        ];
        let folders = folders(&files);
        circle(&folders["src/room"], "a")
    };
    assert_eq!(room("use crate::room::a::A;").unwrap().join(" "), "a b c a");
    assert_eq!(room("// use super::a;\n#[cfg(test)]\nmod tests {\n    use super::a;\n}"), None);
}
