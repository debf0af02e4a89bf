//! Credentials and servers that can do less than all: `check` says what is missing, and what can be
//! done without it is.

use crate::store_faults::{BUCKET, DOCUMENTS, Memory, memory, with_a_large_document};
use crate::support::memory_s3::FaultReply;
use crate::support::postgres;
use crate::support::program::Outcome;

async fn check(memory: &Memory) -> Outcome {
    let config = memory.to.display().to_string();
    memory.world.program.run(&["check", &config]).await
}

/// As AWS answers those who may not list: what is missing is denied.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_right_to_list_each_key_is_looked_at() {
    let memory = memory().await;
    memory.s3.with_store(|store| store.unlistable = true);
    let checked = check(&memory).await.expect_code(0);
    let said = &checked.stderr;
    assert!(
        said.contains("lacking s3:ListBucket on arn:aws:s3:::memory"),
        "{said}"
    );
    assert!(said.contains("s3:ListBucketMultipartUploads"), "{said}");
    let ended = memory.there(&[]).await.expect_code(0);
    assert!(
        ended.stderr.contains("each key is looked at by itself"),
        "{}",
        ended.stderr
    );
    let calls = memory.s3.calls();
    assert!(calls["HeadObject"] >= DOCUMENTS as u64, "{calls:?}");
    memory.s3.with_store(|store| store.unlistable = false);
    memory.expect_sound_at("s3").await;
    memory.s3.with_store(|store| store.unlistable = true);
    memory.back(&[]).await.expect_code(0);
    memory.s3.with_store(|store| store.unlistable = false);
    memory.expect_sound_at("db").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_right_to_list_nothing_of_another_is_overwritten() {
    let memory = memory().await;
    memory.there(&[]).await.expect_code(0);
    memory.back(&["--nodelete"]).await.expect_code(0);
    let theirs = "not what was there";
    let keys = memory.s3.client().list(BUCKET, "").await;
    let key = keys.iter().find(|listed| listed.key.contains("7-0000005-"));
    let key = key.expect("the copy").key.clone();
    memory.s3.client().put(BUCKET, &key, theirs).await;
    memory.s3.with_store(|store| store.unlistable = true);
    let again = memory.there(&["--json"]).await.expect_code(3).json();
    assert_eq!(
        (&again["committed"], &again["failed"]),
        (&39.into(), &1.into())
    );
    let kept = memory.s3.client().get(BUCKET, &key).await;
    assert_eq!(kept.as_deref(), Some(theirs.as_bytes()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_names_the_right_that_is_missing() {
    for (operation, right, code) in [
        (
            "CreateMultipartUpload",
            "s3:PutObject on arn:aws:s3:::memory/*",
            5,
        ),
        ("UploadPart", "s3:PutObject on arn:aws:s3:::memory/*", 5),
        ("AbortMultipartUpload", "s3:AbortMultipartUpload", 0),
        ("ListParts", "s3:ListMultipartUploadParts", 0),
        ("DeleteObjects:key", "s3:DeleteObject", 5),
    ] {
        let memory = memory().await;
        memory.s3.set_hook(move |asked, _| {
            (asked == operation).then_some(FaultReply::Error(403, "AccessDenied"))
        });
        let checked = check(&memory).await.expect_code(code);
        let said = &checked.stderr;
        assert!(
            said.contains(&format!("lacking {right}")),
            "{operation}: {said}"
        );
        memory.s3.clear_hook();
        assert_eq!(
            memory
                .s3
                .with_store(|store| store.uploads(BUCKET).unwrap().len()),
            match code {
                0 if operation == "AbortMultipartUpload" => 1,
                _ => 0,
            }
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_prints_the_grants_that_the_database_lacks() {
    let memory = memory().await;
    let (role, world) = ("windlass_reader", &memory.world);
    let name = format!("{role}_{}", std::process::id());
    world
        .sql(&format!(
            "CREATE ROLE {name} LOGIN PASSWORD 'readers'; REVOKE CREATE ON SCHEMA public FROM public;
             GRANT SELECT ON ALL TABLES IN SCHEMA public TO {name}"
        ))
        .await;
    let place = postgres::Place {
        user: name.clone(),
        password: "readers".into(),
        ..world.database.place.clone()
    };
    let url = place.url(&world.database.name);
    let config = memory.to.display().to_string();
    let checked = world
        .program
        .run(&["--db-connect", &url, "check", &config])
        .await;
    let said = checked.expect_code(2).stderr;
    for grant in [
        format!("GRANT CREATE ON SCHEMA public TO {name}"),
        format!("GRANT UPDATE ON archive_metadata TO {name}"),
        format!("GRANT INSERT ON tasks TO {name}"),
        format!("GRANT USAGE ON SEQUENCE tasks_id_seq TO {name}"),
    ] {
        assert!(said.contains(&grant), "{grant}: {said}");
    }
    assert!(!said.contains("GRANT SELECT"), "{said}");
    world
        .sql(&format!("DROP OWNED BY {name}; DROP ROLE {name}"))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_multipart_uploads_gets_one_put() {
    for (status, code) in [(501, "NotImplemented"), (405, "MethodNotAllowed")] {
        let memory = with_a_large_document().await;
        memory.s3.set_hook(move |operation, _| {
            let of_uploads = operation.contains("Upload") || operation == "ListParts";
            of_uploads.then_some(FaultReply::Error(status, code))
        });
        let checked = check(&memory).await.expect_code(0);
        assert!(checked.stderr.contains("up to 5 GiB"), "{}", checked.stderr);
        memory
            .there(&["--memory-limit", "128MiB"])
            .await
            .expect_code(0);
        memory.look().await.expect_all_at("s3", DOCUMENTS + 1);
        memory.back(&[]).await.expect_code(0);
        memory.look().await.expect_all_at("db", DOCUMENTS + 1);
    }
}

/// What gofakes3 says, and with it `rclone serve s3`, where there are no uploads.
#[tokio::test(flavor = "multi_thread")]
async fn a_listing_of_uploads_that_knows_of_none_means_none() {
    let memory = with_a_large_document().await;
    memory.s3.set_hook(|operation, _| {
        (operation == "ListMultipartUploads").then_some(FaultReply::Error(404, "NoSuchUpload"))
    });
    memory.there(&[]).await.expect_code(0);
    memory.look().await.expect_all_at("s3", DOCUMENTS + 1);
    assert!(memory.s3.calls()["UploadPart"] >= 3);
}
