//! Databases that keep their text in another encoding than UTF-8: what they cannot hold is kept in
//! base64, and what windlass writes of its own is written out.

use crate::support::deployment::{Compression, StoreSpec};
use crate::support::postgres;
use crate::world::{World, seeded_on};

/// Plain ASCII, what LATIN1 has, what it has not, a NUL, and no text at all.
const CONTENTS: [&[u8]; 5] = [
    b"{\"document\": \"plain\"}",
    "{\"document\": \"na\u{ef}ve\"}".as_bytes(),
    "{\"document\": \"\u{20ac} \u{6f22}\u{5b57}\"}".as_bytes(),
    b"{\"document\": \"\0\"}",
    b"\xff\xfe\x00",
];

/// Documents in a directory, to go into the text of a database in this encoding.
async fn into_text_in(encoding: &str) -> World {
    let database = postgres::fresh_database()
        .await
        .place
        .database_in(encoding)
        .await;
    let mut world = seeded_on(database, 0).await;
    let dir = world.program.home().join("documents");
    std::fs::create_dir(&dir).expect("a directory");
    for (at, content) in CONTENTS.iter().enumerate() {
        let id = format!("document-{at}");
        world
            .deployment
            .add_localfs_document(&dir, ("admin", "analysis_data", &id), content)
            .await;
    }
    let compression = Compression::default();
    world.from = world.write_config("localfs", StoreSpec::LocalFs { dir, compression });
    world.to = world.write_config("db", StoreSpec::Db { compression });
    world
}

async fn kept_as_base64(world: &World) -> i64 {
    world
        .count("SELECT count(*) FROM archive_document WHERE b64_encoded")
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_encoding_lacks_is_kept_in_base64() {
    for (encoding, base64) in [("LATIN1", 3), ("SQL_ASCII", 4), ("EUC_JP", 4), ("UTF8", 2)] {
        let world = into_text_in(encoding).await;
        for verify in ["full", "checksum"] {
            world.migrate(&["--verify", verify]).await.expect_code(0);
            assert_eq!(kept_as_base64(&world).await, base64, "{encoding}");
            world.expect_every_row_whole().await;
            let task = world.task().await;
            let check = ["journal", "verify", &task];
            world.program.run(&check).await.expect_code(0);
            let back = ["reverse", &task, "--dontask"];
            world.program.run(&back).await.expect_code(0);
            world.expect_every_row_whole().await;
        }
    }
}

/// A store's answer, a file's name, a place: none of them stops the mirror.
#[tokio::test(flavor = "multi_thread")]
async fn words_that_the_encoding_lacks_are_written_out() {
    for encoding in ["LATIN1", "SQL_ASCII"] {
        let mut world = into_text_in(encoding).await;
        let to = world.write_config("neu-\u{6f22}", {
            let spec = world.s3_spec().await;
            StoreSpec::S3(spec)
        });
        world.to = to;
        world.migrate(&[]).await.expect_code(0);
        let kept = world
            .count("SELECT count(*) FROM windlass_tasks WHERE destination_config LIKE '%neu-_u{6f22}%'")
            .await;
        assert_eq!(kept, 1, "{encoding}");
        world.look().await.expect_all_at("s3", CONTENTS.len());
    }
}
