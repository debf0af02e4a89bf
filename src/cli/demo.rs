//! `demo`: the main job on SQLite and local directories, with a crash in the middle.
//!
//! It plays three parts that windlass itself does not have: Anchore, which made the documents
//! ([`deployment`]); an operator, who types commands and kills one of them; and an auditor, who
//! looks at the end with eyes of his own ([`audit`]). The commands are this very program, each in
//! a process of its own.

mod audit;
mod deployment;
mod services;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus as ProcessStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde::Serialize;

use super::args::DemoArgs;
use super::format::{count, shell_word};
use super::{ExitStatus, Printer};
use crate::model::in_lines;
use audit::Audit;
use deployment::Deployment;
use services::Services;

/// Few at once, so that "half-way" lasts long enough to be hit.
const CONCURRENCY: &str = "2";

/// How often the operator looks how far the migration has come.
const LOOK: Duration = Duration::from_millis(2);

/// What the demo came to, as `--json` has it.
#[derive(Serialize)]
struct Outcome {
    dir: PathBuf,
    documents: u64,
    killed_at: u64,
    #[serde(flatten)]
    audit: Audit,
    ok: bool,
}

pub async fn run(args: &DemoArgs, printer: &Printer) -> anyhow::Result<ExitStatus> {
    let dir = empty_dir(args.dir.as_deref())?;
    let stage = Stage {
        program: std::env::current_exe().context("cannot tell where this program is")?,
        dir: dir.clone(),
        json: printer.is_json(),
    };
    stage.say(&format!(
        "A small Anchore deployment, all of it under {}:",
        dir.display()
    ));
    let deployment = Deployment::make(&dir, args.documents).await?;
    stage.say(&format!(
        "  anchore.db   Anchore's database (SQLite), with {} in 4 buckets of 2 users\n  \
           config.yaml  what Anchore uses now: driver db\n  \
           new.yaml     what it will use: driver localfs in {}, compressed above 4 KiB\n  \
           state/       windlass's checkpoints",
        count(deployment.documents(), "document"),
        deployment.store().display(),
    ));
    stage.say("\nThe commands below can be repeated there:");
    stage.say(&format!("$ cd {}", shell_word(&dir)));
    stage.say(&format!(
        "$ export WINDLASS_STATE_DIR={}",
        shell_word(&dir.join("state"))
    ));

    stage.say("\nDo both stores work?");
    stage.run(&["check", "config.yaml"])?;
    stage.run(&["check", "new.yaml"])?;
    stage.say("\nWhat would be moved?");
    stage.run(&["migrate", "config.yaml", "new.yaml", "--dry-run"])?;

    let (deployment, killed_at) = match args.online {
        true => (online(&stage, deployment).await?, 0),
        false => offline(&stage, deployment).await?,
    };
    let audit = audit::audit(&deployment).await?;
    let outcome = Outcome {
        documents: deployment.documents(),
        ok: audit.right == deployment.documents() && audit.wrong.is_empty(),
        dir,
        killed_at,
        audit,
    };
    stage.say("\nA last look, past windlass: each row, its file, its digest, its content:");
    printer.result(&outcome, || outcome.words());
    Ok(match outcome.ok {
        true => ExitStatus::Complete,
        false => ExitStatus::Failed,
    })
}

/// The services are stopped, and the migration is killed half-way.
async fn offline(stage: &Stage, deployment: Deployment) -> anyhow::Result<(Deployment, u64)> {
    stage.say("\nMove it; half-way the machine \"crashes\" (the demo sends SIGKILL):");
    let killed_at = kill_half_way(stage, &deployment).await?;
    stage.say(&format!(
        "Killed: Anchore's rows of {killed_at} documents point at the new store, those of {} at \
         the old.",
        deployment.documents() - killed_at
    ));
    stage.say("\nWhat is left behind, and how far it had come:");
    stage.run(&["list-migrations"])?;
    stage.run(&["status", "1"])?;
    stage.say("\nGo on exactly where it stopped:");
    stage.run(&["resume", "1"])?;
    stage.run(&["list-migrations"])?;
    stage.say("\nThe whole history of one document, a binary one:");
    let object = deployment.binary_document();
    stage.run(&["journal", "1", "--object", &object])?;
    Ok((deployment, killed_at))
}

/// The services write all the while, but for the window.
async fn online(stage: &Stage, deployment: Deployment) -> anyhow::Result<Deployment> {
    stage.say("\nServices are at work: they make, rewrite and delete documents. A first pass beside them:");
    let services = Services::start(deployment);
    stage.run(&[
        "migrate",
        "config.yaml",
        "new.yaml",
        "--online",
        "--dontask",
    ])?;
    services.have_written(10).await;
    stage.say("\nThey have gone on meanwhile. What is new or has changed since:");
    stage.run(&["sync", "1"])?;
    services.have_written(5).await;
    stage.say("\nWhat would the window hold by now?");
    stage.run(&["cutover", "1", "--dry-run"])?;
    let (deployment, writes) = services.stop().await?;
    stage.say(&format!(
        "\nThe services are stopped, after {} of theirs. The window:",
        count(writes, "write")
    ));
    stage.run(&["cutover", "1", "--dontask"])?;
    stage.say("\nThe services could start now, on new.yaml. When all is well:");
    stage.run(&["delete-source", "1", "--dontask"])?;
    stage.run(&["journal", "verify", "1"])?;
    Ok(deployment)
}

impl Outcome {
    fn words(&self) -> String {
        let mut words = format!(
            "{}: {} of {} readable, equal and with the right digest; {} left in the old store, {} \
             doubled or stray in the new; {}",
            if self.ok {
                "demo passed"
            } else {
                "DEMO FAILED"
            },
            self.audit.right,
            count(self.documents, "document"),
            self.audit.left_in_source,
            self.audit.strays,
            match self.killed_at {
                0 => "services wrote until the cut-over".to_owned(),
                at => format!("killed at {at}, resumed, complete"),
            },
        );
        for wrong in &self.audit.wrong {
            words += &format!("\n  {wrong}");
        }
        words
    }
}

/// The directory to work in, absolute; a new one where none is given.
fn empty_dir(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    let Some(dir) = given else {
        let dir = tempfile::Builder::new()
            .prefix("windlass-demo-")
            .tempdir()
            .context("cannot make a temporary directory: name one, windlass demo DIR")?;
        return Ok(dir.keep());
    };
    let cannot_use = || format!("cannot use {}", dir.display());
    std::fs::create_dir_all(dir).with_context(cannot_use)?;
    let is_empty = std::fs::read_dir(dir)
        .with_context(cannot_use)?
        .next()
        .is_none();
    ensure!(
        is_empty,
        "{} is not empty: name a new directory, the demo makes it",
        dir.display()
    );
    dir.canonicalize().with_context(cannot_use)
}

/// Where the operator sits: a directory, and this program to call.
struct Stage {
    program: PathBuf,
    dir: PathBuf,
    /// stdout is kept for the outcome alone.
    json: bool,
}

impl Stage {
    /// What the demo tells goes where its commands' output goes, so that the two stay in order.
    fn say(&self, text: &str) {
        let text = in_lines(text);
        // A reader that has gone away (a closed pipe) has seen enough.
        let _ = match self.json {
            true => writeln!(std::io::stderr(), "{text}"),
            false => writeln!(std::io::stdout(), "{text}"),
        };
    }

    fn command(&self, args: &[&str]) -> Command {
        self.say(&format!("$ windlass {}", args.join(" ")));
        let mut command = Command::new(&self.program);
        // An operator's own deployment must not be drawn into this, nor options meant for it.
        let names = std::env::vars_os().map(|(name, _)| name);
        for name in names.filter(|name| name.to_string_lossy().starts_with("WINDLASS_")) {
            command.env_remove(name);
        }
        command
            .args(args)
            .current_dir(&self.dir)
            .env("WINDLASS_STATE_DIR", self.dir.join("state"))
            .env_remove("ANCHORE_ENV_FILE")
            .stdin(Stdio::null());
        if self.json {
            command.stdout(std::io::stderr());
        }
        command
    }

    fn run(&self, args: &[&str]) -> anyhow::Result<()> {
        let status = self.command(args).status().context("cannot run windlass")?;
        ensure!(status.success(), "windlass {} {status}", args[0]);
        Ok(())
    }
}

/// Starts the migration and kills it when half of the rows are moved. Returns how many were.
async fn kill_half_way(stage: &Stage, deployment: &Deployment) -> anyhow::Result<u64> {
    let half = deployment.documents() / 2;
    let mut migration = stage
        .command(&[
            "migrate",
            "config.yaml",
            "new.yaml",
            "--dontask",
            "--concurrency",
            CONCURRENCY,
        ])
        .spawn()
        .context("cannot run windlass")?;
    let status = loop {
        if let Some(status) = migration.try_wait()? {
            break status;
        }
        if deployment.moved().await >= half {
            // SIGKILL: what a crash of the machine looks like to the program.
            migration.kill()?;
            break migration.wait()?;
        }
        tokio::time::sleep(LOOK).await;
    };
    was_killed(status)?;
    Ok(deployment.moved().await)
}

fn was_killed(status: ProcessStatus) -> anyhow::Result<()> {
    match status.code() {
        None => Ok(()),
        Some(0) => bail!(
            "the migration was complete before it could be killed: make more documents, \
             windlass demo --documents N"
        ),
        Some(_) => bail!("the migration failed before it could be killed: {status}"),
    }
}
