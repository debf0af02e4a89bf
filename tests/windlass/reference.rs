//! `docs/reference.md` is what the program says of itself: made from the help of each command, and compared.
//! `INSTA_UPDATE=always scripts/test reference::` writes it anew behind its first part; read the diff.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use regex::Regex;

use crate::support::program::Program;

/// What stands before this line is written by hand.
const MADE: &str = "<!-- From here on this page is made from the program's help: \
                    INSTA_UPDATE=always scripts/test reference:: -->\n";

/// Groups of options that several commands have, in the order of the page.
const SHARED: [&str; 3] = [
    "Options of a run",
    "Watching a run",
    "Options of every command",
];

/// An argument, an option, a command or an exit code, with what is said of it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Item {
    name: String,
    text: String,
    /// What it can come from, in the environment.
    variable: Option<String>,
}

/// A help, taken apart.
#[derive(Default)]
struct Help {
    /// The words that lead to the command, behind the program's name.
    path: String,
    about: String,
    usage: Vec<String>,
    /// Arguments, options and commands, by the heading over them.
    groups: Vec<(String, Vec<Item>)>,
    examples: Vec<String>,
}

impl Help {
    fn parse(path: &str, text: &str) -> Self {
        let mut help = Self {
            path: path.to_owned(),
            ..Self::default()
        };
        let (about, rest) = text.split_once("Usage: ").expect("a usage");
        help.about = words(about);
        let (usage, rest) = rest.split_once("\n\n").expect("something behind it");
        help.usage = usage.lines().map(words).collect();
        let mut raw: Vec<(String, String)> = Vec::new();
        for line in rest.lines() {
            if let Some(heading) = heading(line) {
                help.close(&mut raw);
                help.groups.push((heading.to_owned(), Vec::new()));
                continue;
            }
            let title = help.groups.last().map_or("", |(title, _)| title.as_str());
            if title == "Examples" {
                help.examples.push(line.trim().to_owned());
            } else if let Some((name, said)) = item(title, line) {
                raw.push((name.to_owned(), said.to_owned()));
            } else if let Some((_, said)) = raw.last_mut() {
                *said += &format!(" {}", line.trim());
            }
        }
        help.close(&mut raw);
        help
    }

    /// What was read belongs to the group that was begun last.
    fn close(&mut self, raw: &mut Vec<(String, String)>) {
        let items = raw.drain(..).map(|(name, said)| Item::new(name, &said));
        if let Some((_, group)) = self.groups.last_mut() {
            group.extend(items);
        }
    }

    fn group(&self, title: &str) -> &[Item] {
        let found = self.groups.iter().find(|(known, _)| known == title);
        found.map_or(&[], |(_, items)| items)
    }

    /// What only this command takes.
    fn own(&self) -> impl Iterator<Item = &Item> {
        let is_own = |title: &str| !SHARED.contains(&title) && title != "Commands";
        let own = self.groups.iter().filter(move |(title, _)| is_own(title));
        let own = own.flat_map(|(_, items)| items);
        own.filter(|item| !["--help", "--version"].contains(&item.long()))
    }

    /// The commands below it that have a place on the page.
    fn commands(&self) -> impl Iterator<Item = String> {
        let names = self.group("Commands").iter().map(|item| &item.name);
        let names = names.filter(|name| !["help", "objectstorage"].contains(&name.as_str()));
        let path = &self.path;
        names.map(move |name| format!("{path} {name}").trim().to_owned())
    }
}

fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn heading(line: &str) -> Option<&str> {
    let is_set_in = line.starts_with(' ');
    line.strip_suffix(':').filter(|_| !is_set_in)
}

/// The beginning of an item below this heading: its name, and what stands on the same line.
fn item<'a>(heading: &str, line: &'a str) -> Option<(&'a str, &'a str)> {
    let trimmed = line.trim_start();
    let is_name = match heading {
        "Commands" | "Exit codes" => line.len() - trimmed.len() == 2,
        _ => line.len() - trimmed.len() <= 6 && trimmed.starts_with(['-', '<', '[']),
    };
    let said = trimmed.split_once("  ").unwrap_or((trimmed, ""));
    (is_name && !trimmed.is_empty()).then_some(said)
}

impl Item {
    fn new(name: String, said: &str) -> Self {
        let variable = Regex::new(r"\s*\[env: (\w+)\]").expect("a pattern");
        let said = words(said);
        let found = variable.captures(&said).map(|found| found[1].to_owned());
        let said = variable.replace(&said, "");
        // A list of values is a sentence here.
        let value = Regex::new(r" - ([a-z][a-z0-9-]*): ").expect("a pattern");
        let text = value.replace_all(&said, "; `$1`: ");
        Self {
            name,
            text: text.replace(" Possible values:;", ". Values:"),
            variable: found,
        }
    }

    /// `--log-file`, of `-l, --log-file <FILE>`.
    fn long(&self) -> &str {
        let mut words = self.name.split(&[' ', '.', ','][..]);
        words
            .find(|word| word.starts_with("--"))
            .unwrap_or_default()
    }

    fn row(&self) -> String {
        let variable = self.variable.as_ref();
        let variable = variable.map_or_else(String::new, |name| format!("`{name}`"));
        let text = self.text.replace('|', "\\|").replace('<', "\\<");
        format!("| `{}` | {text} | {variable} |\n", self.name)
    }
}

async fn help(program: &Program, path: &str) -> Help {
    let mut args: Vec<&str> = path.split_whitespace().collect();
    args.push("--help");
    Help::parse(path, &program.run(&args).await.expect_code(0).stdout)
}

/// Of the program, and of each command in the order of the program's own list.
async fn helps() -> (Help, Vec<Help>) {
    let program = Program::new();
    let top = help(&program, "").await;
    let mut helps = Vec::new();
    for path in top.commands() {
        let command = help(&program, &path).await;
        let below: Vec<_> = command.commands().collect();
        helps.push(command);
        for path in below {
            helps.push(help(&program, &path).await);
        }
    }
    (top, helps)
}

/// All options of a group: a command may have no use for some of them.
fn union(helps: &[Help], title: &str) -> Vec<Item> {
    let groups = helps.iter().map(|help| help.group(title));
    let longest = groups.clone().max_by_key(|group| group.len());
    let mut all = longest.expect("a group").to_vec();
    for item in groups.flatten() {
        match all.iter().find(|known| known.long() == item.long()) {
            Some(known) => assert_eq!(known, item, "one option, told in two ways"),
            None => all.push(item.clone()),
        }
    }
    all
}

fn anchor(title: &str) -> String {
    title.to_lowercase().replace(' ', "-")
}

fn table(items: &[Item]) -> String {
    let rows = items.iter().map(Item::row);
    format!(
        "| | | variable |\n|---|---|---|\n{}",
        rows.collect::<String>()
    )
}

/// Which of the shared options a command has, in a sentence.
fn shared(help: &Help, all: &[(&str, Vec<Item>)]) -> String {
    let named = |items: Vec<&Item>| {
        let names = items.iter().map(|item| format!("`{}`", item.long()));
        names.collect::<Vec<_>>().join(", ")
    };
    let parts = all.iter().filter_map(|(title, all)| {
        let has = help.group(title);
        let lacks: Vec<_> = all.iter().filter(|item| !has.contains(item)).collect();
        let link = format!("[{}](#{})", title.to_lowercase(), anchor(title));
        match (has.len(), lacks.len()) {
            (0, _) => None,
            (_, 0) => Some(link),
            (has_len, lacks_len) if has_len < lacks_len => {
                Some(format!("of the {link} {}", named(has.iter().collect())))
            }
            _ => Some(format!("{link} but {}", named(lacks))),
        }
    });
    format!("Also {}.\n", parts.collect::<Vec<_>>().join("; "))
}

fn section(help: &Help, all: &[(&str, Vec<Item>)]) -> String {
    let usage = help.usage.join("\n");
    let mut text = format!(
        "\n### {}\n\n{}.\n\n```text\n{usage}\n```\n\n",
        help.path, help.about
    );
    let own: Vec<Item> = help.own().cloned().collect();
    if !own.is_empty() {
        text += &format!("{}\n", table(&own));
    }
    text += &shared(help, all);
    let examples = help.examples.join("\n");
    if !examples.trim().is_empty() {
        text += &format!("\n```sh\n{}\n```\n", examples.trim());
    }
    text
}

/// The page behind its first part.
fn made(top: &Help, helps: &[Help]) -> String {
    let mut page = String::from("\n## Exit codes\n\n| exit code | |\n|---|---|\n");
    for code in top.group("Exit codes") {
        let _ = writeln!(page, "| {} | {} |", code.name, code.text);
    }
    page += "\n## Commands\n\n| command | |\n|---|---|\n";
    for help in helps {
        let (path, about) = (&help.path, &help.about);
        let _ = writeln!(page, "| [`{path}`](#{}) | {about} |", anchor(path));
    }
    let all = SHARED.map(|title| (title, union(helps, title)));
    page.extend(helps.iter().map(|help| section(help, &all)));
    for (title, items) in &all {
        let _ = write!(page, "\n## {title}\n\n{}", table(items));
    }
    page
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_is_what_the_program_says() {
    let (top, helps) = helps().await;
    let codes: Vec<_> = top
        .group("Exit codes")
        .iter()
        .map(|code| &*code.name)
        .collect();
    assert_eq!(codes, ["0", "2", "3", "5", "130"]);
    assert!(helps.len() > 20, "only {} commands", helps.len());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference.md");
    let page = std::fs::read_to_string(&path).expect("the page");
    let by_hand = page.split(MADE).next().expect("a first part");
    assert!(
        page.len() >= by_hand.len() + MADE.len(),
        "the line is there: {MADE}"
    );
    let expected = format!("{by_hand}{MADE}{}", made(&top, &helps));
    if std::env::var_os("INSTA_UPDATE").is_some_and(|wish| wish == "always") {
        std::fs::write(&path, expected).expect("written");
        return;
    }
    let differs = page
        .lines()
        .zip(expected.lines())
        .find(|(is, must)| is != must);
    assert!(
        page == expected,
        "the page is not what the program says; INSTA_UPDATE=always scripts/test reference:: makes it \
         anew. The first that differs, or one of the two is longer: {differs:#?}"
    );
}

/// Also those that no option stands for.
#[test]
fn every_variable_that_the_program_reads_is_on_the_page() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/reference.md")).expect("the page");
    let reads = r#"\b(?:env|var|var_os|given|file|from|environment|path)\(\s*"([A-Z][A-Z0-9_]+)""#;
    let reads = Regex::new(reads).expect("a pattern");
    let mut found = 0;
    for source in sources(&root.join("src")) {
        let text = std::fs::read_to_string(&source).expect("a source");
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        for variable in reads.captures_iter(text) {
            let variable = &variable[1];
            let source = source.display();
            assert!(
                page.contains(&format!("`{variable}`")),
                "{source}: {variable}"
            );
            found += 1;
        }
    }
    assert!(found > 20, "only {found}");
}

fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("readable").path();
        let name = path.file_name().expect("a name").to_string_lossy();
        // Tests have an environment of their own.
        match path.is_dir() {
            true if name != "tests" => found.extend(sources(&path)),
            false if !name.contains("test") => found.push(path),
            _ => {}
        }
    }
    found
}
