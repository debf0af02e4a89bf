//! Workers that are killed, stopped, cut off and restarted, at random.

use std::time::Duration;

use super::{IN_FLIGHT, Workers, end_connections};
use crate::support::counting_proxy::Fault;
use crate::support::program::{Program, Running};
use crate::support::random::{Random, seed};
use crate::world::seeded_on_own_server;

/// Whoever is killed leaves its shards; a resume takes them over once nothing of it can still arrive.
#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_kills_loses_nothing_and_doubles_nothing() {
    let mut random = Random::seeded(seed(77));
    let workers = Workers::planned(600).await;
    let machines = [(); 4].map(|()| Program::new());
    workers.slow();
    // One that is lost with its disk before the others come: what it has left can only be taken over.
    let lost = Program::new();
    let mut first = workers.start(&lost, "worker");
    workers.until_moved(20).await;
    first.kill();
    assert_eq!(first.wait().await.code, None, "it had work left");
    lost.lose_state();
    workers.world.let_time_pass().await;
    let mut kills = 1;
    for round in 0..8 {
        let commands = ["worker", "worker", "worker", "resume"];
        let mut running: Vec<Running> = machines
            .iter()
            .zip(commands)
            .map(|(machine, command)| workers.start(machine, command))
            .collect();
        tokio::time::sleep(Duration::from_millis(500 + random.within(0..1_500) as u64)).await;
        for one in &mut running {
            one.kill();
        }
        for one in running {
            let ended = one.wait().await;
            assert!(matches!(ended.code, None | Some(0)), "{}", ended.stderr);
            kills += u64::from(ended.code.is_none());
        }
        workers.world.let_time_pass().await;
        workers.world.expect_every_row_whole().await;
        if workers.state().await == "complete" {
            println!("complete after {round} rounds");
            break;
        }
    }
    workers.world.proxy.set_fault(Fault::None);
    // One machine takes over what all have left; another one has lost its disk, too.
    machines[1].lose_state();
    workers.world.let_time_pass().await;
    let last = workers.start(&machines[0], "resume").wait().await;
    last.expect_code(0);
    workers.expect_all_moved_once().await;
    let again = workers.world.total_document_puts() - workers.documents as u64;
    println!("{kills} kills, {again} repeated writes");
    assert!(again <= kills * IN_FLIGHT, "{again} repeated writes");
    for machine in [&machines[0], &machines[2], &machines[3]] {
        workers.expect_verified(machine).await;
    }
    let there = [&machines[0], &machines[2], &machines[3]];
    let export = workers.collect(&there).await;
    let (code, proof) = workers.verify_export(&export).await;
    assert_eq!(code, Some(0), "{proof:#}");
    assert!(proof["adoptions"].as_u64() > Some(0), "{proof:#}");
    // Those of the machines that have lost their disks are named; another one may have been killed so early
    // that it has none.
    let others = proof["others"].as_array().map_or(0, Vec::len);
    assert!((2..=3).contains(&others), "{proof:#}");
}

/// A machine with a worker, or with one that stands still.
struct Machine {
    program: Program,
    running: Option<Running>,
    /// Rounds for which it stands still.
    frozen: u32,
}

impl Machine {
    fn is_at_work(&mut self) -> bool {
        let ended = self.running.as_mut().is_none_or(Running::has_ended);
        !ended && self.frozen == 0
    }

    /// Takes what has ended away: nothing but an end that a run may come to here.
    async fn clear(&mut self) {
        if self.running.as_mut().is_some_and(Running::has_ended)
            && let Some(running) = self.running.take()
        {
            let ended = running.wait().await;
            // Without a database it can't begin, and without its session it can't go on.
            assert!(
                matches!(ended.code, None | Some(0 | 2 | 130)),
                "{:?}: {}",
                ended.code,
                ended.stderr
            );
            self.frozen = 0;
        }
    }
}

fn still_running(running: &mut Running) -> Option<&mut Running> {
    match running.has_ended() {
        true => None,
        false => Some(running),
    }
}

/// Four machines: killed, stopped past a takeover and woken, cut off from their sessions, and the server
/// started again. At the end everything is there once, and all journals together prove it.
#[tokio::test(flavor = "multi_thread")]
async fn four_workers_in_every_weather() {
    let is_torture = std::env::var_os("WINDLASS_TORTURE").is_some();
    let (rounds, documents) = match is_torture {
        true => (120, 6_000),
        false => (8, 400),
    };
    let mut random = Random::seeded(seed(78));
    let (server, world) = seeded_on_own_server(documents).await;
    let workers = Workers::planned_in(world, documents, &[]).await;
    let machine = || Machine {
        program: Program::new(),
        running: None,
        frozen: 0,
    };
    let mut machines = [machine(), machine(), machine(), machine()];
    workers.slow();
    let mut repeated = 0;
    for round in 0..rounds {
        for (at, machine) in machines.iter_mut().enumerate() {
            machine.clear().await;
            match &mut machine.running {
                Some(running) if machine.frozen == 1 => running.go_on(),
                Some(_) => {}
                None => {
                    let command = ["worker", "resume"][usize::from(at % 2 == round % 2)];
                    machine.running = Some(workers.start(&machine.program, command));
                }
            }
            machine.frozen = machine.frozen.saturating_sub(1);
        }
        tokio::time::sleep(Duration::from_millis(400 + random.within(0..1_200) as u64)).await;
        if workers.state().await == "complete" {
            println!("complete after {round} rounds");
            break;
        }
        let at = random.within(0..machines.len());
        let deed = random.within(0..6);
        println!("round {round}: deed {deed} at machine {at}");
        match deed {
            0 | 1 => machines[at].running.iter_mut().for_each(Running::kill),
            2 => {
                for machine in &mut machines {
                    machine.running.iter_mut().for_each(Running::kill);
                }
            }
            3 => {
                if machines[at].is_at_work() {
                    machines[at].running.iter_mut().for_each(Running::freeze);
                    machines[at].frozen = 3;
                }
                end_connections(&workers).await;
            }
            4 => end_connections(&workers).await,
            _ => workers.world.restart(&server).await,
        }
        // Whoever lost its session, or was killed, writes what it had in flight once more.
        repeated += machines.len() as u64 * IN_FLIGHT;
        workers
            .world
            .sql("UPDATE windlass_executors SET heartbeat = heartbeat - interval '1 hour'")
            .await;
        // A look takes its time: nobody goes on meanwhile.
        let awake = machines.iter_mut().filter(|machine| machine.frozen == 0);
        let awake = awake.filter_map(|machine| machine.running.as_mut());
        let mut awake: Vec<&mut Running> = awake.filter_map(still_running).collect();
        awake.iter_mut().for_each(|running| running.freeze());
        tokio::time::sleep(Duration::from_millis(100)).await;
        workers.world.expect_every_row_whole().await;
        awake.iter_mut().for_each(|running| running.go_on());
    }
    workers.world.proxy.set_fault(Fault::None);
    for machine in &mut machines {
        machine.running.iter_mut().for_each(Running::go_on);
    }
    let ended = machines.each_mut().map(|machine| machine.running.take());
    for running in ended.into_iter().flatten() {
        running.wait().await;
    }
    workers.world.let_time_pass().await;
    let last = workers.start(&machines[0].program, "resume").wait().await;
    last.expect_code(0);
    workers.expect_all_moved_once().await;
    let again = workers.world.total_document_puts() - documents as u64;
    println!("{again} repeated writes");
    assert!(again <= repeated, "{again} repeated writes");
    let machines = machines.each_ref().map(|machine| &machine.program);
    workers.expect_one_history(&machines).await;
}
