//! What the benches share: sets of documents, programs that are run and watched, medians.

mod cpu;
pub mod delay;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::deployment::{Compression, Deployment, S3Spec, StoreSpec};
use crate::support::random::Random;
use crate::support::{measure, postgres, program, s3};
use cpu::cpu_time;
use tempfile::TempDir;

/// A set of documents, all of one size.
#[derive(Clone, Copy)]
pub struct Set {
    pub name: &'static str,
    pub documents: usize,
    pub bytes: usize,
}

/// What one run of a program has taken.
#[derive(Default)]
pub struct Measured {
    pub elapsed: Duration,
    pub peak_bytes: u64,
    pub cpu: Duration,
    /// Of that, what the journal's threads have taken.
    pub journal: Duration,
    /// CPU of the servers meanwhile.
    pub s3: Duration,
    pub postgres: Duration,
}

/// The run in the middle, with the peak memory of all.
pub struct Median {
    pub seconds: f64,
    pub peak_bytes: u64,
    pub cpu_s: f64,
    pub journal_s: f64,
    pub s3_s: f64,
    pub postgres_s: f64,
}

pub fn median(mut measured: Vec<Measured>) -> Median {
    measured.sort_by_key(|m| m.elapsed);
    let middle = &measured[measured.len() / 2];
    Median {
        seconds: middle.elapsed.as_secs_f64(),
        peak_bytes: measured.iter().map(|m| m.peak_bytes).max().unwrap_or(0),
        cpu_s: middle.cpu.as_secs_f64(),
        journal_s: middle.journal.as_secs_f64(),
        s3_s: middle.s3.as_secs_f64(),
        postgres_s: middle.postgres.as_secs_f64(),
    }
}

/// How the servers are reached.
pub struct Net {
    pub s3_url: String,
    /// `None`: where it listens.
    pub postgres_port: Option<u16>,
}

impl Net {
    pub async fn straight() -> Self {
        Self {
            s3_url: s3::server().await.url.clone(),
            postgres_port: None,
        }
    }
}

/// A bucket, reached by this way.
pub async fn spec(bucket: &str, net: &Net) -> S3Spec {
    let server = s3::server().await;
    S3Spec {
        url: net.s3_url.clone(),
        access_key: server.access_key.clone(),
        secret_key: server.secret_key.clone(),
        bucket: bucket.to_owned(),
        create_bucket: false,
        prefix: None,
        region: None,
        compression: Compression::default(),
    }
}

/// A bucket whose first write is behind it: that one makes SeaweedFS allocate a volume.
pub async fn warm_bucket() -> String {
    let bucket = s3::fresh_bucket().await;
    let client = s3::server().await.client();
    client.put(&bucket, "warm", b"warm").await;
    client.delete(&bucket, "warm").await;
    bucket
}

pub fn documents(set: Set) -> impl Iterator<Item = (String, Vec<u8>)> {
    let mut random = Random::seeded(7);
    (0..set.documents).map(move |n| (format!("document-{n:06}"), random.bytes(set.bytes)))
}

/// A deployment whose documents are to be moved.
pub struct Ready {
    home: TempDir,
    from: PathBuf,
    to: PathBuf,
}

impl Ready {
    /// Moves them.
    pub fn migrate(&self, options: &[&str]) -> Measured {
        migrate(&self.from, &self.to, self.home.path(), options)
    }
}

/// Documents in an Anchore directory tree, and an S3 bucket for them; the tables of windlass are there, since
/// they are made once for a database.
pub async fn localfs_to_s3(set: Set, net: &Net) -> Ready {
    let mut database = postgres::fresh_database().await;
    if let Some(port) = net.postgres_port {
        let place = postgres::Place {
            port,
            ..database.place.clone()
        };
        database.url = place.url(&database.name);
    }
    let mut deployment = Deployment::new(&database);
    let home = TempDir::new().expect("a directory");
    let dir = home.path().join("archive");
    std::fs::create_dir(&dir).expect("the archive");
    let compression = Compression::default();
    let from = StoreSpec::LocalFs {
        dir: dir.clone(),
        compression,
    };
    let from = deployment.write_config(home.path(), "from", from);
    let to = StoreSpec::S3(spec(&warm_bucket().await, net).await);
    let to = deployment.write_config(home.path(), "to", to);
    let ready = Ready { home, from, to };
    ready.migrate(&[]);
    for (at, (id, content)) in documents(set).enumerate() {
        let bucket = BUCKETS[at % BUCKETS.len()];
        let key = ("admin", bucket, id.as_str());
        deployment.add_localfs_document(&dir, key, &content).await;
    }
    ready
}

/// Those of Anchore Engine.
const BUCKETS: [&str; 7] = [
    "analysis_data",
    "image_content_data",
    "image_summary_data",
    "manifest_data",
    "parent_manifest_data",
    "policy_bundles",
    "policy_evaluations",
];

pub fn migrate(from: &Path, to: &Path, home: &Path, options: &[&str]) -> Measured {
    let mut command = Command::new(program::executable());
    command.arg("--state-dir").arg(home.join("state"));
    command
        .arg("migrate")
        .arg(from)
        .arg(to)
        .arg("--dontask")
        .args(options);
    run(vec![command])
}

/// The same files, copied by rclone, and read back by it where `check` says so.
pub async fn rclone(set: Set, copy: &[&str], check: bool, s3_url: &str) -> Measured {
    let home = TempDir::new().expect("a directory");
    let dir = home.path().join("archive");
    std::fs::create_dir(&dir).expect("the archive");
    for (id, content) in documents(set) {
        std::fs::write(dir.join(id), content).expect("a document");
    }
    let bucket = warm_bucket().await;
    let server = s3::server().await;
    let command = |arguments: &[&str]| {
        let mut command = Command::new(rclone_program());
        command.args(arguments);
        command.arg(&dir).arg(format!("bench:{bucket}"));
        command.env("RCLONE_CONFIG", home.path().join("rclone.conf"));
        for (name, value) in [
            ("TYPE", "s3"),
            ("PROVIDER", "Other"),
            ("ENDPOINT", s3_url),
            ("ACCESS_KEY_ID", &server.access_key),
            ("SECRET_ACCESS_KEY", &server.secret_key),
        ] {
            command.env(format!("RCLONE_CONFIG_BENCH_{name}"), value);
        }
        command
    };
    let mut commands = vec![command(copy)];
    if check {
        commands.push(command(&["check", "--download", "--checkers", "32"]));
    }
    run(commands)
}

pub fn rclone_program() -> PathBuf {
    let program = PathBuf::from("target/bench-venv/bin/rclone");
    assert!(
        program.exists(),
        "no {}: run scripts/bench, which installs it",
        program.display()
    );
    program
}

/// Runs programs one after the other to their ends, watching their peak memory.
pub fn run(commands: Vec<Command>) -> Measured {
    let started = Instant::now();
    let servers = || (cpu_of_all("weed"), cpu_of_all("postgres"));
    let before = servers();
    let mut all = Measured::default();
    for mut command in commands {
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let one = watch(&mut child);
        if !child.wait().expect("the program's end").success() {
            let mut said = String::new();
            let mut stderr = child.stderr.take().expect("its stderr");
            std::io::Read::read_to_string(&mut stderr, &mut said).expect("its words");
            panic!("{command:?} failed: {said}");
        }
        all.peak_bytes = all.peak_bytes.max(one.peak_bytes);
        all.cpu += one.cpu;
        all.journal += one.journal;
    }
    all.elapsed = started.elapsed();
    let after = servers();
    all.s3 = after.0.saturating_sub(before.0);
    all.postgres = after.1.saturating_sub(before.1);
    all
}

fn watch(child: &mut Child) -> Measured {
    let mut seen = Measured::default();
    for look in 0.. {
        let cpu = cpu_time(&format!("/proc/{}/stat", child.id()), 2);
        seen.cpu = seen.cpu.max(cpu);
        if look % 10 == 0 {
            seen.journal = seen.journal.max(journal_time(child.id()));
        }
        let peak_bytes = measure::peak_memory_bytes(child.id()).unwrap_or(0);
        seen.peak_bytes = seen.peak_bytes.max(peak_bytes);
        if child.try_wait().expect("the program's end").is_some() {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    seen
}

/// What all processes of a name have taken so far, with their children that have ended.
fn cpu_of_all(name: &str) -> Duration {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let of_name = processes.filter(|process| {
        let comm = std::fs::read_to_string(process.path().join("comm"));
        comm.is_ok_and(|comm| comm.trim_end() == name)
    });
    of_name
        .map(|process| cpu_time(&process.path().join("stat").display().to_string(), 4))
        .sum()
}

/// What the threads of the journal, and sled's own, have taken so far.
fn journal_time(pid: u32) -> Duration {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task"));
    let threads = threads.into_iter().flatten().flatten();
    let of_journal = threads.filter(|thread| {
        let name = std::fs::read_to_string(thread.path().join("comm")).unwrap_or_default();
        // The kernel keeps fifteen characters of a name.
        ["windlass-journa", "windlass-seal", "sled-io", "log flusher"]
            .iter()
            .any(|own| name.starts_with(own))
    });
    of_journal
        .map(|thread| cpu_time(&thread.path().join("stat").display().to_string(), 2))
        .sum()
}
