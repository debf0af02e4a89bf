//! A database far away: how often windlass has to wait for it, one answer after the other.

use crate::support::postgres::{Place, fresh_database};
use crate::support::turns::{Turns, listed};
use crate::world::{World, db_to_s3_on};

async fn world_that_counts() -> (Turns, World) {
    let mut database = fresh_database().await;
    let turns = Turns::start(&format!("{}:{}", database.place.host, database.place.port)).await;
    let place = Place {
        port: turns.port,
        ..database.place.clone()
    };
    database.url = place.url(&database.name);
    (turns, db_to_s3_on(database).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_migration_takes_few_turns_at_the_database() {
    let (turns, mut world) = world_that_counts().await;
    for round in 0..3 {
        world
            .deployment
            .seed_db_documents(10, 100..2_000, round)
            .await;
        turns.take();
        let done = world.migrate(&[]).await.expect_code(0);
        let taken = turns.take();
        println!("{}", listed(&taken));
        println!("{}", done.stderr);
    }
}
