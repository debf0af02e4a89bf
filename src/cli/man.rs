//! `man`: a page for each command, out of the very help that the program prints.

use std::path::Path;

use anyhow::Context as _;
use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use super::command::{Environment, command};
use super::{ExitStatus, Printer};

/// Writes all pages into a directory.
pub fn run(dir: &Path, printer: &Printer) -> anyhow::Result<ExitStatus> {
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let pages = pages().context("cannot make the pages")?;
    for (name, page) in &pages {
        let path = dir.join(name);
        std::fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let names: Vec<_> = pages.iter().map(|(name, _)| name).collect();
    printer.result(&serde_json::json!({ "pages": names }), || {
        format!("{} pages in {}", names.len(), dir.display())
    });
    Ok(ExitStatus::Complete)
}

/// Each page with its name, `windlass.1` first.
fn pages() -> std::io::Result<Vec<(String, Vec<u8>)>> {
    let mut root = command(Environment::Read).disable_help_subcommand(true);
    root.build();
    let mut pages = Vec::new();
    add(&root, "windlass", &mut pages)?;
    Ok(pages)
}

fn add(command: &Command, name: &str, pages: &mut Vec<(String, Vec<u8>)>) -> std::io::Result<()> {
    pages.push((format!("{name}.1"), page(command)?));
    let below = command.get_subcommands();
    // Anchore's word leads to the same commands once more.
    let below = below.filter(|c| !c.is_hide_set() && c.get_name() != "objectstorage");
    for command in below {
        add(command, &format!("{name}-{}", command.get_name()), pages)?;
    }
    Ok(())
}

fn page(command: &Command) -> std::io::Result<Vec<u8>> {
    let man = Man::new(command.clone())
        .date("")
        .source(format!("windlass {}", env!("CARGO_PKG_VERSION")))
        .manual("windlass");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.get_subcommands().any(|c| !c.is_hide_set()) {
        man.render_subcommands_section(&mut page)?;
    }
    examples(command).to_writer(&mut page)?;
    files().to_writer(&mut page)?;
    Ok(page)
}

/// What stands behind a command's help, line by line as it is.
fn examples(command: &Command) -> Roff {
    let mut roff = Roff::new();
    let after = command.get_after_help().map(ToString::to_string);
    let after = after.unwrap_or_default();
    for block in after.split("\n\n") {
        let Some((title, lines)) = block.split_once(":\n") else {
            continue;
        };
        roff.control("SH", [title.to_uppercase().as_str()]);
        roff.control("nf", []);
        for line in lines.lines() {
            roff.text([roman(line)]);
        }
        roff.control("fi", []);
    }
    roff
}

fn files() -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["FILES"]);
    roff.text([roman(
        "Checkpoints and journals are in the directory of --state-dir, else $WINDLASS_STATE_DIR, else \
         $XDG_STATE_HOME/windlass, else ~/.local/state/windlass: only their owner can read them.",
    )]);
    roff.control("SH", ["SEE ALSO"]);
    roff.text([roman(
        "windlass(1), windlass-migrate(1), windlass-resume(1), windlass-status(1)",
    )]);
    roff
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(command: &Command, above: &str, names: &mut Vec<String>) {
        names.push(format!("{above}.1"));
        for below in command.get_subcommands() {
            let name = below.get_name();
            if !below.is_hide_set() && !["objectstorage", "help"].contains(&name) {
                super::tests::names(below, &format!("{above}-{name}"), names);
            }
        }
    }

    #[test]
    fn a_page_names_the_variable_of_each_option() {
        let pages = pages().unwrap();
        let of = |wanted: &str| pages.iter().find(|(name, _)| name == wanted);
        let (_, page) = of("windlass-migrate.1").expect("a page");
        let page = String::from_utf8(page.clone()).unwrap();
        for variable in ["WINDLASS_MAX_OUTAGE", "WINDLASS_BUCKET", "WINDLASS_JSON"] {
            assert!(page.contains(variable), "{variable}:\n{page}");
        }
    }

    #[test]
    fn each_command_has_its_page_and_none_has_a_gap() {
        let mut expected = Vec::new();
        names(&command(Environment::Ignored), "windlass", &mut expected);
        let pages = pages().unwrap();
        let made: Vec<_> = pages.iter().map(|(name, _)| name.clone()).collect();
        assert_eq!(made, expected);
        assert!(made.len() > 14, "{made:?}");
        for (name, page) in &pages {
            let text = String::from_utf8(page.clone()).unwrap();
            for section in [
                ".SH NAME",
                ".SH SYNOPSIS",
                ".SH DESCRIPTION",
                ".SH EXAMPLES",
            ] {
                assert!(text.contains(section), "{name} has no {section}:\n{text}");
            }
            for gap in ["TODO", "FIXME", "XXX", "lorem", "<about>", "{{"] {
                assert!(!text.contains(gap), "{name} holds {gap}");
            }
            let named = text
                .split(".SH NAME\n")
                .nth(1)
                .unwrap()
                .lines()
                .next()
                .unwrap();
            assert!(
                named
                    .split_once(" \\- ")
                    .is_some_and(|(_, about)| about.len() > 10),
                "{named}"
            );
        }
    }
}
