//! The journals of several workers, brought together: one history, and whatever is missing in it is found.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use windlass::journal::chain;

use super::Workers;
use crate::support::program::Program;

impl Workers {
    /// The journals of these machines in one export, the first half of them over a place of their own.
    pub async fn collect(&self, machines: &[&Program]) -> PathBuf {
        let program = &self.world.program;
        let kept = program.home().join("kept");
        let export = program.home().join("all.jsonl");
        let uuid = self.uuid().await;
        let mut args = ["journal", "collect", "--force", "--task", &uuid, "-o"]
            .map(str::to_owned)
            .to_vec();
        args.push(export.display().to_string());
        for (number, machine) in machines.iter().enumerate() {
            if number % 2 == 0 {
                args.push(machine.state_dir().display().to_string());
                continue;
            }
            let to = kept.display().to_string();
            let ship = ["journal", "ship", &self.task, "--to", &to];
            let shipped = machine.run(&ship).await;
            // Killed before it could journal anything.
            if shipped.stderr.contains("no journal of task") {
                continue;
            }
            shipped.expect_code(0);
            // There is nothing new: it brings nothing.
            let again = machine.run(&ship).await.expect_code(0);
            assert!(again.stdout.contains("of which 0 new"), "{}", again.stdout);
            args.push(to);
        }
        let collected = program.run(&args).await.expect_code(0);
        assert!(
            collected.stdout.contains("next: windlass journal verify"),
            "{}",
            collected.stdout
        );
        export
    }

    async fn uuid(&self) -> String {
        sqlx::query_scalar("SELECT uuid FROM windlass_tasks WHERE task_id = $1")
            .bind(self.task.parse::<i64>().expect("a number"))
            .fetch_one(&self.world.database.pool)
            .await
            .expect("the task")
    }

    pub async fn verify_export(&self, export: &Path) -> (Option<i32>, serde_json::Value) {
        let export = export.display().to_string();
        let args = [
            "--db-connect",
            &self.url,
            "--json",
            "journal",
            "verify",
            &self.task,
            "--export",
            &export,
        ];
        let verified = self.world.program.run(&args).await;
        let proof = serde_json::from_str(&verified.stdout);
        (verified.code, proof.expect("a proof"))
    }

    /// The journals of all that were at work prove one whole history: each object, from its first step to
    /// its last, whoever took it.
    pub async fn expect_one_history(&self, machines: &[&Program]) -> serde_json::Value {
        let export = self.collect(machines).await;
        let (code, proof) = self.verify_export(&export).await;
        if code != Some(0) {
            println!("{}", std::fs::read_to_string(&export).expect("an export"));
        }
        assert_eq!(code, Some(0), "{proof:#}");
        assert_eq!(proof["mirror_compared"], true, "{proof:#}");
        assert_eq!(proof["objects"], self.documents, "{proof:#}");
        assert_eq!(proof["others"], serde_json::Value::Null, "{proof:#}");
        assert_eq!(
            proof["told_elsewhere"],
            serde_json::Value::Null,
            "{proof:#}"
        );
        assert_eq!(proof["in_motion"], 0, "{proof:#}");
        proof
    }
}

/// A process that died before it could journal anything has left nothing to ship, and no damage either.
#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_has_not_begun_is_not_shipped() {
    let workers = Workers::planned(4).await;
    let machine = Program::new();
    let crash = [("FAILPOINTS", "checkpoint-directory-made=return")];
    let crashed = machine.run_with(&workers.args("worker"), &crash).await;
    assert_eq!(crashed.code, None, "{}", crashed.stderr);
    let ship = ["journal", "ship", &workers.task, "--to", "kept"];
    let refused = machine.run(&ship).await.expect_code(2);
    let why = format!("no journal of task {}", workers.task);
    assert!(refused.stderr.contains(&why), "{}", refused.stderr);
    workers
        .start(&machine, "worker")
        .wait()
        .await
        .expect_code(0);
    machine.run(&ship).await.expect_code(0);
}

/// The lines of an export, each changed, in chains that hold together.
fn rehashed(lines: &[&str], change: impl Fn(&str) -> String) -> String {
    let mut heads: HashMap<String, chain::Hash> = HashMap::new();
    let changed = lines.iter().map(|line| {
        let line = change(line);
        let json = &line["{\"entry\":".len()..line.len() - "\",\"hash\":\"".len() - 64 - 2];
        let entry: serde_json::Value = serde_json::from_str(json).expect("an entry");
        let uuid = |field: &str| entry[field].as_str().expect("a UUID").parse().expect("one");
        let (task, executor) = (uuid("task"), uuid("executor"));
        let head = heads.entry(entry["executor"].to_string());
        let head = head.or_insert_with(|| chain::root(task, executor));
        *head = chain::next(head, json.as_bytes());
        chain::line(json, head) + "\n"
    });
    changed.collect()
}

/// Whatever is missing from the journals of several, or was changed in the database about who took what, is
/// found.
pub async fn expect_deeds_found(workers: &Workers, machines: &[&Program]) {
    let export = workers.collect(machines).await;
    let whole = std::fs::read_to_string(&export).expect("an export");
    let lines: Vec<&str> = whole.split_inclusive('\n').collect();
    let of = |line: &str| {
        let at = line.find("\"executor\":\"").expect("an executor") + 12;
        line[at..at + 36].to_owned()
    };
    let first = of(lines[0]);
    let (of_first, of_second): (Vec<&str>, Vec<&str>) =
        lines.iter().partition(|line| of(line) == first);
    let tried = |text: String| {
        std::fs::write(&export, text).expect("written");
        workers.verify_export(&export)
    };
    // Nobody has changed anything: in any order of the chains, or from each other's lines.
    let (code, proof) = tried([of_second.concat(), of_first.concat()].concat()).await;
    assert_eq!(code, Some(0), "{proof:#}");
    // The end of the one whose shards were taken.
    let cut = of_first[..of_first.len() / 2].concat() + &of_second.concat();
    let (code, proof) = tried(cut).await;
    assert_eq!(code, Some(3), "{proof:#}");
    // What the other one goes on from is not there; or, if nothing of that is, what the database has seen.
    let part = proof["findings"][0]["part"].as_str();
    assert!(matches!(part, Some("head" | "step")), "{proof:#}");
    // All of it: it is named.
    let (code, proof) = tried(of_second.concat()).await;
    assert_eq!(code, Some(0), "{proof:#}");
    assert_eq!(proof["others"].as_array().map_or(0, Vec::len), 1);
    // Two that have gone on from one beginning; and one that was changed.
    std::fs::write(&export, &whole).expect("written");
    let changed = |line: &str| line.replacen("\"pid\":", "\"pid\":1", 1);
    let broken: String = lines.iter().map(|line| changed(line)).collect();
    for (twin, why) in [
        (rehashed(&lines, changed), "two different journals"),
        (broken, "the hash does not fit"),
    ] {
        let program = &workers.world.program;
        let file = program.home().join("twin.jsonl");
        std::fs::write(&file, twin).expect("written");
        let both = [&export, &file].map(|path| path.display().to_string());
        let args = ["journal", "collect", "-o", "none.jsonl", &both[0], &both[1]];
        let refused = program.run(&args).await.expect_code(2);
        assert!(refused.stderr.contains(why), "{}", refused.stderr);
        assert!(!program.home().join("none.jsonl").exists());
    }
    // Another history of who took what.
    std::fs::write(&export, &whole).expect("written");
    workers
        .world
        .sql("UPDATE windlass_takeovers SET from_seq = from_seq - 1")
        .await;
    let (code, proof) = workers.verify_export(&export).await;
    assert_eq!(code, Some(3), "{proof:#}");
    assert!(
        proof["findings"][0]["what"]
            .to_string()
            .contains("knows nothing of that"),
        "{proof:#}"
    );
}
