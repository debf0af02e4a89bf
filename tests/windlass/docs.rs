//! The pages are run, as far as they can be: their command lines parse, configurations load, links lead
//! somewhere, and what they quote of the program stands in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use regex::Regex;
use windlass::config::{ConfigFile, Section};

use crate::support::program::Program;

fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.canonicalize().expect("the repository")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every page, wherever it is, with its text.
fn pages() -> BTreeMap<PathBuf, String> {
    let mut paths = Vec::new();
    find(&root(), "md", &mut paths);
    let text = |path: &PathBuf| std::fs::read_to_string(path).expect("a page");
    let pages: BTreeMap<_, _> = paths.into_iter().map(|p| (p.clone(), text(&p))).collect();
    assert!(pages.len() > 30, "the pages are found");
    pages
}

fn find(dir: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("readable").path();
        let name = path.file_name().expect("a name").to_string_lossy();
        let is_foreign = name == "target" || (name.starts_with('.') && name != ".github");
        if path.is_dir() && !is_foreign {
            find(&path, extension, found);
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
}

/// The fenced blocks of a language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    let blocks = text.split(&fence).skip(1);
    blocks
        .map(|rest| rest.split("\n```").next().expect("an end").to_owned())
        .collect()
}

fn in_backticks(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// What a page tells people to type behind the program's name, with something in the placeholders' places.
fn typed(page: &str) -> Vec<Vec<String>> {
    // Commands in a list are indented with it.
    let page = page.replace("\n   ", "\n");
    let blocks = blocks(&page, "sh");
    let lines = blocks.iter().flat_map(|block| block.lines());
    // What stands in backticks in tables and text, too; not where a page shows how options may stand.
    let lines = lines.chain(in_backticks(&page).filter(|words| !words.contains('[')));
    // What a shell takes away: comments, and where the output goes.
    let commands = lines.flat_map(|line| line.split(" && ")).map(|line| {
        let ends = [" #", " > ", " | "];
        let end = ends.iter().filter_map(|end| line.find(end)).min();
        line[..end.unwrap_or(line.len())].trim()
    });
    let commands = commands.filter_map(|line| line.strip_prefix("windlass "));
    let word = |word: &str| match word {
        "N" | "TASK" => "7".to_owned(),
        "CAUSE" => "other".to_owned(),
        _ => word.replace("URL", "sqlite:///a.db"),
    };
    commands
        .map(|line| line.split_whitespace().map(word).collect())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_line_of_the_pages_parses() {
    let program = Program::new();
    let mut parsed = 0;
    for (page, text) in pages() {
        // It is made from the program, and its examples are run.
        if page.ends_with("docs/reference.md") {
            continue;
        }
        for mut args in typed(&text) {
            // `--help` ends the command before it does anything, but not before unknown options.
            args.push("--help".into());
            let outcome = program.run(&args).await;
            let (page, said) = (page.display(), &outcome.stderr);
            assert_eq!(outcome.code, Some(0), "{page}: {args:?}: {said}");
            parsed += 1;
        }
    }
    assert!(parsed > 100, "only {parsed} commands were found");
}

#[test]
fn the_quickstarts_configurations_load() {
    let dir = tempfile::tempdir().expect("a directory");
    let blocks = blocks(&read("docs/quickstart.md"), "yaml");
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

/// What the trouble table quotes is what the program says, and so are the words that the guide rests its
/// answer on.
#[test]
fn what_the_operators_guide_quotes_is_in_the_program() {
    let mut program = String::new();
    collect(&root().join("src"), &mut program);
    // Long sentences stand on several lines.
    let folded = Regex::new(r"\\\n\s*").expect("a pattern");
    let program = folded.replace_all(&program, "");
    let guide = read("docs/operations.md");
    let section = |title: &str| {
        let behind = guide.split(&format!("## {title}\n")).nth(1).expect(title);
        behind.split("\n## ").next().expect("an end").to_owned()
    };
    let trouble = section("When something goes wrong");
    let rows = trouble.lines().filter_map(|line| line.strip_prefix("| "));
    let seen: Vec<&str> = rows.filter_map(|row| row.split(" | ").next()).collect();
    assert!(seen.len() > 25, "only {} rows", seen.len());
    let hardest = seen.get(1).expect("a row");
    assert!(
        hardest.contains("exit 3, the window is closing"),
        "{hardest}"
    );
    let quoted = seen.iter().flat_map(|cell| in_backticks(cell));
    let quoted = quoted.filter(|words| !words.starts_with("--") && !words.starts_with("windlass"));
    let changing = Regex::new(r"…|: |\bN\b|\d[\d.]*").expect("a pattern");
    let mut found = 0;
    for quote in quoted.chain(["cannot read", "reads all", "outage so far", "not deleted"]) {
        for piece in changing.split(quote).map(str::trim) {
            assert!(
                program.contains(piece),
                "{quote}: no {piece:?} in the program"
            );
            found += usize::from(!piece.is_empty());
        }
    }
    assert!(found > 25, "only {found} quotes");
    let answer = section("Which configuration the services start with");
    for words in [
        "Anchore cannot read 13 of 8000 documents",
        "`reads all`",
        "not deleted",
    ] {
        assert!(answer.contains(words), "{words}");
    }
}

#[test]
fn every_link_between_the_pages_leads_somewhere() {
    let pages = pages();
    let mut followed = 0;
    for (page, text) in &pages {
        let dir = page.parent().expect("a directory");
        for link in links(text) {
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match path.is_empty() {
                true => page.clone(),
                false => dir.join(path).canonicalize().unwrap_or_else(|error| {
                    panic!("{}: {link}: {error}", page.display());
                }),
            };
            assert!(target.starts_with(root()), "{}: {link}", page.display());
            if !anchor.is_empty() {
                let text = pages.get(&target).expect("a page");
                let anchors = anchors(text);
                let page = page.display();
                assert!(
                    anchors.iter().any(|a| a == anchor),
                    "{page}: {link}: {anchors:?}"
                );
            }
            followed += 1;
        }
    }
    assert!(followed > 120, "only {followed} links");
}

/// Those to other pages, and within the page.
fn links(page: &str) -> impl Iterator<Item = &str> {
    let links = page.split("](").skip(1);
    let links = links.map(|rest| rest.split(')').next().expect("an end"));
    links.filter(|link| !link.contains("://"))
}

/// What each heading is reached by, as GitHub makes it.
fn anchors(page: &str) -> Vec<String> {
    let mut is_fenced = false;
    let mut anchors: Vec<String> = Vec::new();
    for line in page.lines() {
        is_fenced ^= line.trim_start().starts_with("```");
        let Some(title) = line.trim_start_matches('#').strip_prefix(' ') else {
            continue;
        };
        if is_fenced || !line.starts_with('#') {
            continue;
        }
        let kept = |c: &char| c.is_alphanumeric() || " -_".contains(*c);
        let anchor: String = title.to_lowercase().chars().filter(kept).collect();
        let anchor = anchor.replace(' ', "-");
        // One that has been there already is numbered.
        let same = anchors.iter().filter(|known| **known == anchor).count();
        anchors.push(match same {
            0 => anchor,
            same => format!("{anchor}-{same}"),
        });
    }
    anchors
}

/// A page that no other leads to is found by nobody.
#[test]
fn every_page_can_be_come_to_from_the_readme() {
    let pages = pages();
    let mut seen = vec![root().join("README.md")];
    let mut next = 0;
    while let Some(page) = seen.get(next).cloned() {
        next += 1;
        let (text, dir) = (&pages[&page], page.parent().expect("a directory"));
        for link in links(text) {
            let path = link.split('#').next().expect("a path");
            let target = dir.join(path).canonicalize().unwrap_or_default();
            if pages.contains_key(&target) && !seen.contains(&target) {
                seen.push(target);
            }
        }
    }
    let lost = pages.keys().filter(|page| !seen.contains(page));
    let lost: Vec<_> = lost
        .filter(|page| !page.starts_with(root().join(".github")))
        .collect();
    assert!(lost.is_empty(), "{lost:?}");
}

/// Two screens, for whoever comes by.
#[test]
fn the_readme_stays_short_and_says_how_to_test() {
    let readme = read("README.md");
    assert!(
        readme.lines().count() <= 110,
        "move it to docs/, and link it"
    );
    for line in ["cargo run --release -- demo", "scripts/test"] {
        let blocks = blocks(&readme, "sh");
        let mut lines = blocks.iter().flat_map(|block| block.lines());
        assert!(lines.any(|typed| typed.starts_with(line)), "{line}");
    }
}

/// What is released has its notes.
#[test]
fn the_changelog_has_the_version_of_the_manifest() {
    let changelog = read("CHANGELOG.md");
    let of_this = format!("\n## [{}] - 2", env!("CARGO_PKG_VERSION"));
    let at = |words: &str| {
        changelog
            .find(words)
            .unwrap_or_else(|| panic!("no {words}"))
    };
    assert!(at("\n## [Unreleased]\n") < at(&of_this));
}

/// Where a page names a test as the one that holds a line of it, there is such a test.
#[test]
fn every_test_that_the_pages_name_exists() {
    let mut sources = String::new();
    for dir in ["src", "tests"] {
        collect(&root().join(dir), &mut sources);
    }
    let decisions = std::fs::read_dir(root().join("docs/decisions")).expect("decisions");
    let decisions = decisions.map(|entry| entry.expect("readable").path());
    let decisions = decisions.map(|path| (path, 0));
    let pages = [("docs/compatibility.md", 40), ("SECURITY.md", 1)];
    let pages = pages.map(|(page, at_least)| (root().join(page), at_least));
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

fn collect(dir: &Path, text: &mut String) {
    let mut sources = Vec::new();
    find(dir, "rs", &mut sources);
    for source in sources {
        text.push_str(&std::fs::read_to_string(source).expect("a source"));
    }
}
