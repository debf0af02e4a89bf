//! What the journal costs this process, its own threads and sled's: CPU time per entry, by how many
//! tasks append at once.
//!
//! `cargo run --release --example journal_cost`

#[path = "../benches/lab/cpu.rs"]
mod cpu;

use std::time::Instant;

use windlass::journal::{Journal, NewEntry};
use windlass::model::{EntryObject, Event, Verified};

const ENTRIES: u64 = 40_000;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    for tasks in [1, 16, 128] {
        let dir = tempfile::tempdir()?;
        let checkpoint = dir.path().join("checkpoint");
        let journal = Journal::create(&checkpoint, uuid::Uuid::new_v4(), uuid::Uuid::new_v4())?;
        let (since, cpu_before) = (Instant::now(), cpu_seconds());
        let work = (0..tasks).map(|task| {
            let journal = journal.clone();
            tokio::spawn(async move {
                for idx in 0..ENTRIES / tasks {
                    journal.append(vec![entry(task * ENTRIES + idx)]).await?;
                }
                anyhow::Ok(())
            })
        });
        for done in futures::future::join_all(work).await {
            done??;
        }
        let (wall, cpu) = (since.elapsed().as_secs_f64(), cpu_seconds() - cpu_before);
        println!(
            "{tasks:3} tasks: {:.1} µs of CPU per entry, {:.0} entries/s",
            cpu * 1e6 / ENTRIES as f64,
            ENTRIES as f64 / wall
        );
        journal.close().await?;
    }
    Ok(())
}

fn entry(idx: u64) -> NewEntry {
    let id = format!("{idx:064x}");
    NewEntry {
        object: Some(EntryObject {
            idx,
            user: "admin".into(),
            bucket: "analysis_data".into(),
            document: format!("{id}.json"),
            id,
        }),
        event: Event::Verified(Verified {
            method: "full".into(),
            bytes: 4096,
            tag: None,
        }),
    }
}

/// User and system time of all threads so far.
fn cpu_seconds() -> f64 {
    cpu::cpu_time("/proc/self/stat", 2).as_secs_f64()
}
