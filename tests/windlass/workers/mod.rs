//! Several workers on one task, each on a machine of its own: killed, stopped, cut off, and taken over.

mod accepted;
mod history;
mod staged;
mod storm;

use std::time::Duration;

use sqlx::Connection as _;
use sqlx::postgres::PgConnection;
use windlass::crash::POINTS_OF_WORKERS;

use crate::support::counting_proxy::Fault;
use crate::support::program::{Program, Running};
use crate::world::{World, seeded, until};

/// Objects in a shard: few, so that a small task has many.
const SHARD: [(&str, &str); 1] = [("FAILPOINTS", "shard-objects=return(10)")];

/// Objects in flight at once in each worker.
const IN_FLIGHT: u64 = 4;

/// A task that waits for its workers, and machines that know nothing of it but its database.
struct Workers {
    world: World,
    task: String,
    url: String,
    documents: usize,
}

impl Workers {
    async fn planned(documents: usize) -> Self {
        Self::planned_with(documents, &[]).await
    }

    async fn planned_with(documents: usize, more: &[&str]) -> Self {
        Self::planned_in(seeded(documents).await, documents, more).await
    }

    async fn planned_in(world: World, documents: usize, more: &[&str]) -> Self {
        let mut args = world.migrate_args();
        args.push("--plan-only".into());
        args.extend(more.iter().map(|arg| (*arg).to_owned()));
        let planned = world.program.run_with(&args, &SHARD).await.expect_code(0);
        let task = world.task().await;
        let line = format!("worker {task}");
        assert!(planned.stdout.contains(&line), "{}", planned.stdout);
        let url = world.direct_url();
        Self {
            world,
            task,
            url,
            documents,
        }
    }

    fn start(&self, machine: &Program, command: &str) -> Running {
        machine.spawn(&self.args(command))
    }

    fn args(&self, command: &str) -> Vec<String> {
        let in_flight = IN_FLIGHT.to_string();
        let args = [
            "--db-connect",
            &self.url,
            command,
            &self.task,
            "--concurrency",
            &in_flight,
        ];
        args.map(str::to_owned).into()
    }

    /// Slow enough to be caught in the act.
    fn slow(&self) {
        let pause = Duration::from_millis(20);
        self.world.proxy.set_fault(Fault::Stall(pause));
    }

    async fn until_moved(&self, rows: u64) {
        until("rows have moved", async || self.world.moved().await >= rows).await;
    }

    async fn state(&self) -> String {
        sqlx::query_scalar("SELECT state FROM windlass_tasks WHERE task_id = $1")
            .bind(self.task.parse::<i64>().expect("a number"))
            .fetch_one(&self.world.database.pool)
            .await
            .expect("the task")
    }

    async fn expect_verified(&self, machine: &Program) {
        let verify = ["--db-connect", &self.url, "journal", "verify", &self.task];
        let verified = machine.run(&verify).await;
        // Killed before its first word.
        let is_blank = verified.stdout.contains("it holds no entries")
            || verified.stderr.contains("no checkpoint at");
        if !is_blank {
            let verified = verified.expect_code(0);
            assert!(verified.stdout.contains("fits"), "{}", verified.stdout);
        }
    }

    /// All there, once: every row was swapped in one transaction that counts it.
    async fn expect_all_moved_once(&self) {
        assert_eq!(self.state().await, "complete");
        self.world.look().await.expect_all_at("s3", self.documents);
        assert_eq!(self.world.moved().await, self.documents as u64);
        let documents = self.documents as i32;
        let said = self.world.anchore_says(&self.task).await;
        assert_eq!(said, ("complete".to_owned(), documents, documents));
        let open = "SELECT count(*) FROM windlass_shards WHERE NOT done";
        assert_eq!(self.world.count(open).await, 0);
        let at_end = "SELECT count(*) FROM windlass_objects WHERE phase <> 'source-deleted' OR NOT journaled";
        assert_eq!(self.world.count(at_end).await, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_workers_share_a_task_and_each_object_is_moved_once() {
    let workers = Workers::planned(240).await;
    let (state, moved, _) = workers.world.anchore_says(&workers.task).await;
    assert_eq!((state.as_str(), moved), ("pending", 0));
    workers.slow();
    let machines = [Program::new(), Program::new(), Program::new()];
    let running = machines.each_ref().map(|m| workers.start(m, "worker"));
    workers.until_moved(20).await;
    let connections = "SELECT count(*) FROM pg_stat_activity
         WHERE datname = current_database() AND application_name LIKE 'windlass%'";
    let open = workers.world.count(connections).await;
    assert!(
        (3..=15).contains(&open),
        "{open} connections of three workers"
    );
    workers.world.proxy.set_fault(Fault::None);
    for one in running {
        one.wait().await.expect_code(0);
    }
    workers.expect_all_moved_once().await;
    assert_eq!(workers.world.total_document_puts(), 240);
    let told = "SELECT count(DISTINCT epoch) FROM windlass_objects";
    assert!(workers.world.count(told).await >= 2, "they have shared it");
    for machine in &machines {
        workers.expect_verified(machine).await;
    }
    let [one, two, three] = &machines;
    let proof = workers.expect_one_history(&[one, two, three]).await;
    assert_eq!(proof["adoptions"], serde_json::Value::Null, "{proof:#}");
    let again = workers.start(&machines[0], "worker").wait().await;
    let again = again.expect_code(0);
    assert!(again.stdout.contains("is complete"), "{}", again.stdout);
    // The database tells of all of them, wherever their journals are.
    let report = [
        "--db-connect",
        &workers.url,
        "report",
        &workers.task,
        "-o",
        "-",
    ];
    for machine in [&machines[1], &Program::new()] {
        let page = machine.run(&report).await.expect_code(0).stdout;
        assert!(page.contains("240"), "{page}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_planner_works_along() {
    let world = seeded(60).await;
    let mut args = world.migrate_args();
    args.push("--workers".into());
    let ended = world.program.run_with(&args, &SHARD).await.expect_code(0);
    assert!(ended.stderr.contains("worker "), "{}", ended.stderr);
    world.expect_moved_and_sound().await;
}

/// Ends every connection of a worker's process, as a server does that takes its client for dead.
async fn end_connections(workers: &Workers) {
    workers
        .world
        .sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
              WHERE datname = current_database() AND application_name LIKE 'windlass%'",
        )
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_stood_still_past_its_takeover_changes_nothing_when_it_wakes() {
    let workers = Workers::planned(120).await;
    let (first, second) = (Program::new(), Program::new());
    workers.slow();
    let mut asleep = workers.start(&first, "worker");
    workers.until_moved(8).await;
    asleep.freeze();
    end_connections(&workers).await;
    workers.world.let_time_pass().await;
    workers.world.proxy.set_fault(Fault::None);
    let taken = workers.start(&second, "resume").wait().await.expect_code(0);
    assert!(taken.stderr.contains("took "), "{}", taken.stderr);
    workers.expect_all_moved_once().await;
    let puts = workers.world.total_document_puts();
    let mirrored = "SELECT count(*) FROM windlass_objects WHERE epoch = 1";
    let before = workers.world.count(mirrored).await;
    asleep.go_on();
    let woken = asleep.wait().await;
    assert!(matches!(woken.code, Some(0 | 130)), "{}", woken.stderr);
    assert_eq!(workers.world.count(mirrored).await, before);
    // What it was sending when it was stopped it may send once more: the same bytes.
    let again = workers.world.total_document_puts() - puts;
    assert!(again <= IN_FLIGHT, "{again} writes");
    workers.expect_all_moved_once().await;
    workers.expect_verified(&first).await;
    workers.expect_verified(&second).await;
    let proof = workers.expect_one_history(&[&first, &second]).await;
    assert!(proof["adoptions"].as_u64() > Some(0), "{proof:#}");
    history::expect_deeds_found(&workers, &[&first, &second]).await;
}

/// Whoever took its shards has died at once, and the commits have no entry in the mirror: but its own journal
/// has them, and the deletes behind them.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_wakes_journals_no_commit_of_shards_that_were_taken_from_it() {
    let workers = Workers::planned(120).await;
    let (first, second) = (Program::new(), Program::new());
    workers.slow();
    let mut asleep = workers.start(&first, "worker");
    let is_ahead =
        "SELECT count(*) FROM windlass_objects WHERE phase = 'committed' AND NOT journaled";
    until(
        "sources are gone of which the mirror knows nothing",
        async || {
            asleep.freeze();
            let is_caught = workers.world.count(is_ahead).await > 2 * IN_FLIGHT as i64;
            if !is_caught {
                asleep.go_on();
            }
            is_caught
        },
    )
    .await;
    end_connections(&workers).await;
    workers.world.let_time_pass().await;
    let args = workers.args("resume");
    let crash = [("FAILPOINTS", "takeover-claimed=return")];
    let crashed = second.run_with(&args, &crash).await;
    assert_eq!(crashed.code, None, "{}", crashed.stderr);
    assert!(workers.world.count(is_ahead).await > 0);
    asleep.go_on();
    workers.world.proxy.set_fault(Fault::None);
    let woken = asleep.wait().await;
    assert!(matches!(woken.code, Some(0 | 130)), "{}", woken.stderr);
    workers.world.let_time_pass().await;
    workers.start(&second, "resume").wait().await.expect_code(0);
    workers.expect_all_moved_once().await;
    workers.expect_verified(&first).await;
    workers.expect_one_history(&[&first, &second]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_that_lose_their_sessions_come_back_and_go_on() {
    let workers = Workers::planned(200).await;
    let machines = [Program::new(), Program::new()];
    workers.slow();
    let running = machines.each_ref().map(|m| workers.start(m, "worker"));
    for moved in [8, 40, 80] {
        workers.until_moved(moved).await;
        end_connections(&workers).await;
    }
    workers.world.proxy.set_fault(Fault::None);
    for one in running {
        one.wait().await.expect_code(0);
    }
    workers.expect_all_moved_once().await;
    for machine in &machines {
        workers.expect_verified(machine).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn others_stay_out_while_a_worker_lives_and_come_in_afterwards() {
    let workers = Workers::planned(80).await;
    let machine = Program::new();
    workers.slow();
    let running = workers.start(&machine, "worker");
    workers.until_moved(4).await;
    let mut anchore = PgConnection::connect(&workers.url)
        .await
        .expect("connected");
    let got: bool = sqlx::query_scalar("SELECT pg_try_advisory_lock(2, 1)")
        .fetch_one(&mut anchore)
        .await
        .expect("answered");
    assert!(!got, "Anchore's own tool stays out");
    let reverse = ["reverse", &workers.task, "--dontask"];
    let refused = workers.world.program.run(&reverse).await.expect_code(2);
    for word in ["is at work", "process"] {
        assert!(refused.stderr.contains(word), "{}", refused.stderr);
    }
    let again = workers.world.migrate(&[]).await.expect_code(2);
    assert!(again.stderr.contains("held by"), "{}", again.stderr);
    workers.world.proxy.set_fault(Fault::None);
    running.wait().await.expect_code(0);
    workers.expect_all_moved_once().await;
    workers.world.program.run(&reverse).await.expect_code(0);
    workers.world.look().await.expect_all_at("db", 80);
    let undone = workers.start(&machine, "worker").wait().await;
    assert!(undone.stdout.contains("reversed"), "{}", undone.stdout);
}

/// Sources that were kept go later, by one process; and what several have moved goes back by one.
#[tokio::test(flavor = "multi_thread")]
async fn workers_keep_sources_where_they_are_told_to() {
    let workers = Workers::planned_with(60, &["--nodelete"]).await;
    let machines = [Program::new(), Program::new()];
    let running = machines.each_ref().map(|m| workers.start(m, "worker"));
    for one in running {
        one.wait().await.expect_code(0);
    }
    assert_eq!(workers.state().await, "complete");
    let sources = "SELECT count(*) FROM archive_document";
    assert_eq!(workers.world.count(sources).await, 60);
    let [one, two] = &machines;
    workers.expect_one_history(&[one, two]).await;
    let program = &workers.world.program;
    let delete = ["delete-source", &workers.task, "--dontask"];
    program.run(&delete).await.expect_code(0);
    assert_eq!(workers.world.count(sources).await, 0);
    workers.world.look().await.expect_all_at("s3", 60);
    let reverse = ["reverse", &workers.task, "--dontask"];
    program.run(&reverse).await.expect_code(0);
    workers.world.look().await.expect_all_at("db", 60);
}

/// The way back and the clean-up are tasks like others: several machines share them, too, and one that is
/// killed is taken over.
#[tokio::test(flavor = "multi_thread")]
async fn workers_delete_sources_and_take_a_task_back() {
    let mut workers = Workers::planned_with(80, &["--nodelete"]).await;
    let machines = [Program::new(), Program::new(), Program::new()];
    for one in machines.each_ref().map(|m| workers.start(m, "worker")) {
        one.wait().await.expect_code(0);
    }
    let sources = "SELECT count(*) FROM archive_document";
    let migrated = workers.task.clone();
    for (command, in_database, at) in [("delete-source", 0, "s3"), ("reverse", 80, "db")] {
        let plan = [command, &migrated, "--plan-only", "--dontask"];
        let program = &workers.world.program;
        let planned = program.run_with(&plan, &SHARD).await.expect_code(0);
        workers.task = workers.world.task().await;
        let line = format!("worker {}", workers.task);
        assert!(planned.stdout.contains(&line), "{}", planned.stdout);
        workers.slow();
        let [first, second, third] = machines.each_ref().map(|m| workers.start(m, "worker"));
        let mut killed = first;
        let half = "SELECT count(*) FROM windlass_objects o JOIN windlass_tasks t USING (task_id)
             WHERE t.kind <> 'forward' AND o.phase = 'source-deleted' AND o.task_id =
                   (SELECT max(task_id) FROM windlass_tasks)";
        until("some are done", async || {
            workers.world.count(half).await >= 10
        })
        .await;
        killed.kill();
        killed.wait().await;
        workers.world.proxy.set_fault(Fault::None);
        for one in [second, third] {
            one.wait().await.expect_code(0);
        }
        workers.world.let_time_pass().await;
        let taken = workers.start(&machines[1], "resume").wait().await;
        taken.expect_code(0);
        assert_eq!(workers.world.count(sources).await, in_database);
        workers.world.look().await.expect_all_at(at, 80);
        let [one, two, three] = &machines;
        let export = workers.collect(&[one, two, three]).await;
        let (code, proof) = workers.verify_export(&export).await;
        assert_eq!(code, Some(0), "{proof:#}");
        assert_eq!(
            proof["told_elsewhere"],
            serde_json::Value::Null,
            "{proof:#}"
        );
    }
}

/// Passes are only of a task that copies while services run: what another has skipped, they have not left.
#[tokio::test(flavor = "multi_thread")]
async fn of_passes_nothing_is_said_behind_a_task_without_them() {
    let mut workers = Workers::planned_with(12, &["--nodelete"]).await;
    let machine = Program::new();
    workers
        .world
        .sql(
            r#"UPDATE archive_metadata SET last_updated = 7
                WHERE "archiveId" = (SELECT min("archiveId") FROM archive_metadata)"#,
        )
        .await;
    let migrated = workers.start(&machine, "worker").wait().await;
    assert!(migrated.stdout.contains("skipped"), "{}", migrated.stdout);
    let plan = ["delete-source", &workers.task, "--plan-only", "--dontask"];
    workers.world.program.run(&plan).await.expect_code(0);
    workers.task = workers.world.task().await;
    let deleted = workers.start(&machine, "worker").wait().await;
    let said = deleted.expect_code(0).stderr;
    assert!(!said.contains("passes"), "{said}");
}

/// A commit of another worker has Anchore's row of the task before ours. Whoever joins waits for it
/// with neither in its hands: otherwise the server ends one of the two.
#[tokio::test(flavor = "multi_thread")]
async fn who_joins_does_not_stand_in_the_way_of_a_commit() {
    let workers = Workers::planned(20).await;
    let machine = Program::new();
    let mut connection = PgConnection::connect(&workers.url)
        .await
        .expect("connected");
    let waits = "SELECT count(*) FROM pg_stat_activity
         WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let mut other = connection.begin().await.expect("begun");
    let touched = "UPDATE tasks SET last_updated = last_updated WHERE id = $1";
    let id: i32 = workers.task.parse().expect("a number");
    let touched = sqlx::query(touched).bind(id).execute(&mut *other);
    touched.await.expect("Anchore's row");
    let running = workers.start(&machine, "worker");
    until("the worker waits", async || {
        workers.world.count(waits).await > 0
    })
    .await;
    let counted = "UPDATE windlass_tasks SET moved = moved WHERE task_id = $1";
    let counted = sqlx::query(counted).bind(id).execute(&mut *other);
    counted.await.expect("ours, with nobody in the way");
    other.commit().await.expect("committed");
    running.wait().await.expect_code(0);
    workers.expect_all_moved_once().await;
}

/// What a store asks of one worker it asks of all.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_asks_one_worker_for_less_gets_less_from_all() {
    let workers = Workers::planned(1_500).await;
    let [first, second] = [Program::new(), Program::new()];
    let throttles = Fault::RetryAfter(503, 0.3, 1);
    workers.world.proxy.set_fault(throttles);
    let mut asked = workers.start(&first, "worker");
    let told = "SELECT coalesce(max(throttled), 0) FROM windlass_executors";
    until("it is told", async || workers.world.count(told).await > 0).await;
    asked.kill();
    asked.wait().await;
    workers.world.let_time_pass().await;
    let stall = Duration::from_millis(300);
    workers.world.proxy.set_fault(Fault::Stall(stall));
    let args = ["--db-connect", &workers.url, "worker", &workers.task, "-v"];
    let running = second.spawn(&args);
    workers.until_moved(200).await;
    workers
        .world
        .sql("UPDATE windlass_executors SET throttled = throttled + 1")
        .await;
    workers.until_moved(900).await;
    workers.world.proxy.set_fault(Fault::None);
    let ended = running.wait().await.expect_code(0);
    let asks = ", a store asks for less";
    let said = ended.stderr.lines().filter(|line| line.contains(asks));
    let said: Vec<_> = said.collect();
    // Of what was asked before it came it knows nothing.
    assert_eq!(said.len(), 1, "{said:?}");
    let number = |text: &str| text.trim().parse::<u64>().expect("a number");
    let (fewer, rate) = said[0].split_once(" objects at once").expect("how many");
    let fewer = number(fewer.rsplit(' ').next().expect("the last word"));
    let before = rate.trim_end_matches(asks).rsplit(' ').next();
    assert!(fewer < number(before.expect("the last word")), "{said:?}");
}

/// What may go out is of all together: two take as long as one, but for the moment in which the first does not
/// know of the second.
#[tokio::test(flavor = "multi_thread")]
async fn workers_share_the_bandwidth() {
    const RATE: f64 = 1_500_000.0;
    let mut world = seeded(0).await;
    let sizes = 249_000..250_001;
    world.deployment.seed_db_documents(120, sizes, 7).await;
    let workers = Workers::planned_in(world, 120, &[]).await;
    let machines = [Program::new(), Program::new()];
    let mut args = workers.args("worker");
    args.extend(["-v", "--json", "--bwlimit", "1500KB/s"].map(str::to_owned));
    let started = std::time::Instant::now();
    let running = machines.each_ref().map(|machine| machine.spawn(&args));
    let (mut said, mut sent) = (String::new(), 0);
    for one in running {
        let ended = one.wait().await.expect_code(0);
        sent += ended.json()["copied_bytes"].as_u64().expect("a number");
        said += &ended.stderr;
    }
    let seconds = started.elapsed().as_secs_f64();
    let rate = sent as f64 / seconds;
    println!(
        "{sent} bytes in {seconds:.1} s, {:.2} of the limit",
        rate / RATE
    );
    assert!(said.contains("2 workers share the bandwidth"), "{said}");
    // Without their shares it would be twice as much.
    assert!(rate < RATE * 1.5, "{rate} bytes a second");
    workers.expect_all_moved_once().await;
}

/// Documents that are one object in a store have one worker: the stretches between them are joined.
#[tokio::test(flavor = "multi_thread")]
async fn documents_of_one_object_have_one_worker() {
    let world = seeded(100).await;
    // In the order of the table: the 86th and the 96th are the 101st and the 102nd, too.
    world
        .sql(
            r#"INSERT INTO archive_metadata (bucket, "archiveId", "userId", "documentName", content_url,
                      digest, size, is_compressed)
               SELECT bucket, "archiveId", "userId", 'another name', content_url, digest, size,
                      is_compressed
                 FROM (SELECT *, row_number() OVER (ORDER BY ctid) AS n FROM archive_metadata) m
                WHERE n IN (86, 96) ORDER BY n"#,
        )
        .await;
    let workers = Workers::planned_in(world, 102, &[]).await;
    // Of eleven the last three are one.
    let shards = "SELECT count(*) FROM windlass_shards";
    assert_eq!(workers.world.count(shards).await, 9);
    let apart = "SELECT count(*) FROM (
        SELECT 1 FROM windlass_objects o JOIN windlass_shards s
            ON s.task_id = o.task_id AND o.idx BETWEEN s.first_idx AND s.last_idx
         GROUP BY o.source_url HAVING count(DISTINCT s.shard) > 1) apart";
    assert_eq!(workers.world.count(apart).await, 0);
    let whole = "SELECT count(*) FROM windlass_objects o JOIN windlass_shards s
        ON s.task_id = o.task_id AND o.idx BETWEEN s.first_idx AND s.last_idx";
    assert_eq!(workers.world.count(whole).await, 102);
    let machines = [Program::new(), Program::new()];
    for one in machines.each_ref().map(|m| workers.start(m, "worker")) {
        one.wait().await.expect_code(0);
    }
    assert_eq!(workers.state().await, "complete");
    assert_eq!(workers.world.moved().await, 102);
    let sources = "SELECT count(*) FROM archive_document";
    assert_eq!(workers.world.count(sources).await, 0);
    workers
        .expect_one_history(&[&machines[0], &machines[1]])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_planned_for_workers_or_not() {
    let workers = Workers::planned(20).await;
    let again = workers.world.migrate(&[]).await.expect_code(2);
    assert!(
        again.stderr.contains("planned for workers"),
        "{}",
        again.stderr
    );
    let alone = seeded(5).await;
    alone.migrate(&["--nodelete"]).await.expect_code(0);
    let task = alone.task().await;
    alone
        .sql("UPDATE windlass_tasks SET state = 'failed'")
        .await;
    let refused = alone.program.run(&["worker", &task]).await.expect_code(2);
    assert!(
        refused.stderr.contains("was not planned for workers"),
        "{}",
        refused.stderr
    );
}

/// The first example of the command's help, on a machine that finds the database in its environment.
#[tokio::test(flavor = "multi_thread")]
async fn the_examples_of_worker_run_behind_a_plan() {
    let workers = Workers::planned(20).await;
    let machine = Program::new().env("WINDLASS_DB_CONNECT", &workers.url);
    let help = machine
        .run(&["worker", "--help"])
        .await
        .expect_code(0)
        .stdout;
    for line in help
        .lines()
        .filter_map(|line| line.trim().strip_prefix("windlass "))
    {
        let args: Vec<&str> = line.split_whitespace().collect();
        machine.run(&args).await.expect_code(0);
    }
    workers.expect_all_moved_once().await;
}

/// Another task in between, and this one made the active one again by a resume.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_asks_which_task_is_active() {
    let workers = Workers::planned(40).await;
    workers
        .world
        .sql("UPDATE windlass_active SET task_id = 99")
        .await;
    let machine = Program::new();
    let refused = workers
        .start(&machine, "worker")
        .wait()
        .await
        .expect_code(2);
    assert!(
        refused.stderr.contains("task 99 has been begun since"),
        "{}",
        refused.stderr
    );
    workers
        .start(&machine, "resume")
        .wait()
        .await
        .expect_code(0);
    workers.expect_all_moved_once().await;
}

/// A crash at each point that only workers come to: another process of the same worker goes on, and then
/// there is nothing left that it would not know of.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_every_point_of_a_takeover_is_survived() {
    for point in POINTS_OF_WORKERS
        .iter()
        .filter(|point| **point != "lock-shared")
    {
        println!("{point}");
        let workers = Workers::planned(40).await;
        let (dead, taker) = (Program::new(), Program::new());
        workers.slow();
        let mut running = workers.start(&dead, "worker");
        workers.until_moved(6).await;
        running.kill();
        running.wait().await;
        workers.world.proxy.set_fault(Fault::None);
        workers.world.let_time_pass().await;
        let crash = format!("{point}=return");
        let args = workers.args("resume");
        let crashed = taker.run_with(&args, &[("FAILPOINTS", &crash)]).await;
        assert_eq!(crashed.code, None, "{point}: {}", crashed.stderr);
        workers.world.expect_every_row_whole().await;
        workers.world.let_time_pass().await;
        workers.start(&taker, "resume").wait().await.expect_code(0);
        workers.expect_all_moved_once().await;
        workers.expect_verified(&dead).await;
        workers.expect_verified(&taker).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_planner_that_crashes_on_the_way_to_its_workers_is_gone_on_with() {
    let world = seeded(30).await;
    let mut args = world.migrate_args();
    args.push("--workers".into());
    let crash = [("FAILPOINTS", "shard-objects=return(10);lock-shared=return")];
    let crashed = world.program.run_with(&args, &crash).await;
    assert_eq!(crashed.code, None, "{}", crashed.stderr);
    let task = world.task().await;
    world.resume(&task).await.expect_code(0);
    world.expect_moved_and_sound().await;
}

/// A server that has taken the place of another may not know what workers had claimed there.
#[tokio::test(flavor = "multi_thread")]
async fn behind_a_failover_workers_wait_for_a_word() {
    let workers = Workers::planned(40).await;
    let machine = Program::new();
    workers.slow();
    let running = workers.start(&machine, "worker");
    workers.until_moved(4).await;
    workers
        .world
        .sql("UPDATE windlass_tasks SET timeline = '000000FF'")
        .await;
    end_connections(&workers).await;
    let ended = running.wait().await.expect_code(130);
    assert!(ended.stdout.contains("was failed over"), "{}", ended.stdout);
    workers.world.proxy.set_fault(Fault::None);
    // Not by another task either that was active in between: it is on the timeline of now.
    for active in ["task_id", "NULL", "99"] {
        let active = format!("UPDATE windlass_active SET task_id = {active}");
        workers.world.sql(&active).await;
        for command in ["worker", "resume"] {
            let refused = workers.start(&machine, command).wait().await.expect_code(2);
            assert!(
                refused.stderr.contains("journal verify"),
                "{}",
                refused.stderr
            );
        }
    }
    workers.expect_verified(&machine).await;
    let mut args = workers.args("resume");
    args.push("--after-failover".into());
    machine.run(&args).await.expect_code(0);
    workers.expect_all_moved_once().await;
}
