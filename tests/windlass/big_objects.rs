//! Objects of gigabytes: nothing that has arrived is sent again, and memory stays where it was told
//! to stay. Under `scripts/torture` in their real sizes; hollow, so that no disk has to hold them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::support::deployment::{Compression, Deployment, S3Spec, StoreSpec};
use crate::support::hollow::Hollow;
use crate::support::memory_s3::{FaultReply, MemoryS3};
use crate::support::postgres;
use crate::support::program::{Outcome, Program, Running};
use crate::support::random::Random;
use crate::world::{configured, until};

const MIB: u64 = 1 << 20;
const PART_BYTES: u64 = 8 * MIB;
/// Parts of one object on their way at once.
const IN_FLIGHT: u64 = 3;
const BUCKET: &str = "big";
const PLACE: (&str, &str) = ("admin", "analysis_data");
/// What the program takes beside the objects in flight, by its own reckoning.
const BASE_MIB: u64 = 96;

/// The real size under torture, or the one that a variable names, in MiB.
fn size_mib(variable: &str, usual: u64, real: u64) -> u64 {
    let is_torture = std::env::var_os("WINDLASS_TORTURE").is_some();
    configured(variable, if is_torture { real } else { usual })
}

/// A deployment between any two places of this machine.
struct Big {
    database: postgres::Database,
    deployment: Deployment,
    program: Program,
    dir: PathBuf,
}

impl Big {
    async fn new() -> Self {
        let database = postgres::fresh_database().await;
        let deployment = Deployment::new(&database);
        let program = Program::new().time_limit(Duration::from_secs(7_200));
        let dir = program.home().join("documents");
        std::fs::create_dir(&dir).expect("a directory");
        Self {
            database,
            deployment,
            program,
            dir,
        }
    }

    fn config(&self, name: &str, store: StoreSpec) -> String {
        let dir = self.program.home();
        let path = self.deployment.write_config(dir, name, store);
        path.display().to_string()
    }

    fn localfs(&self, dir: &Path) -> String {
        let name = dir.file_name().expect("a name").to_string_lossy();
        let store = StoreSpec::LocalFs {
            dir: dir.to_owned(),
            compression: Compression::default(),
        };
        self.config(&name, store)
    }

    async fn memory_s3(&self) -> (MemoryS3, String) {
        let s3 = MemoryS3::start().await;
        s3.client().create_bucket(BUCKET).await;
        let store = StoreSpec::S3(S3Spec {
            url: s3.server().url.clone(),
            access_key: s3.server().access_key.clone(),
            secret_key: s3.server().secret_key.clone(),
            bucket: BUCKET.into(),
            compression: Compression::default(),
            ..S3Spec::default()
        });
        let to = self.config("bucket", store);
        (s3, to)
    }

    async fn add(&self, hollow: &Hollow, seed: u64) {
        let id = format!("big-{seed}");
        let place = (PLACE.0, PLACE.1, id.as_str());
        self.deployment
            .add_localfs_hollow(&self.dir, place, hollow, seed)
            .await;
    }

    fn migrate(&self, from: &str, to: &str, more: &[&str]) -> Running {
        let mut args = vec!["migrate", from, to, "--dontask"];
        args.extend(more);
        self.program.spawn(&args)
    }

    async fn task(&self) -> String {
        let newest = "SELECT uuid FROM windlass_tasks ORDER BY task_id DESC LIMIT 1";
        sqlx::query_scalar(newest)
            .fetch_one(&self.database.pool)
            .await
            .expect("the task")
    }

    /// The digests and places of all rows.
    async fn rows(&self) -> Vec<(String, String)> {
        sqlx::query_as("SELECT digest, content_url FROM archive_metadata ORDER BY 1")
            .fetch_all(&self.database.pool)
            .await
            .expect("the rows")
    }
}

/// Its end, and the most memory that it took, in MiB.
async fn end_and_peak_mib(mut running: Running) -> (Outcome, u64) {
    let mut peak = 0;
    while !running.has_ended() {
        peak = running.peak_memory().unwrap_or(peak).max(peak);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    (running.wait().await, peak.div_ceil(MIB))
}

fn md5_at(s3: &MemoryS3, id: &str) -> String {
    let key = format!("{}/{}/{id}", PLACE.0, PLACE.1);
    let kept = s3.with_store(|store| store.get(BUCKET, &key));
    kept.expect("the object is there").body.md5_hex()
}

fn calls(s3: &MemoryS3, operation: &str) -> u64 {
    s3.calls().get(operation).copied().unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_the_middle_only_the_missing_parts_are_sent() {
    let size = size_mib("WINDLASS_TEST_BIG_MIB", 200, 2_048) * MIB + 12_345;
    let big = Big::new().await;
    let hollow = Hollow::new(size);
    big.add(&hollow, 1).await;
    let (s3, to) = big.memory_s3().await;
    let parts = size.div_ceil(PART_BYTES);
    // From the middle on nothing more gets through.
    let arrived = Arc::new(AtomicU64::new(0));
    let counter = arrived.clone();
    s3.set_hook(move |operation, _| {
        let nth = (operation == "UploadPart").then(|| counter.fetch_add(1, Ordering::Relaxed));
        let stuck = FaultReply::Stall(Duration::from_secs(36_000));
        nth.filter(|nth| *nth >= parts / 2).map(|_| stuck)
    });
    let mut running = big.migrate(&big.localfs(&big.dir), &to, &[]);
    until("half of it is there, and more waits", async || {
        assert!(!running.has_ended(), "{}", running.stderr());
        arrived.load(Ordering::Relaxed) > parts / 2 && calls(&s3, "UploadPart") == parts / 2
    })
    .await;
    let killed_peak = running.peak_memory().expect("it runs").div_ceil(MIB);
    running.kill();
    running.wait().await;
    s3.clear_hook();
    let resumed = big.program.spawn(&["resume", &big.task().await]);
    let (ended, peak) = end_and_peak_mib(resumed).await;
    ended.expect_code(0);
    let sent = calls(&s3, "UploadPart");
    println!(
        "{} MiB in {parts} parts, killed at {}: {} sent by the resume; peak memory {killed_peak} \
         and {peak} MiB",
        size / MIB,
        parts / 2,
        sent - parts / 2
    );
    // What had arrived and was not yet journaled goes out again.
    assert!((parts..=parts + IN_FLIGHT).contains(&sent), "{sent}");
    assert_eq!(calls(&s3, "CreateMultipartUpload"), 1);
    assert_eq!(calls(&s3, "CompleteMultipartUpload"), 1);
    let uploads = s3.with_store(|store| store.uploads(BUCKET));
    assert!(uploads.expect("the bucket").is_empty());
    assert_eq!(md5_at(&s3, "big-1"), hollow.md5_hex(1));
    let url = format!("s3://{BUCKET}/{}/{}/big-1", PLACE.0, PLACE.1);
    assert_eq!(big.rows().await, [(hollow.md5_hex(1), url)]);
    // The default, and what DESIGN promises of one of 5 GiB is more.
    assert!(killed_peak < 192 && peak < 192, "{killed_peak} {peak} MiB");
}

/// A place that holds something else already is asked whether the key is free, which is one cheap request;
/// the source is read once, for the copy.
#[tokio::test(flavor = "multi_thread")]
async fn into_a_place_that_is_not_empty_it_is_read_once() {
    let big = Big::new().await;
    let hollow = Hollow::new(20 * MIB + 1);
    big.add(&hollow, 1).await;
    let (s3, bucket) = big.memory_s3().await;
    let there = big.migrate(&big.localfs(&big.dir), &bucket, &[]);
    there.wait().await.expect_code(0);
    let archive = big.program.home().join("archive");
    let folder = archive.join("0".repeat(32));
    std::fs::create_dir_all(&folder).expect("a folder as Anchore makes them");
    std::fs::write(folder.join("somebody-elses"), b"kept").expect("a file");
    // The self-check reads as well, but not this.
    let reads = Arc::new(AtomicU64::new(0));
    let counter = reads.clone();
    s3.set_hook(move |operation, key| {
        if operation == "GetObject" && key.ends_with("big-1") {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        None
    });
    let back = big.migrate(&bucket, &big.localfs(&archive), &[]);
    back.wait().await.expect_code(0);
    assert_eq!(reads.load(Ordering::Relaxed), 1);
    let rows = big.rows().await;
    assert_eq!(rows[0].0, hollow.md5_hex(1));
    let path = rows[0].1.strip_prefix("file://").expect("a file's URL");

    // What has another size is another document: nothing has to be read to see that.
    let forth = big.migrate(&big.localfs(&archive), &bucket, &[]);
    forth.wait().await.expect_code(0);
    std::fs::create_dir_all(std::path::Path::new(path).parent().expect("a folder"))
        .expect("its folder");
    std::fs::write(path, b"another").expect("another document");
    reads.store(0, Ordering::Relaxed);
    let refused = big.migrate(&bucket, &big.localfs(&archive), &["--new-task"]);
    let refused = refused.wait().await.expect_code(3);
    let said = "other content lies at the destination; migrate again with --overwrite";
    assert!(refused.stderr.contains(said), "{}", refused.stderr);
    assert_eq!(reads.load(Ordering::Relaxed), 0);
    let options = ["--new-task", "--overwrite"];
    let replaced = big.migrate(&bucket, &big.localfs(&archive), &options);
    replaced.wait().await.expect_code(0);
    assert_eq!(reads.load(Ordering::Relaxed), 1);
    assert_eq!(big.rows().await, rows);
}

/// Many at once, from a directory to another store: its peak is below the limit.
async fn many_under_the_limit(count: u64, size_mib: u64, limit_mib: u64, to_bucket: bool) {
    let big = Big::new().await;
    let hollow = Hollow::new(size_mib * MIB + 1);
    for seed in 0..count {
        big.add(&hollow, seed).await;
    }
    let from = big.localfs(&big.dir);
    let archive = big.program.home().join("archive");
    std::fs::create_dir(&archive).expect("a directory");
    let (s3, bucket) = big.memory_s3().await;
    let to = match to_bucket {
        true => bucket,
        false => big.localfs(&archive),
    };
    let limit = format!("{limit_mib}MiB");
    let running = big.migrate(
        &from,
        &to,
        &["--concurrency", "64", "--memory-limit", &limit],
    );
    let (ended, peak) = end_and_peak_mib(running).await;
    let ended = ended.expect_code(0);
    let place = if to_bucket { "s3" } else { "localfs" };
    println!(
        "{count} of {size_mib} MiB, localfs to {place}, --memory-limit {limit}: peak {peak} MiB, \
         {:.0?}",
        ended.elapsed
    );
    assert!(peak < limit_mib, "{peak} MiB");
    let mut wanted: Vec<_> = (0..count).map(|seed| hollow.md5_hex(seed)).collect();
    if to_bucket {
        for (seed, md5) in wanted.iter().enumerate() {
            assert_eq!(&md5_at(&s3, &format!("big-{seed}")), md5);
        }
    }
    wanted.sort();
    let rows = big.rows().await;
    let scheme = if to_bucket { "s3://" } else { "file://" };
    let is_there =
        |(_, url): &(String, String)| url.starts_with(scheme) && !url.contains("documents");
    assert!(rows.iter().all(is_there), "{rows:?}");
    assert_eq!(
        rows.into_iter().map(|(md5, _)| md5).collect::<Vec<_>>(),
        wanted
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_into_a_directory_stay_under_the_memory_limit() {
    // The disk has to hold these: windlass writes their zeros.
    let size = size_mib("WINDLASS_TEST_BIG_DIRECTORY_MIB", 20, 1_024);
    many_under_the_limit(8, size, 160, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_at_once_into_a_bucket_stay_under_the_memory_limit() {
    let size = size_mib("WINDLASS_TEST_BIG_BUCKET_MIB", 9, 256);
    let count = configured("WINDLASS_TEST_BIG_BUCKET_OBJECTS", 64);
    many_under_the_limit(count, size, 256, true).await;
}

/// A database gives text in one piece and takes every value in one: that is four times its size at
/// most, and no limit can make it less. Several of them go one after the other.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_database_has_in_one_piece_takes_four_times_its_size_and_goes_alone() {
    const DOCUMENTS: u64 = 3;
    let size = size_mib("WINDLASS_TEST_BIG_VALUE_MIB", 24, 200);
    let mut big = Big::new().await;
    // One of text, one of base64: there are two ways through.
    let text = vec![b'x'; (size * MIB) as usize];
    let bytes = Random::seeded(1).bytes((size * MIB) as usize);
    for n in 0..DOCUMENTS {
        let content = if n % 2 == 0 { &text } else { &bytes };
        let id = format!("value-{n}");
        big.deployment
            .add_db_document(PLACE.0, PLACE.1, &id, content)
            .await;
    }
    drop((text, bytes));
    let compression = Compression::default();
    let ways = [
        ("db", big.config("db", StoreSpec::Db { compression })),
        ("localfs", big.localfs(&big.dir)),
        ("db2", big.config("db2", StoreSpec::Db2 { compression })),
    ];
    let steps = [(0, 1), (1, 0), (0, 2), (2, 0), (0, 1), (1, 2), (2, 1)];
    for (from, to) in steps {
        let ((from_name, from), (to_name, to)) = (&ways[from], &ways[to]);
        let (ended, peak) = end_and_peak_mib(big.migrate(from, to, &[])).await;
        ended.expect_code(0);
        println!("{DOCUMENTS} of {size} MiB, {from_name} to {to_name}: peak {peak} MiB");
        let reckoned = BASE_MIB + 4 * size;
        assert!(peak <= reckoned, "{from_name} to {to_name}: {peak} MiB");
    }
}
