//! The README and the runbook are run, as far as they can be: their commands parse, configurations
//! load, and what is said of exit codes and commands is what the program says of itself.

use std::path::Path;

use windlass::config::{ConfigFile, Section};

use crate::support::program::Program;

fn readme() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    std::fs::read_to_string(path).expect("the README")
}

/// The fenced blocks of a language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    let blocks = text.split(&fence).skip(1);
    blocks
        .map(|rest| rest.split("\n```").next().expect("an end").to_owned())
        .collect()
}

async fn help() -> String {
    Program::new().run(&["--help"]).await.expect_code(0).stdout
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_line_of_the_readme_and_the_runbook_parses() {
    let runbook = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
    let runbook = std::fs::read_to_string(runbook).expect("the runbook");
    let pages = format!("{}\n{runbook}", readme());
    // Commands in a list are indented with it.
    let pages = pages.replace("\n   ", "\n");
    let mut lines: Vec<String> = blocks(&pages, "sh")
        .iter()
        .flat_map(|block| block.lines().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    // What stands in backticks in tables and text, too.
    lines.extend(in_backticks(&pages).map(str::to_owned));
    // Something in the placeholders' places.
    for line in &mut lines {
        *line = line
            .replace(" N", " 7")
            .replace("URL", "sqlite:///a.db")
            .replace("FILE", "a.yaml");
    }
    let program = Program::new();
    let mut parsed = 0;
    for line in &lines {
        // What a shell takes away: comments, and where the output goes.
        let line = line.split(" #").next().unwrap_or_default();
        let line = line.split(" > ").next().unwrap_or_default();
        let line = line.split(" | ").next().unwrap_or_default().trim();
        let Some(args) = line.strip_prefix("windlass ") else {
            continue;
        };
        // `--help` ends the command before it does anything, but not before unknown options.
        let mut args: Vec<&str> = args.split_whitespace().collect();
        args.push("--help");
        let outcome = program.run(&args).await;
        assert_eq!(outcome.code, Some(0), "{line}: {}", outcome.stderr);
        parsed += 1;
    }
    assert!(parsed > 50, "only {parsed} commands were found");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_readmes_commands_are_those_of_the_help() {
    let (readme, help) = (readme(), help().await);
    let listed = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty());
    let names: Vec<&str> = listed
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| !matches!(*name, "help" | "objectstorage"))
        .collect();
    assert!(names.len() >= 9, "{names:?}");
    for name in &names {
        let row = format!("| `{name}");
        assert!(readme.contains(&row), "{name} is not in the README");
    }
    let rows = readme.lines().filter_map(|line| line.strip_prefix("| `"));
    let rows = rows.filter(|row| row.contains("TASK") || row.contains("CONFIG"));
    for row in rows {
        let name = row.split([' ', '`']).next().expect("a name");
        assert!(names.contains(&name), "the README claims {name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_readmes_exit_codes_are_those_of_the_help() {
    let numbered = |line: &str| {
        let word = line.split_whitespace().next()?;
        word.parse::<u8>().ok()
    };
    let readme = readme();
    let table = readme
        .split("| exit code | |\n|---|---|\n")
        .nth(1)
        .expect("the table");
    let printed: Vec<u8> = table
        .lines()
        .map_while(|line| numbered(line.strip_prefix("| ")?))
        .collect();
    let help = help().await;
    let codes = help.split("Exit codes:\n").nth(1).expect("the list");
    let told: Vec<u8> = codes.lines().map_while(numbered).collect();
    assert_eq!(printed, told);
    assert_eq!(told, [0, 2, 3, 5, 130]);
}

#[test]
fn the_readmes_configurations_load() {
    let dir = tempfile::tempdir().expect("a directory");
    let blocks = blocks(&readme(), "yaml");
    let mut drivers = Vec::new();
    for (number, text) in blocks.iter().enumerate() {
        let path = dir.path().join(format!("{number}.yaml"));
        std::fs::write(&path, text).expect("written");
        let config = ConfigFile::load(&path, &|_| None).expect("a configuration");
        let store = config.store(Section::ObjectStore).expect("a store");
        assert!(store.notices.is_empty(), "{:?}", store.notices);
        assert!(config.database().expect("readable").is_some());
        drivers.push(store.driver.name());
    }
    assert_eq!(drivers, ["db", "s3"]);
}

#[test]
fn every_link_between_the_pages_leads_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages = Vec::new();
    for directory in [".", "docs", "docs/decisions"] {
        let directory = std::fs::read_dir(root.join(directory)).expect("a directory");
        let paths = directory.map(|entry| entry.expect("readable").path());
        pages.extend(paths.filter(|path| path.extension().is_some_and(|e| e == "md")));
    }
    assert!(pages.len() > 20, "the pages are found");
    for page in &pages {
        let text = std::fs::read_to_string(page).expect("a page");
        for link in text.split("](").skip(1) {
            let link = link.split(')').next().expect("an end");
            let link = link.split('#').next().expect("a path");
            if link.is_empty() || link.contains("://") {
                continue;
            }
            let target = page.parent().expect("a directory").join(link);
            assert!(target.exists(), "{}: {link}", page.display());
        }
    }
}

/// Where a page names a test as the one that holds a line of it, there is such a test.
#[test]
fn every_test_that_the_pages_name_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = String::new();
    for dir in ["src", "tests"] {
        collect(&root.join(dir), &mut sources);
    }
    let decisions = std::fs::read_dir(root.join("docs/decisions")).expect("decisions");
    let decisions = decisions.map(|entry| entry.expect("readable").path());
    let decisions = decisions.map(|path| (path, 0));
    let pages = [("docs/compatibility.md", 40), ("SECURITY.md", 1)];
    let pages = pages.map(|(page, at_least)| (root.join(page), at_least));
    for (page, at_least) in pages.into_iter().chain(decisions) {
        let text = std::fs::read_to_string(&page).expect("the page");
        let page = page.display();
        let named = in_backticks(&text)
            .filter_map(|word| word.rsplit_once("::"))
            .filter(|(_, name)| name.matches('_').count() >= 2);
        let mut found = 0;
        for (_, name) in named {
            let function = format!("fn {name}(");
            assert!(sources.contains(&function), "{page}: no test {name}");
            found += 1;
        }
        assert!(found >= at_least, "{page}: only {found} tests are named");
    }
}

/// The table of options has each option that a driver takes.
#[test]
fn every_option_of_a_driver_has_its_row() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| std::fs::read_to_string(root.join(path)).expect(path);
    let (code, page) = (read("src/config/drivers.rs"), read("docs/compatibility.md"));
    let mut options = 0;
    for driver in ["localfs", "s3", "swift"] {
        let start = format!("const {}_OPTIONS: &[&str] = &[", driver.to_uppercase());
        let list = code.split(&start).nth(1).expect("the driver's options");
        let list = list.split("];").next().expect("its end");
        let row = format!("| `{driver}` |");
        let rows: String = page.lines().filter(|line| line.starts_with(&row)).collect();
        for option in list.split('"').skip(1).step_by(2) {
            let named = format!("`{option}`");
            assert!(rows.contains(&named), "{driver}: no row for {option}");
            options += 1;
        }
    }
    assert!(options > 40, "only {options} options were found");
}

fn in_backticks(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

fn collect(dir: &Path, text: &mut String) {
    for entry in std::fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            collect(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&std::fs::read_to_string(&path).expect("a source"));
        }
    }
}
