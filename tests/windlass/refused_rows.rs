//! Rows that the database refuses, swallows or makes something else of: each fails alone, with the
//! database's own words, and in nobody's way.

use std::time::Duration;

use crate::sqlite;
use crate::support::counting_proxy::Fault;
use crate::support::deployment::DocumentKey;
use crate::world::{World, end_the_locks_session, seeded, until};

fn ids(keys: impl Iterator<Item = DocumentKey>) -> Vec<String> {
    keys.map(|key| key.id).collect()
}

fn some_ids(world: &World, count: usize) -> Vec<String> {
    let every = world.deployment.expected().len() / count;
    ids(world.deployment.expected().keys().step_by(every).cloned())
}

/// Each failure's phase and words, by the id that it is about.
fn failure<'r>(report: &'r serde_json::Value, id: &str) -> (&'r str, &'r str) {
    let failures = report["failures"].as_array().expect("a list");
    let found = failures
        .iter()
        .find(|failure| failure["object"].as_str().expect("a key").contains(id))
        .unwrap_or_else(|| panic!("no failure of {id}: {failures:?}"));
    (
        found["phase"].as_str().expect("a phase"),
        found["error"].as_str().expect("words"),
    )
}

/// A trigger for each row of archive_metadata, with a branch for each of these ids.
fn trigger(branches: &[(&str, &str)]) -> String {
    let branches = branches.iter().map(|(id, action)| {
        format!(
            r#"IF NEW."archiveId" = '{id}' AND OLD.content_url LIKE 'db:%' THEN {action} END IF;"#
        )
    });
    format!(
        "CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {} RETURN NEW; END $$;
         CREATE TRIGGER audit BEFORE UPDATE ON archive_metadata FOR EACH ROW EXECUTE PROCEDURE audit();",
        branches.collect::<String>()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_the_database_refuses_fail_alone_with_its_words() {
    let world = seeded(160).await;
    let bad = some_ids(&world, 8);
    let [
        raised,
        as_right,
        swallowed,
        elsewhere,
        gone,
        checked,
        late,
        unmirrored,
        ..,
    ] = bad.as_slice()
    else {
        panic!("eight documents")
    };
    // windlass's own tables are made by the first look.
    world.make_tables().await;
    world
        .sql(&trigger(&[
            (raised, "RAISE EXCEPTION 'auditor says no';"),
            (
                as_right,
                "RAISE EXCEPTION 'not yours' USING ERRCODE = 'insufficient_privilege';",
            ),
            (swallowed, "RETURN NULL;"),
            (elsewhere, "NEW.content_url = NEW.content_url || '~';"),
            (gone, r#"NEW."documentName" = 'renamed';"#),
        ]))
        .await;
    world
        .sql(&format!(
            r#"ALTER TABLE archive_metadata ADD CONSTRAINT stays_put
                   CHECK ("archiveId" <> '{checked}' OR content_url LIKE 'db:%');
               CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS
                   $$ BEGIN RAISE EXCEPTION 'too late'; END $$;
               CREATE CONSTRAINT TRIGGER late AFTER UPDATE ON archive_metadata
                   DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
                   WHEN (OLD."archiveId" = '{late}') EXECUTE PROCEDURE late();
               CREATE FUNCTION unmarked() RETURNS trigger LANGUAGE plpgsql AS
                   $$ BEGIN RETURN NULL; END $$;
               CREATE TRIGGER unmarked BEFORE UPDATE ON windlass_objects FOR EACH ROW
                   WHEN (NEW.archive_id = '{unmirrored}' AND NEW.phase = 'committed')
                   EXECUTE PROCEDURE unmarked();"#
        ))
        .await;
    let report = world.migrate(&["--json"]).await.expect_code(3).json();
    assert_eq!(
        (&report["committed"], &report["failed"]),
        (&152.into(), &8.into()),
        "{report:#}"
    );
    let unmade = "the database accepted the update but did not make it (a trigger?)";
    for (id, words) in [
        (raised, &["auditor says no", "audit()"][..]),
        (as_right, &["not yours"]),
        (swallowed, &[unmade, "archive_metadata"]),
        (elsewhere, &["makes something else", "content_url"]),
        (gone, &["makes something else", "gone from its key"]),
        (checked, &["stays_put"]),
        (late, &["too late", "late()"]),
        (unmirrored, &[unmade, "windlass_objects"]),
    ] {
        let (phase, error) = failure(&report, id);
        assert_eq!(phase, "verified", "{error}");
        for word in words {
            assert!(error.contains(word), "{word:?} in {error:?}");
        }
    }
    world.expect_every_row_whole().await;
    let still = "SELECT count(*) FROM archive_metadata WHERE content_url LIKE 'db://%'";
    assert_eq!(world.count(still).await, 8);
    let task = world.task().await;
    world.program.expect_journal_verified(&task).await;
    let again = world.resume(&task).await.expect_code(3);
    assert!(again.stdout.contains("failed 8"), "{}", again.stdout);
    world
        .sql(
            "DROP FUNCTION audit CASCADE; DROP FUNCTION late CASCADE;
             DROP FUNCTION unmarked CASCADE;
             ALTER TABLE archive_metadata DROP CONSTRAINT stays_put",
        )
        .await;
    world.resume(&task).await.expect_code(0);
    world.expect_moved_and_sound().await;
}

/// Through `delete-source` and back again, with `journal verify` after each: what was moved must
/// come back though a trigger has its own idea of when it did.
async fn there_and_back_with_its_own_times(trigger: &str) {
    let world = seeded(24).await;
    world.sql(trigger).await;
    let verify = async |task: &str| {
        let verify = ["journal", "verify", task];
        world.program.run(&verify).await.expect_code(0);
    };
    let done = world.migrate(&["--nodelete"]).await.expect_code(0);
    assert!(done.stderr.contains("sets last_updated"), "{}", done.stderr);
    verify("1").await;
    let follow = async |command: &str| {
        let follow = [command, "1", "--dontask"];
        world.program.run(&follow).await.expect_code(0).stdout
    };
    let deleted = follow("delete-source").await;
    assert!(deleted.contains("24"), "{deleted}");
    verify("2").await;
    world.look().await.expect_all_at("s3", 24);
    let back = follow("reverse").await;
    assert!(back.contains("committed 24"), "{back}");
    for task in ["1", "3"] {
        verify(task).await;
    }
    world.look().await.expect_all_at("db", 24);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trigger_that_keeps_the_time_before_the_update_is_taken_over() {
    there_and_back_with_its_own_times(
        "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             NEW.last_updated = 1900000000 + (random() * 1000)::int; RETURN NEW; END $$;
         CREATE TRIGGER touch BEFORE UPDATE ON archive_metadata FOR EACH ROW
             EXECUTE PROCEDURE touch();",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn so_is_one_that_keeps_it_after_the_update() {
    there_and_back_with_its_own_times(
        r#"CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             UPDATE archive_metadata SET last_updated = 1900000000
              WHERE "archiveId" = NEW."archiveId" AND bucket = NEW.bucket;
             RETURN NULL; END $$;
           CREATE CONSTRAINT TRIGGER touch AFTER UPDATE ON archive_metadata
               DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
               WHEN (NEW.last_updated <> 1900000000) EXECUTE PROCEDURE touch();"#,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sources_that_the_database_does_not_delete_are_kept_alone() {
    let world = seeded(80).await;
    let [raised, swallowed]: [String; 2] = some_ids(&world, 2).try_into().expect("two documents");
    world
        .sql(&format!(
            r#"CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                   IF OLD."archiveId" = '{raised}' THEN RAISE EXCEPTION 'under legal hold'; END IF;
                   IF OLD."archiveId" = '{swallowed}' THEN RETURN NULL; END IF;
                   RETURN OLD; END $$;
               CREATE TRIGGER keep BEFORE DELETE ON archive_document FOR EACH ROW
                   EXECUTE PROCEDURE keep();"#
        ))
        .await;
    let report = world.migrate(&["--json"]).await.expect_code(3).json();
    assert_eq!(
        (&report["committed"], &report["source_deleted"]),
        (&80.into(), &78.into()),
        "{report:#}"
    );
    for (id, word) in [
        (&raised, "under legal hold"),
        (&swallowed, "accepted the delete but did not make it"),
    ] {
        let (phase, error) = failure(&report, id);
        assert_eq!(phase, "committed", "{error}");
        assert!(error.contains(word), "{error}");
    }
    let left = "SELECT count(*) FROM archive_document";
    assert_eq!(world.count(left).await, 2);
    world.sql("DROP FUNCTION keep CASCADE").await;
    world.resume(&world.task().await).await.expect_code(0);
    world.expect_moved_and_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_cannot_be_read_fails_alone() {
    let world = seeded(80).await;
    let bad = some_ids(&world, 1).remove(0);
    // Behind a view, since a damaged page can't be made to order.
    world
        .sql(&format!(
            r#"ALTER TABLE archive_document RENAME TO documents;
               CREATE VIEW archive_document AS
                   SELECT bucket, "archiveId", "userId", "documentName", created_at, last_updated,
                          record_state_key, record_state_val,
                          CASE WHEN "archiveId" = '{bad}' THEN (1 / (length(jsondata) - length(jsondata)))::text
                               ELSE jsondata END AS jsondata, b64_encoded
                     FROM documents;
               CREATE FUNCTION through() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                   DELETE FROM documents WHERE "archiveId" = OLD."archiveId"
                      AND bucket = OLD.bucket AND "userId" = OLD."userId";
                   RETURN OLD; END $$;
               CREATE TRIGGER through INSTEAD OF INSERT OR UPDATE OR DELETE ON archive_document
                   FOR EACH ROW EXECUTE PROCEDURE through();"#
        ))
        .await;
    let report = world.migrate(&["--json"]).await.expect_code(3).json();
    assert_eq!(
        (&report["committed"], &report["failed"]),
        (&79.into(), &1.into()),
        "{report:#}"
    );
    let (phase, error) = failure(&report, &bad);
    assert_eq!(phase, "pending");
    assert!(error.contains("division by zero"), "{error}");
    assert_eq!(world.count("SELECT count(*) FROM documents").await, 1);
    world
        .sql(
            "DROP VIEW archive_document; DROP FUNCTION through;
             ALTER TABLE documents RENAME TO archive_document",
        )
        .await;
    world.resume(&world.task().await).await.expect_code(0);
    world.expect_moved_and_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_sqlite_rows_fail_alone_just_as_well() {
    let world = sqlite::World::new(60).await;
    let keys = world.deployment.expected().keys().step_by(10).cloned();
    let bad = ids(keys);
    let [aborted, ended, ignored, elsewhere, held, kept] = bad.as_slice() else {
        panic!("six documents")
    };
    let when = |id: &str, action: &str| {
        format!(
            r#"CREATE TRIGGER "t {id}" BEFORE UPDATE ON archive_metadata
                   WHEN NEW."archiveId" = '{id}' AND OLD.content_url LIKE 'db:%'
               BEGIN {action}; END;"#
        )
    };
    let tables = world.deployment.tables();
    for statement in [
        when(aborted, "SELECT RAISE(ABORT, 'auditor says no')"),
        when(ended, "SELECT RAISE(ROLLBACK, 'all of it undone')"),
        when(ignored, "SELECT RAISE(IGNORE)"),
        format!(
            r#"CREATE TRIGGER elsewhere AFTER UPDATE OF content_url ON archive_metadata
                   WHEN NEW."archiveId" = '{elsewhere}'
               BEGIN UPDATE archive_metadata SET digest = 'x' WHERE "archiveId" = '{elsewhere}'; END;"#
        ),
        r#"CREATE TRIGGER touch AFTER UPDATE OF content_url ON archive_metadata
           BEGIN UPDATE archive_metadata SET last_updated = 1900000000
                  WHERE "archiveId" = NEW."archiveId" AND bucket = NEW.bucket; END;"#
            .to_owned(),
        format!(
            r#"CREATE TRIGGER held BEFORE DELETE ON archive_document
                   WHEN OLD."archiveId" = '{held}'
               BEGIN SELECT RAISE(ROLLBACK, 'under legal hold'); END;"#
        ),
        format!(
            r#"CREATE TRIGGER kept BEFORE DELETE ON archive_document
                   WHEN OLD."archiveId" = '{kept}' BEGIN SELECT RAISE(IGNORE); END;"#
        ),
    ] {
        tables.execute(&statement).await;
    }
    let report = world.migrate("db", "localfs", &["--json"]).await;
    let report = report.expect_code(3).json();
    assert_eq!(
        (
            &report["committed"],
            &report["failed"],
            &report["source_deleted"]
        ),
        (&56.into(), &4.into(), &54.into()),
        "{report:#}"
    );
    for (id, at, word) in [
        (aborted, "verified", "auditor says no"),
        (ended, "verified", "all of it undone"),
        (ignored, "verified", "accepted the update"),
        (elsewhere, "verified", "digest"),
        (held, "committed", "under legal hold"),
        (kept, "committed", "accepted the delete"),
    ] {
        let (phase, error) = failure(&report, id);
        assert_eq!(phase, at, "{error}");
        assert!(error.contains(word), "{word:?} in {error:?}");
    }
    world.look().await.expect_nothing_lost();
    world.program.expect_journal_verified("1").await;
    for id in [aborted, ended, ignored] {
        tables.execute(&format!(r#"DROP TRIGGER "t {id}""#)).await;
    }
    for name in ["elsewhere", "held", "kept"] {
        tables.execute(&format!("DROP TRIGGER {name}")).await;
    }
    world.program.run(&["resume", "1"]).await.expect_code(0);
    world.expect_all_at("file").await;
    world.program.expect_journal_verified("1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_of_the_mirror_that_is_refused_holds_nobody_else_up() {
    let world = seeded(120).await;
    let bad = some_ids(&world, 1).remove(0);
    world.make_tables().await;
    world
        .sql(&format!(
            r#"CREATE FUNCTION frozen() RETURNS trigger LANGUAGE plpgsql AS
                   $$ BEGIN RAISE EXCEPTION 'not this one'; END $$;
               CREATE TRIGGER frozen BEFORE UPDATE ON windlass_objects FOR EACH ROW
                   WHEN (NEW.archive_id = '{bad}') EXECUTE PROCEDURE frozen();"#
        ))
        .await;
    let report = world.migrate(&["--json"]).await.expect_code(3).json();
    assert_eq!(
        (
            &report["committed"],
            &report["source_deleted"],
            &report["failed"]
        ),
        (&119.into(), &119.into(), &1.into()),
        "{report:#}"
    );
    let (_, error) = failure(&report, &bad);
    assert!(
        error.contains("not this one") && error.contains("windlass_objects"),
        "{error}"
    );
    world.expect_every_row_whole().await;
    let task = world.task().await;
    // The journal has it all; the mirror can't be brought up to it before that is mended.
    let refused = world.resume(&task).await.expect_code(2);
    assert!(
        refused.stderr.contains("not this one"),
        "{}",
        refused.stderr
    );
    world.sql("DROP FUNCTION frozen CASCADE").await;
    world.resume(&task).await.expect_code(0);
    world.expect_moved_and_sound().await;
}

/// Its commit is in the database and in the journal, and the mirror is not let know that it is: a new
/// lease must not take it for one whose answer was lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_the_mirror_may_not_show_is_journaled_once() {
    let world = seeded(120).await;
    // The first to be taken.
    let bad: String = sqlx::query_scalar(r#"SELECT "archiveId" FROM archive_metadata LIMIT 1"#)
        .fetch_one(&world.database.pool)
        .await
        .expect("a row");
    world.make_tables().await;
    world
        .sql(&format!(
            r#"CREATE FUNCTION unshown() RETURNS trigger LANGUAGE plpgsql AS
                   $$ BEGIN RAISE EXCEPTION 'not this one'; END $$;
               CREATE TRIGGER unshown BEFORE UPDATE ON windlass_objects FOR EACH ROW
                   WHEN (NEW.archive_id = '{bad}' AND NEW.journaled AND OLD.phase = 'committed')
                   EXECUTE PROCEDURE unshown();"#
        ))
        .await;
    let unshown = format!(
        "SELECT count(*) FROM windlass_objects
          WHERE archive_id = '{bad}' AND phase = 'committed' AND NOT journaled"
    );
    let pause = Duration::from_millis(100);
    world.proxy.set_fault(Fault::Stall(pause));
    let mut running = world.spawn(&["--concurrency", "4"]);
    until("the commit is there", async || {
        running.has_ended() || world.count(&unshown).await == 1
    })
    .await;
    // The mirror has tried by now.
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert!(
        end_the_locks_session(&world).await,
        "the run ended too soon"
    );
    world.proxy.set_fault(Fault::None);
    running.wait().await.expect_code(3);
    world.sql("DROP FUNCTION unshown CASCADE").await;
    world.resume(&world.task().await).await.expect_code(0);
    let journal = world.expect_moved_and_sound().await;
    assert!(journal.count("resumed") >= 2, "a new lease, and the resume");
    assert_eq!(journal.count("committed"), 120);
}
