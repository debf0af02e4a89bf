//! A deployment on SQLite with its documents, its checkpoints and a disk that forgets beneath them.

use std::fs;
use std::path::PathBuf;

use sqlx::sqlite::SqlitePool;

use crate::support::checker::{Checker, Report};
use crate::support::deployment::{Compression, Deployment, StoreSpec};
use crate::support::journal_checker::{JournalReport, check_journal};
use crate::support::power::{Draw, PowerFs};
use crate::support::program::{Outcome, Program};
use crate::support::random::Random;
use crate::support::tables::{fresh_sqlite, latest_task};

pub struct Stage {
    pub program: Program,
    pub pool: SqlitePool,
    deployment: Deployment,
    url: String,
    disk: PowerFs,
}

/// What a task has come to.
pub struct Said {
    pub moved: i64,
    /// The number of the last mirrored entry, and its hash.
    pub head: Option<(i64, String)>,
}

impl Stage {
    /// None where no power can be cut.
    pub async fn set(documents: usize, seed: u64) -> Option<Self> {
        let disk = PowerFs::mount()?;
        let program = Program::new().state_at(disk.path().join("var/windlass"));
        let home = program.home();
        let (pool, url) = fresh_sqlite(home).await;
        let mut deployment = Deployment::on_sqlite(&pool, &url);
        let compression = Compression::default();
        let local = StoreSpec::LocalFs {
            dir: disk.path().join("documents"),
            compression: Compression::above_kbytes(1),
        };
        for (name, store) in [
            ("db", StoreSpec::Db { compression }),
            ("db2", StoreSpec::Db2 { compression }),
            ("localfs", local),
        ] {
            deployment.write_config(home, name, store);
        }
        deployment
            .seed_db_documents(documents, 0..5_000, seed)
            .await;
        Some(Self {
            program,
            pool,
            deployment,
            url,
            disk,
        })
    }

    /// The command itself, or `resume` where its task is there already.
    pub async fn args(&self, from: &str, to: &str, tasks_before: i64) -> Vec<String> {
        let path = |name: &str| -> String {
            let path: PathBuf = self.program.home().join(format!("{name}.yaml"));
            path.display().to_string()
        };
        let task = self.task().await;
        let mut args = match task > tasks_before {
            true => vec!["resume".into(), task.to_string()],
            false => vec!["migrate".into(), path(from), path(to), "--dontask".into()],
        };
        args.extend(["--db-connect".into(), self.url.clone()]);
        args
    }

    pub fn cut(&self, draw: Draw, random: &mut Random) {
        self.disk.cut(draw, random);
    }

    /// What has to be so behind each cut: every row leads to its whole document, and the checkpoint
    /// has all that it had told the database.
    pub async fn expect_nothing_lost(&self) {
        let seen = self.look().await;
        seen.expect_nothing_lost();
        assert_eq!(seen.total_right(), self.deployment.expected().len() as u64);
        let task = self.task().await;
        if let Some((seq, hash)) = self.said().await.head
            && seq > 0
        {
            let export = self.export(task).await.stdout;
            let line = export.lines().nth(seq as usize - 1);
            let line = line.unwrap_or_else(|| panic!("entry {seq} was told, and is gone"));
            assert!(line.contains(&hash), "entry {seq}: {hash}, {line}");
        }
        if task > 0 {
            let verify = ["journal", "verify", &task.to_string()];
            self.program
                .run(&self.with_url(&verify))
                .await
                .expect_code(0);
        }
    }

    /// All documents at this scheme, once, with journals that say how, none of them made anew.
    pub async fn expect_all_at(&self, scheme: &str) {
        let mut seen = self.look().await;
        // A file that never got its name; an hour later the next write beside it removes it.
        seen.strays.retain(|stray| !stray.contains("/.windlass-"));
        seen.expect_all_at(scheme, self.deployment.expected().len());
        let journal = self.journal().await;
        journal.expect_sound();
        assert_eq!(journal.count("rebuilt"), 0, "a checkpoint was lost");
        assert!(
            journal.unproved_deletes.is_empty(),
            "{:?}",
            journal.unproved_deletes
        );
    }

    /// As if what was killed had been silent for long: no other task has to wait for it.
    pub async fn let_time_pass(&self) {
        let long_ago = "UPDATE windlass_executors SET heartbeat = '2020-01-01T00:00:00.000Z'";
        self.deployment.tables().execute(long_ago).await;
    }

    async fn journal(&self) -> JournalReport {
        check_journal(&self.export(self.task().await).await.stdout)
    }

    async fn export(&self, task: i64) -> Outcome {
        let export = ["journal", &task.to_string(), "--format", "jsonl"];
        self.program
            .run(&self.with_url(&export))
            .await
            .expect_code(0)
    }

    fn with_url(&self, args: &[&str]) -> Vec<String> {
        let args = args.iter().copied().chain(["--db-connect", &self.url]);
        args.map(str::to_owned).collect()
    }

    async fn look(&self) -> Report {
        let checker = Checker::new(&self.pool).local_dir(&self.disk.path().join("documents"));
        checker.check(self.deployment.expected()).await
    }

    /// The latest task; 0 where there is none.
    pub async fn task(&self) -> i64 {
        latest_task(&self.pool).await
    }

    pub async fn said(&self) -> Said {
        let task = self.task().await;
        let moved = sqlx::query_scalar("SELECT moved FROM windlass_tasks WHERE task_id = $1");
        let head = sqlx::query_as(
            "SELECT seq, head FROM windlass_executors WHERE task_id = $1
              ORDER BY epoch DESC LIMIT 1",
        );
        Said {
            moved: moved.bind(task).fetch_one(&self.pool).await.unwrap_or(0),
            head: head
                .bind(task)
                .fetch_optional(&self.pool)
                .await
                .unwrap_or(None),
        }
    }

    /// `task.json` of the latest task is there whenever the database has the task.
    pub async fn expect_task_file(&self) {
        let uuid: Option<String> =
            sqlx::query_scalar("SELECT uuid FROM windlass_tasks ORDER BY task_id DESC LIMIT 1")
                .fetch_optional(&self.pool)
                .await
                .unwrap_or(None);
        if let Some(uuid) = uuid {
            let path = self
                .program
                .state_dir()
                .join("tasks")
                .join(uuid)
                .join("task.json");
            let text =
                fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            serde_json::from_slice::<serde_json::Value>(&text).expect("whole");
        }
    }
}
