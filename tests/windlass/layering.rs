//! Imports go one way only. What is forbidden here is forbidden by `docs/architecture.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// What each layer may name of the others. Leaves name nothing but the model.
const MAY_USE: [(&str, &[&str]); 19] = [
    ("model", &[]),
    ("digest", &[]),
    ("batch", &[]),
    ("crash", &[]),
    ("durable", &[]),
    ("explain", &[]),
    ("private", &["durable", "explain"]),
    ("progress", &["model"]),
    ("config", &["model", "explain"]),
    ("database", &["model", "config"]),
    (
        "journal",
        &["model", "crash", "durable", "explain", "private"],
    ),
    ("report", &["model"]),
    ("catalog", &["model", "digest", "crash", "database"]),
    (
        "driver",
        &[
            "model", "digest", "batch", "crash", "durable", "config", "database",
        ],
    ),
    (
        "engine",
        &[
            "model", "digest", "batch", "crash", "durable", "explain", "private", "progress",
            "config", "database", "journal", "catalog", "driver",
        ],
    ),
    // Runs nothing: the engine's sibling, not its customer.
    (
        "audit",
        &["model", "progress", "journal", "catalog", "driver"],
    ),
    (
        "cli",
        &[
            "model", "digest", "explain", "private", "progress", "config", "database", "journal",
            "catalog", "driver", "engine", "audit", "report",
        ],
    ),
    (
        "fuzzing",
        &["model", "config", "database", "driver", "journal", "audit"],
    ),
    ("main", &["cli", "crash"]),
];

/// Who may name an outside library. The demo plays Anchore and an auditor, and so has its own SQL.
const LIBRARIES: [(&str, &[&str]); 15] = [
    ("sled", &["journal/"]),
    ("bincode", &["journal/"]),
    ("aws_sdk_s3", &["driver/s3/"]),
    ("aws_config", &["driver/s3/"]),
    (
        "sqlx",
        &["catalog/", "database/", "driver/db/", "cli/demo/"],
    ),
    ("serde_yaml", &["config/"]),
    ("backoff", &["engine/flow/retry.rs"]),
    ("clap", &["cli/"]),
    ("fail", &["crash.rs"]),
    ("anyhow", &["cli/"]),
    ("prometheus_client", &["cli/metrics.rs", "progress.rs"]),
    ("hyper", &["cli/serve"]),
    ("hyper_util", &["cli/serve"]),
    // In the one as the cryptography of rustls.
    ("ring", &["cli/report/sign.rs", "database/tls.rs"]),
    ("blake2", &["cli/report/sign.rs"]),
];

#[test]
fn imports_go_one_way_only() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let layer = layer_of(&path);
        // lib.rs names them all: that is what it is for.
        if layer == "lib" {
            continue;
        }
        let Some((_, may_use)) = MAY_USE.iter().find(|(name, _)| *name == layer) else {
            panic!("{path} belongs to no layer: give it one in this test, and in the architecture");
        };
        let used = modules_named(&text);
        let foreign = used
            .iter()
            .filter(|module| **module != layer && !may_use.contains(&module.as_str()));
        wrong.extend(foreign.map(|module| format!("{path} uses crate::{module}")));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The engine's rooms, from a task's beginning down to what all of them need.
const ROOMS: [&str; 4] = ["task", "run", "object", "flow"];

/// Within the engine imports go down only. What lies beside the rooms is below all of them; `mod.rs` names
/// them all: that is what it is for.
#[test]
fn the_engines_rooms_are_a_stair() {
    let height = |module: &str| ROOMS.iter().position(|room| *room == module);
    let mut seen = BTreeSet::new();
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let Some(inside) = path
            .strip_prefix("engine/")
            .filter(|path| *path != "mod.rs")
        else {
            continue;
        };
        let room = inside.split('/').next().unwrap_or_default();
        assert!(
            !text.contains("super::super"),
            "{path}: name it from the crate"
        );
        let lowest = height(room).unwrap_or(ROOMS.len());
        seen.extend(height(room));
        for used in words_behind(&text, "crate::engine::") {
            if height(&used).is_some_and(|above| above < lowest) {
                wrong.push(format!("{path} uses engine::{used}"));
            }
        }
    }
    assert_eq!(seen.len(), ROOMS.len(), "every room is looked into");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// No two files need each other: each can be read and tested behind those that it names.
#[test]
fn no_imports_go_in_a_circle() {
    for folder in ["engine", "audit", "catalog"] {
        let files: BTreeMap<String, String> = sources()
            .into_iter()
            .filter(|(path, _)| path.starts_with(&format!("{folder}/")))
            .map(|(path, text)| (module_of(&path), text))
            .collect();
        assert!(files.len() > 5, "{folder} is found");
        let mut uses: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (module, text) in &files {
            uses.insert(module, modules_used(module, text, &files));
        }
        // Whoever uses nothing that is left can be taken away; a circle is what stays.
        loop {
            let free: Vec<&str> = uses
                .iter()
                .filter(|(_, used)| used.is_empty())
                .map(|(module, _)| *module)
                .collect();
            if free.is_empty() {
                break;
            }
            uses.retain(|module, _| !free.contains(module));
            for used in uses.values_mut() {
                used.retain(|module| !free.contains(module));
            }
        }
        assert!(
            uses.is_empty(),
            "each of these needs another of them: {uses:#?}"
        );
    }
}

/// `crate::engine::run` of `engine/run/mod.rs`.
fn module_of(path: &str) -> String {
    let path = path.trim_end_matches(".rs").trim_end_matches("/mod");
    format!("crate::{}", path.replace('/', "::"))
}

/// The files of the same folder that a file names. A folder's own `mod.rs` only brings its files together,
/// and counts where something of its own is named.
fn modules_used<'a>(
    module: &str,
    text: &str,
    files: &'a BTreeMap<String, String>,
) -> BTreeSet<&'a str> {
    let parent = module
        .rsplit_once("::")
        .map_or("crate", |(parent, _)| parent);
    let text = text.replace("super::", &format!("{parent}::"));
    let mut used = BTreeSet::new();
    for (other, _) in files.iter().filter(|(other, _)| *other != module) {
        let Some((folder, name)) = other.rsplit_once("::").filter(|(at, _)| *at != "crate") else {
            continue;
        };
        let of_its_own = |name: &String| !files.contains_key(&format!("{other}::{name}"));
        let is_named = words_behind(&text, &format!("{other}::"))
            .iter()
            .any(of_its_own);
        if is_named
            || text.contains(&format!("use {other};"))
            || words_behind(&text, &format!("{folder}::")).contains(name)
                && !is_folder(other, files)
        {
            used.insert(other.as_str());
        }
    }
    used
}

fn is_folder(module: &str, files: &BTreeMap<String, String>) -> bool {
    let below = format!("{module}::");
    files.keys().any(|other| other.starts_with(&below))
}

/// The names that stand behind a path, by themselves or in a list.
fn words_behind(text: &str, path: &str) -> BTreeSet<String> {
    let text = text.replace(path, "\0").replace("crate::", "");
    modules_named(&text.replace('\0', "crate::"))
}

#[test]
fn libraries_stay_behind_their_module() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        for (library, homes) in LIBRARIES {
            let is_home = homes.iter().any(|home| path.starts_with(home));
            if !is_home && names(&text, library) {
                wrong.push(format!("{path} uses {library}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Tests ask for the feature; nobody else gets it without asking.
#[test]
fn a_plain_build_has_no_points_to_crash_at() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let manifest = fs::read_to_string(manifest).expect("the manifest");
    assert!(manifest.contains("failpoints = [\"dep:fail\""));
    let optional = manifest.lines().find(|line| line.starts_with("fail = "));
    assert!(optional.is_some_and(|line| line.contains("optional = true")));
    assert!(!manifest.lines().any(|line| line.starts_with("default = ")));
}

#[test]
fn the_model_is_pure() {
    for (path, text) in sources() {
        if layer_of(&path) != "model" {
            continue;
        }
        for impure in [
            "tokio",
            "sqlx",
            "sled",
            "std::fs",
            "std::net",
            "std::env",
            "SystemTime::now",
            "Instant::now",
            "Timestamp::now",
            "new_v4",
        ] {
            assert!(!text.contains(impure), "{path} uses {impure}");
        }
    }
}

#[test]
fn the_library_prints_in_one_place_only() {
    let printing = ["cli/printer.rs", "cli/demo.rs", "cli/mod.rs"];
    for (path, text) in sources() {
        let prints = ["println!(", "eprintln!(", "print!(", "stdout()", "stderr()"]
            .iter()
            .any(|call| text.contains(call));
        assert!(
            !prints || printing.contains(&path.as_str()),
            "{path} prints: results and words go through cli/printer.rs"
        );
    }
}

#[test]
fn the_scan_sees_what_it_should() {
    let text = "use crate::model::Phase;\nuse crate::{journal, catalog::Catalog};\n\
                fn f() { crate::driver::open(); let x: sled::Db; }";
    let expected = ["catalog", "driver", "journal", "model"];
    assert_eq!(
        modules_named(text),
        expected.map(str::to_owned).into_iter().collect()
    );
    assert!(names(text, "sled"));
    assert!(!names("my_sled::x", "sled"));
}

/// Every file of `src` but tests, by its path in there, without comments.
fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    assert!(files.len() > 50, "the sources are found");
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("a source file");
        let name = path.strip_prefix(&root).expect("below src");
        (
            name.display().to_string(),
            without_comments_and_tests(&text),
        )
    };
    files.into_iter().map(read).collect()
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("readable").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // Tests may reach across: they play the other side.
        let is_test = name == "tests"
            || name.ends_with("tests.rs")
            || name == "test_support.rs"
            || name == "conformance.rs";
        if is_test {
            continue;
        }
        if path.is_dir() {
            collect(&path, files);
        } else if name.ends_with(".rs") {
            files.push(path);
        }
    }
}

/// Unit tests stand at the end of their file.
fn without_comments_and_tests(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod tests {").next();
    code.unwrap_or_default()
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// `model` of `model/state.rs`, `digest` of `digest.rs`.
fn layer_of(path: &str) -> String {
    let first = path.split('/').next().unwrap_or_default();
    first.trim_end_matches(".rs").to_owned()
}

/// The top-level modules that a text names through `crate::`.
fn modules_named(text: &str) -> BTreeSet<String> {
    let mut modules = BTreeSet::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            None => drop(modules.insert(word(rest))),
            Some(list) => {
                let end = closing(list);
                let mut depth = 0;
                let mut start = true;
                for (at, c) in list[..end].char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' => depth -= 1,
                        ',' if depth == 0 => start = true,
                        c if start && depth == 0 && !c.is_whitespace() => {
                            modules.insert(word(&list[at..]));
                            start = false;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    modules
}

fn closing(list: &str) -> usize {
    let mut depth = 1;
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    list.len()
}

fn word(text: &str) -> String {
    text.chars()
        .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
        .collect()
}

/// Whether a text names a library: `sled::`, not `my_sled::`.
fn names(text: &str, library: &str) -> bool {
    let path = format!("{library}::");
    text.match_indices(&path).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        !before.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
    })
}
