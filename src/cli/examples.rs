//! Examples for the end of each command's help: run by a test, from the first to the last, against a
//! deployment whose two configurations have these names.

/// What a command is typed for, and how.
pub type Example = (&'static str, &'static str);

/// Of the program as a whole.
pub const OF_ALL: &[Example] = &[
    (
        "See what would be moved, move it, see how far it is",
        "windlass migrate config.yaml config-new.yaml --dry-run",
    ),
    ("", "windlass migrate config.yaml config-new.yaml"),
    ("", "windlass status latest"),
    ("Go on after whatever has stopped it", "windlass resume 1"),
];

/// Of each command, by its name; in the order in which a test runs them.
pub const OF_COMMANDS: &[(&str, &[Example])] = &[
    (
        "check",
        &[
            (
                "The store that Anchore uses now",
                "windlass check config.yaml",
            ),
            (
                "The analysis archive's",
                "windlass check config-new.yaml --analysis-archive",
            ),
        ],
    ),
    (
        "config",
        &[("What a file comes to", "windlass config show config.yaml")],
    ),
    (
        "config show",
        &[
            (
                "The store that Anchore uses now, and the database",
                "windlass config show config.yaml",
            ),
            (
                "The analysis archive's, for a program",
                "windlass config show config-new.yaml --analysis-archive --json",
            ),
        ],
    ),
    (
        "doctor",
        &[
            (
                "Everything that a migration asks, without beginning one",
                "windlass doctor config.yaml config-new.yaml",
            ),
            (
                "With the time that it would take, by 200 documents that are really copied",
                "windlass doctor config.yaml config-new.yaml --sample 200",
            ),
        ],
    ),
    (
        "list-drivers",
        &[("For a program", "windlass list-drivers --json")],
    ),
    (
        "migrate",
        &[
            (
                "Look first: counts, bytes, what is left out; nothing is changed",
                "windlass migrate config.yaml config-new.yaml --dry-run",
            ),
            (
                "One bucket, and the sources are kept",
                "windlass migrate config.yaml config-new.yaml --bucket analysis_data --nodelete",
            ),
            (
                "The rest, with nobody there to be asked, and a program that looks on",
                "windlass migrate config.yaml config-new.yaml --dontask --progress json",
            ),
        ],
    ),
    (
        "list-migrations",
        &[(
            "Of a database that no configuration is at hand for",
            "windlass list-migrations --db-connect sqlite:///anchore.db",
        )],
    ),
    (
        "status",
        &[
            ("The task that was made last", "windlass status latest"),
            ("Look on until it ends", "windlass status 1 --watch"),
        ],
    ),
    (
        "resume",
        &[
            ("Go on where it stopped", "windlass resume latest"),
            (
                "With a configuration that has moved since",
                "windlass resume 1 --from-config config.yaml",
            ),
        ],
    ),
    (
        "worker",
        &[
            (
                "On each machine, behind migrate --plan-only; WINDLASS_DB_CONNECT is set",
                "windlass worker 1",
            ),
            (
                "Two on one machine: each with a state directory of its own",
                "windlass worker 1 --state-dir worker-2",
            ),
        ],
    ),
    (
        "verify",
        &[
            (
                "Every document of the deployment, 32 at once",
                "windlass verify config-new.yaml --concurrency 32",
            ),
            (
                "Those of one task, in a year's time",
                "windlass verify --task 1",
            ),
        ],
    ),
    (
        "delete-source",
        &[(
            "What --nodelete has left, now that all is well",
            "windlass delete-source 1 --dontask",
        )],
    ),
    (
        "accept",
        &[(
            "What is gone for good at the source, so that the task can end",
            "windlass accept 1 --cause missing-at-source --why 'lost with the old disk'",
        )],
    ),
    (
        "journal",
        &[
            (
                "One document's history",
                "windlass journal 1 --object admin/analysis_data/alpine",
            ),
            (
                "All that failed, for a spreadsheet",
                "windlass journal latest --event failed --format csv",
            ),
            (
                "The export with its hash chain",
                "windlass journal 1 --format jsonl > task-1.jsonl",
            ),
        ],
    ),
    (
        "journal verify",
        &[
            (
                "Whether the journal is whole, and fits the database",
                "windlass journal verify 1",
            ),
            (
                "An export, by itself",
                "windlass journal verify --export task-1.jsonl",
            ),
            (
                "An export, against the database",
                "windlass journal verify 1 --export task-1.jsonl",
            ),
        ],
    ),
    (
        "journal collect",
        &[(
            "What this machine and an export have, in one",
            "windlass journal collect state task-1.jsonl --task 1 -o all.jsonl",
        )],
    ),
    (
        "journal ship",
        &[(
            "Where it stays when this machine goes",
            "windlass journal ship 1 --to audit",
        )],
    ),
    (
        "report",
        &[("For an auditor", "windlass report 1 -o task-1.html")],
    ),
    (
        "serve",
        &[
            (
                "A page of the task that was made last, for browsers on this machine",
                "windlass serve latest",
            ),
            (
                "All tasks, for browsers elsewhere, too: the URL that it prints has a token",
                "windlass serve --all --listen 0.0.0.0:8399",
            ),
        ],
    ),
    (
        "reverse",
        &[
            ("Look first", "windlass reverse 1 --dry-run"),
            ("Undo task 1", "windlass reverse 1 --dontask"),
        ],
    ),
    (
        "sync",
        &[
            (
                "Copy while the services run, and then what has changed since",
                "windlass migrate config.yaml config-new.yaml --online --dontask",
            ),
            ("", "windlass sync latest"),
        ],
    ),
    (
        "cutover",
        &[
            (
                "What the window would hold; the services may run",
                "windlass cutover latest --dry-run",
            ),
            (
                "The window: the services are stopped",
                "windlass cutover latest --dontask",
            ),
        ],
    ),
    (
        "demo",
        &[
            ("In a directory of its own", "windlass demo"),
            (
                "Larger, and in a place of your choice",
                "windlass demo /tmp/windlass-demo --documents 5000",
            ),
        ],
    ),
    (
        "completions",
        &[(
            "For bash, from the next login on",
            "windlass completions bash > ~/.bash_completion",
        )],
    ),
    (
        "man",
        &[("All pages, into a directory", "windlass man man1")],
    ),
];

/// As they stand at the end of a help.
pub fn text(examples: &[Example]) -> String {
    let mut text = "Examples:".to_owned();
    for (what, line) in examples {
        if !what.is_empty() {
            text += &format!("\n  # {what}");
        }
        text += &format!("\n  {line}");
    }
    text
}

/// Those of a command, by the words that lead to it.
pub fn of(path: &[&str]) -> &'static [Example] {
    let path = path.join(" ");
    let found = OF_COMMANDS.iter().find(|(name, _)| *name == path);
    found.map_or(&[], |(_, examples)| examples)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line that is folded can't be copied.
    #[test]
    fn each_line_fits_a_terminal() {
        let of_commands = OF_COMMANDS.iter().flat_map(|(_, examples)| *examples);
        for (what, line) in OF_ALL.iter().chain(of_commands) {
            assert!(line.len() <= 78 && what.len() <= 76, "{line}");
        }
    }
}
