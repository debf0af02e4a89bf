//! A task that copies while the services run, shared by workers: they make its passes together, and one of
//! them carries out the cut-over.

use super::{SHARD, Workers};
use crate::online::services::{Content, Fate, Services};
use crate::support::random::{Random, seed};
use std::time::Duration;

use windlass::crash::POINTS_OF_WORKERS;

use crate::support::counting_proxy::Fault;
use crate::support::program::{Outcome, Program, Running};
use crate::world::{seeded, until};

const DOCUMENTS: usize = 60;

/// What a cut-over comes by that no worker does.
const POINTS_OF_CUTOVER: [&str; 5] = [
    "pass-planned",
    "swap-before-commit",
    "swap-after-commit",
    "ending-journaled",
    "task-before-end-commit",
];

const STAGED: &str = "SELECT count(*) FROM windlass_objects
     WHERE phase = 'verified' AND outcome IS NULL AND NOT superseded";

impl Workers {
    async fn staged() -> (Self, Services) {
        let workers = Self::planned_in(seeded(DOCUMENTS).await, DOCUMENTS, &["--online"]).await;
        let deployment = &workers.world.deployment;
        let documents = deployment.expected().clone();
        let services = Services::new(deployment.tables(), Content::Db, documents, 7);
        (workers, services)
    }

    /// What is typed for the task on a machine that has never seen it.
    pub(super) fn typed<'w>(&'w self, command: &'w str, options: &[&'w str]) -> Vec<&'w str> {
        let words = ["--db-connect", &self.url, command, &self.task];
        [&words, options].concat()
    }

    pub(super) async fn command(
        &self,
        machine: &Program,
        command: &str,
        options: &[&str],
    ) -> Outcome {
        let args = self.typed(command, options);
        machine.run_with(&args, &SHARD).await
    }

    /// Half of it is copied by one that is killed, the rest by another, who takes over.
    async fn first_pass(&self, first: &Program, second: &Program) {
        self.slow();
        let mut killed = self.start(first, "worker");
        until("some are staged", async || {
            self.world.count(STAGED).await >= 10
        })
        .await;
        killed.kill();
        killed.wait().await;
        self.world.proxy.set_fault(Fault::None);
        self.start(second, "worker").wait().await.expect_code(0);
        assert_eq!(self.state().await, "running", "the first has shards");
        self.world.let_time_pass().await;
        let resumed = self.start(second, "resume").wait().await.expect_code(0);
        assert!(resumed.stderr.contains("took "), "{}", resumed.stderr);
        assert!(resumed.stdout.contains("staged"), "{}", resumed.stdout);
        assert_eq!(self.state().await, "staged");
        assert_eq!(self.world.count(STAGED).await, DOCUMENTS as i64);
        assert_eq!(self.world.moved().await, 0);
    }

    /// Whether a machine has come as far as to journal anything.
    async fn has_journal(&self, machine: &Program) -> bool {
        let verify = ["--json", "journal", "verify", &self.task];
        let verify = [&["--db-connect", &self.url], &verify[..]].concat();
        let verified = machine.run(&verify).await;
        let is_blank = verified.stdout.replace(' ', "").contains("\"entries\":0,");
        verified.code == Some(0) && !is_blank
    }

    /// Those of them that have prove one history.
    async fn expect_one_history_of(&self, machines: &[&Program]) {
        let mut with_journals = Vec::new();
        for machine in machines {
            if self.has_journal(machine).await {
                with_journals.push(*machine);
            }
        }
        self.expect_one_history(&with_journals).await;
    }

    /// What the services have stored last is what there is to be.
    fn take_in(&mut self, services: &Services) {
        let deployment = &mut self.world.deployment;
        let before: Vec<_> = deployment.expected().keys().cloned().collect();
        for key in before {
            deployment.expect(key, None);
        }
        for (key, content) in &services.documents {
            deployment.expect(key.clone(), Some(content.clone()));
        }
    }

    /// And every row leads to it, at one place.
    async fn expect_as_stored(&mut self, services: &Services, scheme: &str) {
        self.take_in(services);
        let documents = services.documents.len() as u64;
        let seen = self.world.look().await;
        seen.expect_nothing_lost();
        assert_eq!(seen.right, [(scheme.to_owned(), documents)].into());
    }

    async fn expect_gone_over(&mut self, services: &Services) {
        self.expect_as_stored(services, "s3").await;
        assert_eq!(self.state().await, "complete");
        let open = "SELECT count(*) FROM windlass_shards WHERE NOT done";
        assert_eq!(self.world.count(open).await, 0);
        let planned = "SELECT planned FROM windlass_tasks ORDER BY task_id LIMIT 1";
        self.documents = self.world.count(planned).await as usize;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_share_the_passes_and_one_carries_out_the_cutover() {
    let (mut workers, mut services) = Workers::staged().await;
    let machines = [(); 4].map(|()| Program::new());
    let [first, second, third, last] = &machines;
    workers.first_pass(first, second).await;

    let keys: Vec<_> = services.documents.keys().cloned().collect();
    for key in &keys[..45] {
        let content = services.some_content(Some(key));
        services.put(key, content, Fate::Lives).await;
    }
    services.touch(&keys[50]).await;
    services.delete(&keys[55]).await;
    workers.slow();
    let sync = workers.typed("sync", &["--concurrency", "2"]);
    let planner = second.spawn_with(&sync, &SHARD);
    until("the pass is planned", async || {
        workers
            .world
            .count("SELECT count(*) FROM windlass_tasks WHERE passes = 2")
            .await
            > 0
    })
    .await;
    // Until the planner shares the lock, nobody else gets it.
    let joined = loop {
        let joined = workers.start(third, "worker").wait().await;
        match joined.stderr.contains("is at work") {
            true => tokio::time::sleep(Duration::from_millis(100)).await,
            false => break joined,
        }
    };
    joined.expect_code(0);
    workers.world.proxy.set_fault(Fault::None);
    let planned = planner.wait().await.expect_code(0);
    assert!(planned.stdout.contains("staged"), "{}", planned.stdout);
    let shared = "SELECT count(DISTINCT epoch) FROM windlass_objects WHERE idx >= 60";
    assert_eq!(workers.world.count(shared).await, 2, "both have copied");
    assert_eq!(workers.state().await, "staged");
    workers.expect_as_stored(&services, "db").await;

    let done = workers.command(last, "cutover", &["--dontask"]).await;
    let done = done.expect_code(0);
    assert!(done.stdout.contains("complete"), "{}", done.stdout);
    workers.expect_gone_over(&services).await;
    let proof = workers
        .expect_one_history(&[first, second, third, last])
        .await;
    assert!(proof["adoptions"].as_u64() > Some(0), "{proof:#}");
    let again = workers.start(third, "worker").wait().await.expect_code(0);
    assert!(again.stdout.contains("is complete"), "{}", again.stdout);
    let deleted = workers.command(last, "delete-source", &["--dontask"]).await;
    deleted.expect_code(0);
    let sources = "SELECT count(*) FROM archive_document";
    assert_eq!(workers.world.count(sources).await, 0);
    let documents = services.documents.len();
    workers.world.look().await.expect_all_at("s3", documents);
}

/// Sources go by several processes, on a word beside services, too; what the passes have left goes by one.
/// Then it is taken back by several.
#[tokio::test(flavor = "multi_thread")]
async fn workers_delete_the_sources_of_a_staged_task_and_take_it_back() {
    let (mut workers, mut services) = Workers::staged().await;
    let machines = [Program::new(), Program::new(), Program::new()];
    let [first, second, third] = &machines;
    workers.first_pass(first, second).await;
    let keys: Vec<_> = services.documents.keys().cloned().collect();
    services.delete(&keys[7]).await;
    let cutover = workers.command(third, "cutover", &["--dontask"]).await;
    cutover.expect_code(0);
    workers.expect_gone_over(&services).await;
    let documents = services.documents.len();
    let online = workers.task.clone();
    assert_eq!(workers.world.look().await.strays.len(), 1);

    let sources = "SELECT count(*) FROM archive_document";
    for (command, in_database, at) in [("delete-source", 0, "s3"), ("reverse", documents, "db")] {
        let plan = ["--plan-only", "--dontask"];
        workers.task.clone_from(&online);
        let planned = workers.command(third, command, &plan).await.expect_code(0);
        workers.task = workers.world.task().await;
        let line = format!("worker {}", workers.task);
        assert!(planned.stdout.contains(&line), "{}", planned.stdout);
        workers.slow();
        let both = [first, second].map(|machine| workers.start(machine, "worker"));
        let mut told = Vec::new();
        for one in both {
            told.push(one.wait().await.expect_code(0).stderr);
        }
        assert_eq!(workers.state().await, "complete");
        assert!(
            told.iter().any(|told| told.contains("they stay")),
            "{told:?}"
        );
        workers.world.proxy.set_fault(Fault::None);
        assert_eq!(workers.world.count(sources).await, in_database as i64);
        workers.expect_as_stored(&services, at).await;
        let left = workers.world.look().await.strays.len();
        let (code, proof) = workers
            .verify_export(&workers.collect(&[first, second]).await)
            .await;
        assert_eq!(code, Some(0), "{proof:#}");
        match command {
            "delete-source" => {
                assert_eq!(left, 1);
                workers.task.clone_from(&online);
                let alone = ["--dontask"];
                let cleared = workers.command(third, command, &alone).await.expect_code(0);
                assert_eq!(workers.world.look().await.strays.len(), 0);
                let nothing = workers.command(third, command, &alone).await.expect_code(0);
                assert!(
                    nothing.stdout.contains("nothing to do"),
                    "{}",
                    nothing.stdout
                );
                assert!(
                    !cleared.stdout.contains("nothing to do"),
                    "{}",
                    cleared.stdout
                );
            }
            _ => assert_eq!(left, 0),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cutover_that_dies_lets_no_worker_in_and_another_machine_goes_on_with_it() {
    let (mut workers, services) = Workers::staged().await;
    let [first, second, third] = [Program::new(), Program::new(), Program::new()];
    workers.first_pass(&first, &second).await;
    let crash = [("FAILPOINTS", "swap-after-commit=return")];
    let cutover = workers.typed("cutover", &["--dontask"]);
    let died = second.run_with(&cutover, &crash).await;
    assert_ne!(died.code, Some(0), "{}", died.stderr);
    assert!(workers.world.moved().await > 0, "{}", died.stderr);
    workers.world.let_time_pass().await;
    let refused = workers.start(&first, "worker").wait().await.expect_code(2);
    assert!(refused.stderr.contains("cut-over"), "{}", refused.stderr);
    assert!(refused.stderr.contains("resume"), "{}", refused.stderr);
    let sync = workers.command(&first, "sync", &[]).await.expect_code(2);
    assert!(sync.stderr.contains("cut-over"), "{}", sync.stderr);
    // The checkpoint of the one that has died stays where it is: it may have journaled what nobody was told.
    let resumed = workers.start(&third, "resume").wait().await.expect_code(0);
    assert!(resumed.stderr.contains("took "), "{}", resumed.stderr);
    workers.expect_gone_over(&services).await;
    workers.expect_one_history(&[&first, &second, &third]).await;
}

/// The process that dies is another machine's than those that have made the passes; it comes back, or a third
/// one goes on in its place.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_every_point_of_a_shared_cutover_is_survived() {
    let of_workers = POINTS_OF_WORKERS
        .iter()
        .filter(|point| **point != "lock-shared");
    for (at, point) in of_workers.chain(&POINTS_OF_CUTOVER).enumerate() {
        println!("{point}");
        let (mut workers, services) = Workers::staged().await;
        let [stager, dies, other] = [Program::new(), Program::new(), Program::new()];
        let staged = workers.start(&stager, "worker").wait().await.expect_code(0);
        assert!(staged.stdout.contains("staged"), "{}", staged.stdout);
        let cutover = workers.typed("cutover", &["--dontask"]);
        let crash = format!("{point}=return");
        let crashed = dies.run_with(&cutover, &[("FAILPOINTS", &crash)]).await;
        assert_eq!(crashed.code, None, "{point}: {}", crashed.stderr);
        workers.world.expect_every_row_whole().await;
        workers.world.let_time_pass().await;
        let goes_on = match at % 2 {
            0 => &dies,
            _ => &other,
        };
        goes_on.run(&cutover).await.expect_code(0);
        workers.expect_gone_over(&services).await;
        workers
            .expect_one_history_of(&[&stager, &dies, &other])
            .await;
    }
}

/// Between its plan and its first document a further pass is nobody's, until somebody goes on with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_on_the_way_into_a_further_pass_is_survived() {
    for point in ["pass-planned", "takeover-claimed", "lock-shared"] {
        println!("{point}");
        let (mut workers, mut services) = Workers::staged().await;
        let [stager, dies, other] = [Program::new(), Program::new(), Program::new()];
        workers.start(&stager, "worker").wait().await.expect_code(0);
        let keys: Vec<_> = services.documents.keys().cloned().collect();
        for key in &keys[..25] {
            let content = services.some_content(Some(key));
            services.put(key, content, Fate::Lives).await;
        }
        let torn = services.some_content(Some(&keys[30]));
        services.put(&keys[30], torn, Fate::Dies).await;
        let crash = [(
            "FAILPOINTS",
            format!("shard-objects=return(10);{point}=return"),
        )];
        let crash = crash
            .each_ref()
            .map(|(name, value)| (*name, value.as_str()));
        let sync = workers.typed("sync", &[]);
        let crashed = dies.run_with(&sync, &crash).await;
        assert_eq!(crashed.code, None, "{point}: {}", crashed.stderr);
        workers.world.let_time_pass().await;
        let resumed = workers.start(&other, "resume").wait().await.expect_code(0);
        assert!(resumed.stdout.contains("staged"), "{}", resumed.stdout);
        services.mend().await;
        let done = workers.command(&other, "cutover", &["--dontask"]).await;
        done.expect_code(0);
        workers.expect_gone_over(&services).await;
        workers
            .expect_one_history_of(&[&stager, &dies, &other])
            .await;
    }
}

/// Machines that are killed in the middle of passes, and then one after the other in the cut-over.
#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_kills_over_passes_and_a_cutover_loses_nothing() {
    let mut random = Random::seeded(seed(79));
    let (mut workers, mut services) = Workers::staged().await;
    let machines = [Program::new(), Program::new(), Program::new()];
    workers.slow();
    for pass in 0..2 {
        for round in 0..3 {
            let first = match (pass, round) {
                (1, 0) => "sync",
                _ => "resume",
            };
            let commands = [first, "worker", "worker"];
            let machines = machines.iter().zip(commands);
            let running = machines.map(|(machine, command)| workers.start(machine, command));
            let mut running: Vec<_> = running.collect();
            let pause = 300 + random.within(0..1_200) as u64;
            tokio::time::sleep(Duration::from_millis(pause)).await;
            running.iter_mut().for_each(Running::kill);
            for one in running {
                let ended = one.wait().await;
                // Whoever comes while the planner has the lock alone is told so.
                assert!(matches!(ended.code, None | Some(0 | 2)), "{}", ended.stderr);
            }
            workers.world.let_time_pass().await;
            workers.world.expect_every_row_whole().await;
        }
        let last = workers.start(&machines[pass], "resume").wait().await;
        assert!(last.expect_code(0).stdout.contains("staged"));
        assert_eq!(workers.world.moved().await, 0);
        for _ in 0..30 {
            services.act().await;
        }
        services.mend().await;
        workers.take_in(&services);
    }
    workers.world.proxy.set_fault(Fault::None);
    let cutover = workers.typed("cutover", &["--dontask"]);
    for machine in &machines {
        let mut running = machine.spawn(&cutover);
        let pause = 200 + random.within(0..1_000) as u64;
        tokio::time::sleep(Duration::from_millis(pause)).await;
        running.kill();
        running.wait().await;
        workers.world.let_time_pass().await;
        workers.world.expect_every_row_whole().await;
    }
    machines[0].run(&cutover).await.expect_code(0);
    workers.expect_gone_over(&services).await;
    let [one, two, three] = &machines;
    workers.expect_one_history_of(&[one, two, three]).await;
}
