//! Disks that fill up: a clear stop, the place kept, and a resume once there is room.

use crate::sqlite::World;
use crate::support::program::Outcome;
use crate::support::small_disk::SmallDisk;

const DOCUMENTS: usize = 120;

#[tokio::test(flavor = "multi_thread")]
async fn explore_sizes() {
    for size in (16..1200).step_by(48) {
        let mut world = World::new(DOCUMENTS).await;
        let dir = world.program.home().join("small");
        let Some(disk) = SmallDisk::mount(&dir, size) else {
            return;
        };
        world.program.set_executable(disk.wrapper());
        world.program.set_state_dir(dir.join("state"));
        let ended = world.migrate("db", "localfs", &[]).await;
        println!(
            "{size}: {:?}\n{}\n{}",
            ended.code, ended.stdout, ended.stderr
        );
        world.look().await.expect_nothing_lost();
        disk.resize(20_000);
        if ended.code == Some(0) {
            break;
        }
        let again = match world.task().await {
            0 => world.migrate("db", "localfs", &[]).await,
            task => world.program.run(&["resume", &task.to_string()]).await,
        };
        println!(
            "again: {:?}\n{}\n{}",
            again.code, again.stdout, again.stderr
        );
        again.expect_code(0);
        world.expect_all_at("file").await;
    }
}
