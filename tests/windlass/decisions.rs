//! Moments of decision: what a person is shown before the question, and told at the end.

use std::io::Write as _;
use std::path::Path;

use crate::sqlite;
use crate::support::deployment::{Compression, StoreSpec};
use crate::support::program::Program;
use crate::world::{seeded, until};

const QUESTION: &str = "proceed? (y/N)";

#[tokio::test(flavor = "multi_thread")]
async fn the_plan_stands_before_the_question_and_nothing_is_held_meanwhile() {
    let mut world = seeded(6).await;
    let args = &world.migrate_args()[..3];
    let (running, mut stdin) = world.program.spawn_and_talk(args);
    until("it asks", async || running.stderr().contains(QUESTION)).await;
    let shown = running.stderr();
    let (plan, _) = shown.split_once("Performing").expect("the question");
    let bucket = format!("s3://{}/", world.bucket);
    for word in [
        "db://",
        &bucket,
        "driver db",
        "driver s3",
        "object_store",
        &world.from.display().to_string(),
        &world.to.display().to_string(),
        "6 documents",
        "analysis_data: 2",
        "each source is deleted once its copy has been read back",
    ] {
        assert!(plan.contains(word), "no {word:?} in: {plan}");
    }
    // A person may think for as long as they like: others are not kept out, nothing is left open.
    let locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = 2
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    assert_eq!(world.count(locks).await, 0);
    let open = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND xact_start IS NOT NULL AND pid <> pg_backend_pid()";
    until("no transaction is open", async || {
        world.count(open).await == 0
    })
    .await;
    world
        .deployment
        .add_db_document("admin", "policy_bundles", "late", b"{}")
        .await;
    stdin.write_all(b"yes\n").expect("it listens");
    let done = running.wait().await.expect_code(0);
    let changed = "THE PLAN HAS CHANGED since it was shown: 6 documents";
    assert!(done.stderr.contains(changed), "{}", done.stderr);
    // Neither the plan that was shown nor a dry run takes a number that a task could have had.
    assert!(
        done.stdout.starts_with("task 1 complete"),
        "{}",
        done.stdout
    );
    world.expect_moved_and_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_anybody_to_ask_nothing_is_done() {
    let world = sqlite::World::new(3).await;
    world
        .migrate("db", "localfs", &["--nodelete"])
        .await
        .expect_code(0);
    let migrate = world.args("localfs", "db2", &[]);
    let commands = [
        migrate[..3].to_vec(),
        vec!["reverse".into(), "1".into()],
        vec!["delete-source".into(), "1".into()],
    ];
    for command in commands {
        let refused = world.program.run(&command).await.expect_code(2);
        assert!(refused.stderr.contains("--dontask"), "{}", refused.stderr);
        assert_eq!(refused.stdout, "");
        let no = world.program.run_with_input(&command, "no\n").await;
        assert!(no.expect_code(0).stdout.contains("nothing was done"));
    }
    assert_eq!(world.task().await, 1);
    world.expect_all_at_twice().await;
    // What is wrong with the files is told before that.
    let wrong = ["migrate", "nowhere.yaml", &migrate[2]];
    let wrong = world.program.run(&wrong).await.expect_code(2);
    assert!(wrong.stderr.contains("nowhere.yaml"), "{}", wrong.stderr);
}

impl sqlite::World {
    async fn expect_all_at_twice(&self) {
        let seen = self.look().await;
        seen.expect_nothing_lost();
        assert_eq!(seen.doubled.len(), self.deployment.expected().len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reverse_shows_its_plan_before_the_question() {
    let world = sqlite::World::new(4).await;
    world.migrate("db", "localfs", &[]).await.expect_code(0);
    let asked = ["reverse", "1"];
    let asked = world.program.run_with_input(&asked, "y\n").await;
    let asked = asked.expect_code(0);
    let (plan, _) = asked.stderr.split_once("Performing").expect("the question");
    let store = world.program.home().join("store").display().to_string();
    for word in [
        "back from",
        &store,
        "driver localfs",
        "db.yaml",
        "4 documents",
        "each copy is deleted once the row has got back what it was",
    ] {
        assert!(plan.contains(word), "no {word:?} in: {plan}");
    }
    world.expect_all_at("db").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_files_of_different_databases_are_told_loudly() {
    let world = sqlite::World::new(2).await;
    let home = world.program.home();
    let text = std::fs::read_to_string(home.join("localfs.yaml")).expect("the configuration");
    let other = text.replace("anchore.db", "other.db");
    assert_ne!(text, other);
    std::fs::write(home.join("other.yaml"), other).expect("written");
    let warning = "WARNING: the two configurations name different databases";
    for more in [&["--dry-run"][..], &[]] {
        let done = world.migrate("db", "other", more).await.expect_code(0);
        assert!(done.stderr.contains(warning), "{}", done.stderr);
        assert!(done.stderr.contains("other.db"), "{}", done.stderr);
    }
    let alike = world.migrate("localfs", "db2", &[]).await.expect_code(0);
    assert!(!alike.stderr.contains("WARNING"), "{}", alike.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_word_names_the_section_to_change_and_keeps_its_secrets() {
    let mut world = seeded(3).await;
    let text = std::fs::read_to_string(&world.to).expect("the configuration");
    let spec = world.s3_spec().await;
    let written = format!("access_key: \"{}\"", spec.access_key);
    assert!(text.contains(&written));
    let text = text.replace(&written, "access_key: ${ANCHORE_ACCESS}");
    std::fs::write(&world.to, text).expect("written");
    world.program = std::mem::replace(&mut world.program, Program::new());
    let args = world.migrate_args();
    let environment = [("ANCHORE_ACCESS", spec.access_key.as_str())];
    let done = world.program.run_with(&args, &environment).await;
    let done = done.expect_code(0);
    let must = format!(
        "services.catalog.object_store of {} must be as in {}",
        world.from.display(),
        world.to.display()
    );
    let section = format!(
        "    object_store:
      compression:
        enabled: true
        min_size_kbytes: 1
      storage_driver:
        name: s3
        config:
          access_key: ${{ANCHORE_ACCESS}}
          secret_key: '***'
          url: {}
          region: null
          bucket: {}
          create_bucket: false
",
        spec.url, spec.bucket
    );
    assert!(done.stdout.contains(&must), "{}", done.stdout);
    assert!(done.stdout.contains(&section), "{}", done.stdout);
    world.expect_no_secret(&done, &spec.secret_key);
    let from = world.from.display();
    let last = format!("next: change {from} so, then start Anchore's services");
    assert_eq!(done.stdout.trim_end().lines().last(), Some(&*last));
    let reads = [
        format!(
            "with {from} Anchore cannot read 3 of 3 documents: 3 in s3://{}/",
            world.bucket
        ),
        format!("with {} Anchore reads all 3 documents", world.to.display()),
    ];
    for words in reads {
        assert!(
            done.stdout.contains(&words),
            "no {words} in {}",
            done.stdout
        );
    }
    assert!(done.stdout.lines().count() <= 23, "{}", done.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_part_it_is_said_what_neither_file_reads() {
    let world = sqlite::World::new(12).await;
    let (db, localfs) = (config(&world, "db"), config(&world, "localfs"));
    let all = world.deployment.expected().len();
    let bucket = world.a_document().bucket;
    let keys = world.deployment.expected().keys();
    let some = keys.filter(|key| key.bucket == bucket).count();
    assert!(some > 0 && some < all);
    let part = world.migrate("db", "localfs", &["--bucket", &bucket]).await;
    let part = part.expect_code(0).stdout;
    let rest = all - some;
    let store = world.program.home().join("store").display().to_string();
    for words in [
        format!(
            "with {db} Anchore cannot read {some} of {all} documents: {some} in file://{store}"
        ),
        format!("with {localfs} Anchore cannot read {rest} of {all} documents: {rest} in db://"),
        "before Anchore starts, bring the documents together".to_owned(),
    ] {
        assert!(part.contains(&words), "no {words} in: {part}");
    }
    assert!(!part.contains("then start"), "{part}");
    // A document that fails is counted, too, and so is what a reverse has left.
    let (key, text) = world.damage_one_outside(&bucket).await;
    let failed = world.migrate("db", "localfs", &["--json"]).await;
    let failed = failed.expect_code(3).json();
    assert_eq!(failed["anchore_reads"][1]["unreadable"], 1, "{failed}");
    assert_eq!(failed["anchore_reads"][0]["unreadable"], all as u64 - 1);
    world.set_text(&key, &text).await;
    world.program.run(&["resume", "2"]).await.expect_code(0);
    let back = ["reverse", "1", "--dontask"];
    let back = world.program.run(&back).await.expect_code(0).stdout;
    let words = format!("with {db} Anchore cannot read {rest} of {all} documents");
    assert!(back.contains(&words), "no {words} in: {back}");
    let back = ["reverse", "2", "--dontask"];
    let back = world.program.run(&back).await.expect_code(0).stdout;
    let words = format!("with {db} Anchore reads all {all} documents");
    assert!(back.contains(&words), "no {words} in: {back}");
    let again = format!(
        "services.catalog.object_store of Anchore's config.yaml must be, again, as in {db}"
    );
    assert!(back.contains(&again), "{back}");
    assert!(back.contains("\n        name: db\n"), "{back}");
}

/// The window closes with two documents left (docs/operations.md): the services start with the new file, and
/// what is left is accepted beside them, or moved in the next window.
#[tokio::test(flavor = "multi_thread")]
async fn with_a_few_left_the_new_file_reads_the_most_and_the_rest_is_moved_later() {
    let world = sqlite::World::new(20).await;
    let keys = world.deployment.expected().keys();
    let two: Vec<_> = keys.take(2).cloned().collect();
    let [mended, left]: [_; 2] = two.try_into().expect("two");
    for key in [&mended, &left] {
        world.set_text(key, "damaged").await;
    }
    let ended = world.migrate("db", "localfs", &[]).await;
    let ended = ended.expect_code(3).stdout;
    let (db, localfs) = (config(&world, "db"), config(&world, "localfs"));
    for words in [
        format!("with {db} Anchore cannot read 18 of 20 documents: 18 in file://"),
        format!("with {localfs} Anchore cannot read 2 of 20 documents: 2 in db://"),
    ] {
        assert!(ended.contains(&words), "no {words} in: {ended}");
    }
    assert!(
        !ended.contains("must be as in"),
        "only a complete task says so: {ended}"
    );
    let tables = world.deployment.tables();
    let service = "INSERT INTO services (hostid, servicename, status, status_message, heartbeat)
        VALUES ('host-1', 'catalog', true, 'available', strftime('%s', 'now'))";
    tables.execute(service).await;
    let object = format!("{}/{}/{}", left.user, left.bucket, left.id);
    let accept = ["accept", "1", "--object", &object];
    world.program.run(&accept).await.expect_code(0);
    tables.execute("UPDATE services SET heartbeat = 0").await;
    let (text, _) = crate::support::deployment::stored_text(&world.deployment.expected()[&mended]);
    world.set_text(&mended, &text).await;
    let done = world.program.run(&["resume", "1"]).await.expect_code(0);
    let planned = "planned 20 = committed 19 + skipped 0 + failed 0 + accepted 1 + remaining 0";
    let reads = format!("with {localfs} Anchore cannot read 1 of 20 documents: 1 in db://");
    for words in [planned, reads.as_str()] {
        assert!(
            done.stdout.contains(words),
            "no {words} in: {}",
            done.stdout
        );
    }
    // What was accepted is no reason to bring anything together.
    let next = done.stdout.split("next: ").nth(1).unwrap_or_default();
    assert!(next.contains("start Anchore's services"), "{}", done.stdout);
    assert!(!next.contains("bring the documents together"), "{next}");
}

impl sqlite::World {
    /// Damages a document of another bucket than this one, and says how to repair it.
    async fn damage_one_outside(
        &self,
        bucket: &str,
    ) -> (crate::support::deployment::DocumentKey, String) {
        let mut keys = self.deployment.expected().keys();
        let key = keys.find(|key| key.bucket != bucket).expect("one").clone();
        let content = &self.deployment.expected()[&key];
        let (text, _) = crate::support::deployment::stored_text(content);
        self.set_text(&key, "damaged").await;
        (key, text)
    }
}

fn config(world: &sqlite::World, name: &str) -> String {
    let path = world.program.home().join(format!("{name}.yaml"));
    path.display().to_string()
}

/// Anchore reads archived analyses through a section of their own, and everything else through the
/// other: what was moved into the wrong one is counted.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_analysis_archive_cannot_read_is_counted() {
    let mut world = sqlite::World::new(5).await;
    let home = world.program.home().to_owned();
    for n in 0..3 {
        let id = format!("archived{n}");
        let deployment = &mut world.deployment;
        deployment
            .add_db_document("admin", "analysis_archive", &id, b"{}")
            .await;
    }
    let compression = Compression::default();
    let archive = StoreSpec::LocalFs {
        dir: home.join("store"),
        compression,
    };
    let db = StoreSpec::Db { compression };
    let split = world
        .deployment
        .write_split_config(&home, "split", db, Some(archive));
    let split = split.display();
    let chosen = ["--to-analysis-archive", "--bucket", "analysis_archive"];
    let done = world.migrate("db", "split", &chosen).await.expect_code(0);
    let words = format!("with {split} Anchore reads all 8 documents");
    assert!(done.stdout.contains(&words), "{}", done.stdout);
    let words = format!(
        "services.catalog.analysis_archive of {} must be as in {split}",
        config(&world, "db")
    );
    assert!(done.stdout.contains(&words), "{}", done.stdout);
    let all = ["--to-analysis-archive"];
    let done = world.migrate("db", "split", &all).await.expect_code(0);
    let words = format!("with {split} Anchore cannot read 5 of 8 documents");
    assert!(done.stdout.contains(&words), "{}", done.stdout);
    assert!(
        done.stdout.contains("(object_store is db://)"),
        "{}",
        done.stdout
    );
    // And back into one: the section must go, else it would be asked for what has left it.
    let back = ["--from-analysis-archive"];
    let done = world.migrate("split", "db", &back).await.expect_code(0);
    let words = format!("services.catalog.analysis_archive of {split} must go");
    assert!(done.stdout.contains(&words), "{}", done.stdout);
    assert!(!done.stdout.contains("must be as in"), "{}", done.stdout);
    let words = format!("with {} Anchore reads all 8", config(&world, "db"));
    assert!(done.stdout.contains(&words), "{}", done.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reverse_of_what_has_gone_on_says_so_and_makes_no_task() {
    let world = sqlite::World::new(5).await;
    world.migrate("db", "localfs", &[]).await.expect_code(0);
    world.migrate("localfs", "db2", &[]).await.expect_code(0);
    for input in ["", "y\n"] {
        let mut args = vec!["reverse", "1"];
        if input.is_empty() {
            args.push("--dontask");
        }
        let refused = world.program.run_with_input(&args, input).await;
        let refused = refused.expect_code(3);
        let said = &refused.stdout;
        assert!(
            said.contains("nothing of task 1 can be taken back"),
            "{said}"
        );
        assert!(said.trim_end().ends_with("windlass reverse 2"), "{said}");
        assert!(
            !said.contains("complete") && !said.contains("next:"),
            "{said}"
        );
        assert!(!refused.stderr.contains(QUESTION), "{}", refused.stderr);
    }
    assert_eq!(world.task().await, 2);
    world.expect_all_at("db2").await;
    for task in ["2", "1"] {
        let back = ["reverse", task, "--dontask"];
        world.program.run(&back).await.expect_code(0);
    }
    world.expect_all_at("db").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_known_databases_are_all_listed() {
    let (one, two) = (sqlite::World::new(2).await, sqlite::World::new(3).await);
    one.migrate("db", "localfs", &[]).await.expect_code(0);
    // The same machine, another deployment.
    let at = |world: &sqlite::World, name: &str| config(world, name);
    let args = [
        "migrate",
        &at(&two, "db"),
        &at(&two, "localfs"),
        "--dontask",
    ];
    one.program.run(&args).await.expect_code(0);
    let listed = one.program.run(&["list-migrations"]).await.expect_code(0);
    for world in [&one, &two] {
        let database = world.program.home().join("anchore.db");
        let heading = format!("sqlite:///{}:\n", database.display());
        assert!(listed.stdout.contains(&heading), "{}", listed.stdout);
    }
    let both = ["list-migrations", "--json"];
    let both = one.program.run(&both).await.expect_code(0).json();
    let databases = both["databases"].as_array().expect("a list");
    let mut counts: Vec<_> = databases
        .iter()
        .map(|listing| listing["migrations"][0]["archive_documents_migrated"].as_i64())
        .collect();
    counts.sort_unstable();
    assert_eq!(counts, [Some(2), Some(3)]);
    // One that can't be asked keeps none of the others from being listed.
    remove(&two.program.home().join("anchore.db"));
    let rest = one.program.run(&["list-migrations"]).await.expect_code(2);
    assert!(rest.stdout.contains("cannot be listed"), "{}", rest.stdout);
    assert!(rest.stdout.contains("complete"), "{}", rest.stdout);
}

fn remove(database: &Path) {
    std::fs::remove_file(database).expect("removed");
}

#[tokio::test(flavor = "multi_thread")]
async fn that_a_task_is_gone_on_with_is_said_before_the_question() {
    let world = sqlite::World::new(120).await;
    world.kill_when_moved("db", "localfs", 20).await;
    let args = world.args("db", "localfs", &[]);
    for (answer, code) in [("n\n", 0), ("yes\n", 0)] {
        let asked = world.program.run_with_input(&args[..3], answer).await;
        let asked = asked.expect_code(code);
        let (plan, _) = asked.stderr.split_once("Performing").expect("the question");
        assert!(plan.contains("task 1 is this very migration"), "{plan}");
        assert!(!asked.stderr.contains("HAS CHANGED"), "{}", asked.stderr);
    }
    assert_eq!(world.task().await, 1);
    world.expect_all_at("file").await;
}
