//! Documents whose name is not the one that windlass writes: Anchore finds them by user, bucket and
//! id, and so must we, without ever taking one for another.

use std::fs;
use std::path::PathBuf;

use crate::support::checker::Checker;
use crate::support::deployment::{Compression, DocumentKey, StoreSpec};
use crate::world::{World, seeded};

fn key(id: &str, document: &str) -> DocumentKey {
    DocumentKey {
        user: "admin".into(),
        bucket: "special".into(),
        id: id.into(),
        document: document.into(),
    }
}

impl World {
    /// A document whose row in `archive_document` bears this name, and whose row in
    /// `archive_metadata` does, too.
    async fn named(&mut self, id: &str, name: &str, content: &str) {
        self.deployment
            .add_db_document("admin", "special", id, content.as_bytes())
            .await;
        for table in ["archive_document", "archive_metadata"] {
            self.sql(&format!(
                r#"UPDATE {table} SET "documentName" = '{name}' WHERE "archiveId" = '{id}'"#
            ))
            .await;
        }
        self.deployment.expect(key(id, &format!("{id}.json")), None);
        let content = Some(content.as_bytes().to_vec());
        self.deployment.expect(key(id, name), content);
    }

    /// One more row of `archive_document` under the same id.
    async fn beside(&self, id: &str, name: &str, text: &str, b64: bool) {
        self.sql(&format!(
            r#"INSERT INTO archive_document (bucket, "archiveId", "userId", "documentName",
                   created_at, last_updated, record_state_key, jsondata, b64_encoded)
               VALUES ('special', '{id}', 'admin', '{name}', 1, 1, 'active', '{text}', {b64})"#
        ))
        .await;
    }

    async fn remove(&self, id: &str, name: &str) {
        self.sql(&format!(
            r#"DELETE FROM archive_document WHERE "archiveId" = '{id}' AND "documentName" = '{name}'"#
        ))
        .await;
    }

    async fn documents(&self) -> Vec<(String, String)> {
        sqlx::query_as(r#"SELECT "archiveId", "documentName" FROM archive_document ORDER BY 1, 2"#)
            .fetch_all(&self.database.pool)
            .await
            .expect("the documents")
    }

    async fn verify_from(&self, code: i32) -> String {
        let from = self.from.display().to_string();
        let verified = self.program.run(&["verify", &from]).await;
        verified.expect_code(code).stdout
    }
}

fn pair(id: &str, name: &str) -> (String, String) {
    (id.into(), name.into())
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_of_any_name_are_read_proven_deleted_and_given_back() {
    let mut world = seeded(30).await;
    // As some of Anchore's own rows are.
    world
        .sql(
            r#"UPDATE archive_document SET "documentName" = 'analysis' WHERE bucket = 'analysis_data'"#,
        )
        .await;
    world.named("odd", "a name of its own", "odd").await;
    world.named("same", "one", "twice").await;
    world.beside("same", "two", "dHdpY2U=", true).await;
    world.named("unsure", "one", "this?").await;
    world.beside("unsure", "two", "or that?", false).await;
    world
        .deployment
        .add_db_document("admin", "special", "own", b"its own")
        .await;
    world.beside("own", "another", "not read", false).await;
    world.beside("own", "equal", "its own", false).await;

    let said = world.verify_from(3).await;
    assert!(said.contains(r#""one", "two""#), "{said}");
    world.remove("unsure", "two").await;
    world.verify_from(0).await;
    world.beside("unsure", "two", "or that?", false).await;

    let report = world.migrate(&["--json"]).await.expect_code(3).json();
    assert_eq!(
        (
            &report["committed"],
            &report["source_deleted"],
            &report["failed"]
        ),
        (&33.into(), &33.into(), &1.into()),
        "{report:#}"
    );
    let refused = report["failures"][0]["error"].as_str().expect("words");
    assert!(
        refused.contains(r#""one", "two""#) && refused.contains("unsure.json"),
        "{refused}"
    );
    // What nobody has read is there.
    let left = [
        pair("own", "another"),
        pair("unsure", "one"),
        pair("unsure", "two"),
    ];
    assert_eq!(world.documents().await, left);
    world.remove("unsure", "two").await;
    let task = world.task().await;
    world.resume(&task).await.expect_code(0);
    world.expect_every_row_whole().await;
    assert_eq!(world.documents().await, left[..1]);

    let reverse = ["reverse", &task, "--dontask"];
    world.program.run(&reverse).await.expect_code(0);
    let seen = world.look().await;
    seen.expect_nothing_lost();
    assert_eq!(seen.right, [("db".to_owned(), 34)].into());
    assert!(seen.strays.is_empty() && seen.doubled.is_empty());
    assert_eq!(
        world.documents().await.len(),
        35,
        "what lay beside still does"
    );
    world.verify_from(0).await;
    for task in [task, world.task().await] {
        world.program.expect_journal_verified(&task).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_was_proven_is_deleted_later() {
    let mut world = seeded(10).await;
    world.named("odd", "a name of its own", "odd").await;
    world.migrate(&["--nodelete"]).await.expect_code(0);
    // Somebody has stored something else under the same id since, and no row tells of it.
    world
        .beside("odd", "since", "of somebody else", false)
        .await;
    let delete = ["delete-source", "1", "--dontask"];
    let kept = world.program.run(&delete).await.expect_code(3);
    assert!(kept.stdout.contains("they differ"), "{}", kept.stdout);
    let both = [pair("odd", "a name of its own"), pair("odd", "since")];
    assert_eq!(world.documents().await, both);
    world.remove("odd", "since").await;
    let task = world.task().await;
    world.resume(&task).await.expect_code(0);
    world.look().await.expect_all_at("s3", 11);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_at_the_destination_under_another_name_counts() {
    let mut world = seeded(0).await;
    let dir: PathBuf = world.program.home().join("documents");
    fs::create_dir(&dir).expect("a directory");
    for id in ["free", "equal", "other", "both"] {
        let content = format!("content of {id}");
        world
            .deployment
            .add_localfs_document(&dir, ("admin", "special", id), content.as_bytes())
            .await;
    }
    world.beside("equal", "x", "content of equal", false).await;
    world.beside("other", "x", "something else", false).await;
    world
        .beside("both", "both.json", "content of both", false)
        .await;
    world.beside("both", "x", "something else", false).await;
    let from = world.write_config(
        "localfs",
        StoreSpec::LocalFs {
            dir: dir.clone(),
            compression: Compression::default(),
        },
    );
    let (from, to) = (from.display().to_string(), world.from.display().to_string());
    for more in [&[][..], &["--overwrite"]] {
        let mut args = vec!["migrate", &from, &to, "--dontask"];
        args.extend(more);
        let done = world.program.run(&args).await.expect_code(3);
        assert!(done.stdout.contains("failed 2"), "{}", done.stdout);
        assert!(
            done.stdout.contains("another documentName"),
            "{}",
            done.stdout
        );
    }
    let untouched = r#"SELECT count(*) FROM archive_document
        WHERE "documentName" = 'x' AND jsondata = 'something else'"#;
    assert_eq!(world.count(untouched).await, 2);
    let equal = r#"SELECT count(*) FROM archive_document WHERE "archiveId" = 'equal'"#;
    assert_eq!(world.count(equal).await, 1, "it counts as copied");
    let look = async || {
        Checker::new(&world.database.pool)
            .local_dir(&dir)
            .check(world.deployment.expected())
            .await
    };
    look().await.expect_nothing_lost();
    world.remove("other", "x").await;
    world.remove("both", "x").await;
    world.resume("1").await.expect_code(0);
    look().await.expect_all_at("db", 4);
}
