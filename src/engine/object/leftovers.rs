//! Copies that their documents have left behind: a pass has made them, and the document was rewritten or
//! deleted since. They go when sources go, or with a task that is taken back: only what that task has
//! sent, only where no row points, and only while no service can store something there.

use crate::catalog::TaskRow;
use crate::crash;
use crate::driver::{Driver, Stat};
use crate::engine::flow::retry::{Side, StepError};
use crate::engine::object::bulk::with_tries;
use crate::engine::object::context::Context;
use crate::engine::object::error::RunError;
use crate::engine::object::verify::digest_at;
use crate::model::{Event, LeftoversCleared, TaskKind};

/// Copies that are looked at and deleted at once.
const BATCH: usize = 500;

/// Clears away what the passes of the task before have left at its destination.
pub async fn clear(context: &Context) -> Result<(), RunError> {
    let Some((parent, urls)) = unused(context).await? else {
        return Ok(());
    };
    let (mut cleared, mut kept) = (0, 0);
    for urls in urls.chunks(BATCH) {
        let (gone, left) = clear_some(context, &parent, urls).await?;
        cleared += gone;
        kept += left;
    }
    if cleared + kept == 0 {
        return Ok(());
    }
    let event = LeftoversCleared { cleared, kept };
    let event = Event::LeftoversCleared(event);
    context.ledger.record_task(event).await
}

/// Says that they stay, and until when.
pub async fn tell(context: &Context) {
    if let Ok(Some((parent, urls))) = unused(context).await
        && !urls.is_empty()
    {
        let until = match context.task.kind {
            TaskKind::DeleteSource => format!(
                "until windlass delete-source {} looks at each, by one process and without services",
                parent.task_id
            ),
            // A task that has been taken back is not followed once more.
            _ => "there: one process takes a task back without a trace, several leave these".into(),
        };
        tracing::warn!(
            "destinations at which the passes may have left copies of documents that are gone: {}; they stay \
             {until}",
            urls.len()
        );
    }
}

/// The task before, and its destinations at which no row points.
async fn unused(context: &Context) -> Result<Option<(TaskRow, Vec<String>)>, RunError> {
    let Some(parent) = context.task.parent else {
        return Ok(None);
    };
    let found = with_tries(context, async || {
        let parent = context.catalog.task(&parent.to_string()).await;
        let parent = parent.map_err(StepError::from)?;
        let unused = context
            .catalog
            .unused_destinations_of_skipped(parent.task_id);
        Ok((parent, unused.await.map_err(StepError::from)?))
    });
    let Ok((parent, unused)) = found.await? else {
        return Ok(None);
    };
    let mut urls: Vec<String> = unused.into_iter().map(|(_, url)| url).collect();
    urls.sort_unstable();
    urls.dedup();
    Ok(Some((parent, urls)))
}

/// How many are gone, and how many stay.
async fn clear_some(
    context: &Context,
    parent: &TaskRow,
    urls: &[String],
) -> Result<(u64, u64), RunError> {
    let store = match context.task.kind {
        TaskKind::Reverse => &context.stores.source,
        TaskKind::Forward | TaskKind::DeleteSource => &context.stores.destination,
    };
    let store = store.as_ref();
    let (mut own, mut kept) = (Vec::new(), 0);
    for (stat, url) in store.stat_many(urls).await.into_iter().zip(urls) {
        // In bulk no store tells whose an object is.
        let whose = with_tries(context, async || match &stat {
            Ok(None) => Ok(None),
            _ => is_own(context, store, parent, url).await,
        });
        match whose.await? {
            Ok(None) => {}
            Ok(Some(true)) => own.push(url.clone()),
            Ok(Some(false)) => kept += keep(url, "nothing proves that this task has written it"),
            Err(error) => kept += keep(url, &error.message),
        }
    }
    // It may have stood still since the rows were asked.
    if own.is_empty() || !context.lease.is_sure().await {
        return Ok((0, kept));
    }
    crash::point("leftovers-before");
    let mut cleared = 0;
    for (deleted, url) in store.delete(&own).await.into_iter().zip(&own) {
        match deleted {
            Ok(()) => cleared += 1,
            Err(error) => kept += keep(url, &error.to_string()),
        }
    }
    crash::point("leftovers-deleted");
    Ok((cleared, kept))
}

fn keep(url: &str, why: &str) -> u64 {
    tracing::warn!("{url} is kept: no document is there any more, and {why}");
    1
}

/// Whether what lies there is the task's own; `None` where nothing does.
async fn is_own(
    context: &Context,
    store: &dyn Driver,
    parent: &TaskRow,
    url: &str,
) -> Result<Option<bool>, StepError> {
    let stat = store.stat(url).await;
    let Some(stat) = stat.map_err(StepError::store(Side::Destination))? else {
        return Ok(None);
    };
    if let Some(mark) = &stat.mark {
        return Ok(Some(*mark == parent.uuid.to_string()));
    }
    let made = context.catalog.copies_made_at(parent.task_id, url).await;
    let made = made.map_err(StepError::from)?;
    let is_so_long = |size: i64| u64::try_from(size) == Ok(stat.size);
    if !made.iter().any(|(_, size)| is_so_long(*size)) {
        return Ok(Some(false));
    }
    let digest = digest(store, url, &stat).await?;
    Ok(Some(made.iter().any(|(made, _)| *made == digest)))
}

async fn digest(store: &dyn Driver, url: &str, stat: &Stat) -> Result<String, StepError> {
    match &stat.md5 {
        Some(md5) => Ok(md5.clone()),
        None => digest_at(store, url, stat.size).await,
    }
}
