//! Writes that say what they may replace.

use hyper::Method;

use super::services::{Content, Fate, Services};
use crate::support::counting_proxy::Fault;
use crate::world::seeded;

const DOCUMENTS: usize = 200;

/// The store keeps the first of two requests, so that the second can't land on what has come after it. What
/// the first has written counts.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_without_an_answer_is_not_written_twice() {
    let mut world = seeded(DOCUMENTS).await;
    let lost = Fault::LoseAnswers(0.05);
    world.proxy.set_fault_on(Method::PUT, lost);
    let staged = world.migrate(&["--online", "-v"]).await.expect_code(0);
    let heeds = "the destination heeds conditional writes";
    assert!(staged.stderr.contains(heeds), "{}", staged.stderr);
    assert!(staged.stderr.contains("retryable"), "{}", staged.stderr);
    let puts = world.document_puts();
    assert_eq!(puts.len(), DOCUMENTS);
    let twice: Vec<_> = puts.iter().filter(|(_, puts)| **puts > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");

    // A later version replaces the earlier one, once.
    world.proxy.set_fault(Fault::None);
    let documents = world.deployment.expected().clone();
    let mut services = Services::new(world.deployment.tables(), Content::Db, documents, 11);
    for key in services.documents.keys().cloned().collect::<Vec<_>>() {
        let content = services.some_content(Some(&key));
        services.put(&key, content.clone(), Fate::Lives).await;
        world.deployment.expect(key, Some(content));
    }
    // Which of them may still be under way nobody knows.
    world.let_time_pass().await;
    let task = world.task().await;
    world.program.run(&["sync", &task]).await.expect_code(0);
    let puts = world.document_puts();
    assert!(puts.values().all(|puts| *puts == 2), "{puts:?}");
    let cutover = ["cutover", &task, "--dontask"];
    world.program.run(&cutover).await.expect_code(0);
    let seen = world.look().await;
    let right = [("s3".to_owned(), DOCUMENTS as u64)];
    assert_eq!(seen.expect_nothing_lost().right, right.into());
}
