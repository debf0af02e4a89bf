//! Stores that lie, refuse, or fall away for good, on an S3 server of our own that does so at will.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::support::checker::{Checker, Report};
use crate::support::deployment::{Compression, S3Spec, StoreSpec};
use crate::support::memory_s3::{FaultReply, MemoryS3};
use crate::support::program::Outcome;
use crate::world::{World, seeded};

pub const BUCKET: &str = "memory";
pub const DOCUMENTS: usize = 40;

/// A deployment whose bucket is in memory.
pub struct Memory {
    pub world: World,
    pub s3: MemoryS3,
    pub to: PathBuf,
}

pub async fn memory() -> Memory {
    let world = seeded(DOCUMENTS).await;
    let s3 = MemoryS3::start().await;
    s3.client().create_bucket(BUCKET).await;
    let spec = S3Spec {
        url: s3.server().url.clone(),
        access_key: s3.server().access_key.clone(),
        secret_key: s3.server().secret_key.clone(),
        bucket: BUCKET.into(),
        compression: Compression::above_kbytes(1),
        ..S3Spec::default()
    };
    let to = world.write_config("memory", StoreSpec::S3(spec));
    Memory { world, s3, to }
}

impl Memory {
    pub async fn migrate(&self, from: &Path, to: &Path, more: &[&str]) -> Outcome {
        let (from, to) = (from.display().to_string(), to.display().to_string());
        let mut args = vec!["migrate", &from, &to, "--dontask"];
        args.extend(more);
        self.world.program.run(&args).await
    }

    /// Ten documents are taken, and no more.
    fn refuse_after_ten(&self, status: u16, code: &'static str) {
        let written = AtomicU64::new(0);
        self.s3.set_hook(move |operation, key| {
            let is_late = operation == "PutObject"
                && is_document(key)
                && written.fetch_add(1, Ordering::Relaxed) >= 10;
            is_late.then_some(FaultReply::Error(status, code))
        });
    }

    pub async fn there(&self, more: &[&str]) -> Outcome {
        self.migrate(&self.world.from, &self.to, more).await
    }

    pub async fn back(&self, more: &[&str]) -> Outcome {
        self.migrate(&self.to, &self.world.from, more).await
    }

    /// The store is itself again: a resume moves the rest, and all is at this scheme.
    pub async fn resume_to(&self, scheme: &str) {
        self.s3.clear_hook();
        let task = self.world.task().await;
        self.world.resume(&task).await.expect_code(0);
        self.expect_sound_at(scheme).await;
    }

    pub async fn expect_sound_at(&self, scheme: &str) {
        self.look().await.expect_all_at(scheme, DOCUMENTS);
        let task = self.world.task().await;
        self.world.journal(&task).await.expect_sound();
    }

    pub async fn look(&self) -> Report {
        Checker::new(&self.world.database.pool)
            .s3(self.s3.client(), BUCKET, "")
            .check(self.world.deployment.expected())
            .await
    }
}

pub fn is_document(key: &str) -> bool {
    !key.contains("__anchore") && !key.contains("windlass-probe")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_store_keeps_wrong_is_never_committed() {
    for fault in [FaultReply::StoreCorrupt, FaultReply::StoreHalf] {
        let memory = memory().await;
        let written = Arc::new(AtomicU64::new(0));
        memory.s3.set_hook(move |operation, key| {
            let is_write = operation == "PutObject" && is_document(key);
            let nth = is_write.then(|| written.fetch_add(1, Ordering::Relaxed));
            // Every third write, so that a second try may be right.
            nth.filter(|nth| nth % 3 == 0).map(|_| fault)
        });
        let ended = memory.there(&[]).await;
        memory.look().await.expect_nothing_lost();
        match ended.code {
            Some(0) => memory.expect_sound_at("s3").await,
            _ => {
                ended.expect_code(3);
                memory.resume_to("s3").await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_always_keeps_it_wrong_fails_the_objects() {
    let memory = memory().await;
    memory.s3.set_hook(|operation, key| {
        (operation == "PutObject" && is_document(key)).then_some(FaultReply::StoreCorrupt)
    });
    let ended = memory.there(&["--json"]).await.expect_code(3).json();
    assert_eq!(
        (&ended["committed"], &ended["failed"]),
        (&0.into(), &DOCUMENTS.into())
    );
    let seen = memory.look().await;
    assert_eq!(seen.right.get("db"), Some(&(DOCUMENTS as u64)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_object_can_go_on_without_stops_the_run_and_keeps_the_place() {
    for (status, code) in [
        (403, "InvalidAccessKeyId"),
        (403, "SignatureDoesNotMatch"),
        (404, "NoSuchBucket"),
    ] {
        let memory = memory().await;
        memory.refuse_after_ten(status, code);
        let ended = memory.there(&["--concurrency", "2"]).await.expect_code(2);
        assert!(ended.stdout.contains("stopped early"), "{}", ended.stdout);
        assert!(ended.stdout.contains(" resume "), "{}", ended.stdout);
        memory.look().await.expect_nothing_lost();
        let task = memory.world.task().await;
        let (state, moved, _) = memory.world.anchore_says(&task).await;
        assert_eq!(state, "failed");
        assert!(moved < DOCUMENTS as i32);
        memory.resume_to("s3").await;
    }
}

/// A quota is no fault of the objects that come after it: none of them fails, and once there is
/// room all of them go.
#[tokio::test(flavor = "multi_thread")]
async fn a_quota_that_is_used_up_stops_the_run_and_keeps_the_place() {
    for (status, code) in [
        (403, "QuotaExceeded"),
        (400, "XMinioAdminBucketQuotaExceeded"),
        (507, "XMinioStorageFull"),
        (507, "InsufficientStorage"),
    ] {
        let memory = memory().await;
        memory.refuse_after_ten(status, code);
        let ended = memory.there(&["--json"]).await.expect_code(2).json();
        let why = ended["stopped"].as_str().expect("a reason");
        assert!(why.contains(code) && why.contains("s3://memory/"), "{why}");
        assert!(why.contains("free some space or raise the quota"), "{why}");
        assert_eq!(
            (&ended["failed"], &ended["skipped"]),
            (&0.into(), &0.into())
        );
        assert!(ended["remaining"].as_u64() > Some(0), "{ended}");
        memory.look().await.expect_nothing_lost();
        // Not yet: the same, before anything is done.
        let task = memory.world.task().await;
        let again = memory.world.resume(&task).await.expect_code(2);
        assert!(again.stdout.contains("quota"), "{}", again.stdout);
        memory.resume_to("s3").await;
    }
}

/// The same with a document of three parts, and nothing compressed.
pub async fn with_a_large_document() -> Memory {
    let mut memory = memory().await;
    let large = b"{\"large\": \"document\"} ".repeat(900_000);
    let to = StoreSpec::S3(S3Spec {
        url: memory.s3.server().url.clone(),
        access_key: memory.s3.server().access_key.clone(),
        secret_key: memory.s3.server().secret_key.clone(),
        bucket: BUCKET.into(),
        ..S3Spec::default()
    });
    memory.to = memory.world.write_config("plain", to);
    let deployment = &mut memory.world.deployment;
    deployment
        .add_db_document("admin", "analysis_data", "large", &large)
        .await;
    memory
}

/// A large object in parts, of which the last find no room.
#[tokio::test(flavor = "multi_thread")]
async fn a_quota_in_the_middle_of_an_upload_keeps_its_place() {
    for operation_refused in ["UploadPart", "CompleteMultipartUpload"] {
        let memory = with_a_large_document().await;
        let sent = Arc::new(AtomicU64::new(0));
        memory.s3.set_hook(move |operation, _| {
            let is_refused = operation == operation_refused
                && (operation != "UploadPart" || sent.fetch_add(1, Ordering::Relaxed) > 0);
            is_refused.then_some(FaultReply::Error(507, "XMinioStorageFull"))
        });
        let ended = memory.there(&[]).await.expect_code(2);
        assert!(ended.stdout.contains("raise the quota"), "{}", ended.stdout);
        memory.look().await.expect_nothing_lost();
        memory.s3.clear_hook();
        let task = memory.world.task().await;
        memory.world.resume(&task).await.expect_code(0);
        memory.look().await.expect_all_at("s3", DOCUMENTS + 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_the_store_refuses_stops_no_other() {
    let memory = memory().await;
    memory.s3.set_hook(|operation, key| {
        (operation == "PutObject" && key.contains("7-0000005-"))
            .then_some(FaultReply::Error(403, "AccessDenied"))
    });
    let ended = memory.there(&["--json"]).await.expect_code(3).json();
    assert_eq!(
        (&ended["committed"], &ended["failed"]),
        (&39.into(), &1.into())
    );
    memory.look().await.expect_nothing_lost();
    memory.resume_to("s3").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sources_that_cannot_be_deleted_are_counted_apart_and_deleted_by_a_resume() {
    let memory = memory().await;
    memory.there(&[]).await.expect_code(0);
    memory.s3.set_hook(|operation, key| {
        let deletes = operation == "DeleteObjects:key" || operation == "DeleteObject";
        (deletes && key.contains("7-000000")).then_some(FaultReply::Error(403, "AccessDenied"))
    });
    let ended = memory.back(&["--json"]).await.expect_code(3).json();
    assert_eq!(ended["committed"], 40);
    assert_eq!(ended["failed"], 0, "{ended}");
    assert_eq!(ended["undeleted"], 10, "{ended}");
    assert_eq!(ended["source_deleted"], 30);
    let seen = memory.look().await;
    seen.expect_nothing_lost();
    assert_eq!(seen.doubled.len(), 10);
    memory.resume_to("db").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deletes_whose_answer_is_lost_are_done_once() {
    let memory = memory().await;
    memory.there(&[]).await.expect_code(0);
    let asked = Arc::new(AtomicU64::new(0));
    memory.s3.set_hook(move |operation, _| {
        let nth = operation
            .starts_with("Delete")
            .then(|| asked.fetch_add(1, Ordering::Relaxed));
        nth.filter(|nth| *nth < 3)
            .map(|_| FaultReply::ErrorAfter(500, "InternalError"))
    });
    memory.back(&[]).await.expect_code(0);
    memory.expect_sound_at("db").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_cuts_its_answers_short_is_read_again() {
    let memory = memory().await;
    memory.there(&[]).await.expect_code(0);
    let asked = Arc::new(AtomicU64::new(0));
    memory.s3.set_hook(move |operation, key| {
        let nth = (operation == "GetObject" && is_document(key))
            .then(|| asked.fetch_add(1, Ordering::Relaxed));
        nth.filter(|nth| nth % 4 == 0).map(|_| FaultReply::CutBody)
    });
    memory.back(&[]).await.expect_code(0);
    memory.expect_sound_at("db").await;
}

/// Bodies that go on behind what was stored: one at the source, one that is read back.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_without_an_end_fails_its_object_and_no_other() {
    let memory = memory().await;
    memory.s3.set_hook(|operation, key| {
        (operation == "GetObject" && key.contains("7-0000005-")).then_some(FaultReply::EndlessBody)
    });
    let there = memory.there(&["--json"]).await.expect_code(3).json();
    assert_eq!(
        (&there["committed"], &there["failed"]),
        (&39.into(), &1.into())
    );
    memory.s3.clear_hook();
    memory.look().await.expect_nothing_lost();
    memory.resume_to("s3").await;
    memory.s3.set_hook(|operation, key| {
        (operation == "GetObject" && key.contains("7-0000005-")).then_some(FaultReply::EndlessBody)
    });
    let back = memory.back(&["--json"]).await.expect_code(3).json();
    assert_eq!(
        (&back["committed"], &back["failed"]),
        (&39.into(), &1.into())
    );
    let why = back["failures"][0]["error"].as_str().expect("a reason");
    assert!(
        why.contains("more than the") && why.contains("bytes"),
        "{why}"
    );
    memory.s3.clear_hook();
    memory.look().await.expect_nothing_lost();
    memory.resume_to("db").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_only_pretends_to_delete_is_found_out() {
    let memory = memory().await;
    memory.there(&[]).await.expect_code(0);
    memory.s3.set_hook(|operation, key| {
        let deletes = operation == "DeleteObjects:key" || operation == "DeleteObject";
        (deletes && key.contains("7-000000")).then_some(FaultReply::Pretend)
    });
    let ended = memory.back(&["--json"]).await.expect_code(3).json();
    assert_eq!(ended["undeleted"], 10, "{ended}");
    assert_eq!(ended["source_deleted"], 30);
    let why = ended["failures"][0]["error"].as_str().expect("a reason");
    assert!(why.contains("it is still there"), "{why}");
    let seen = memory.look().await;
    seen.expect_nothing_lost();
    assert_eq!(seen.doubled.len(), 10);
    memory.resume_to("db").await;
}
