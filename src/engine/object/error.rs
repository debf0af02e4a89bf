//! Why an object's loop ends early.

/// Why an object's loop ends before the object does.
#[derive(Debug, PartialEq, Eq)]
pub enum RunError {
    /// The run is ending; the object keeps its place.
    Stopping,
    /// Its content is not what its row says, and a service may be between the two: the next pass
    /// looks again.
    Waiting,
    /// It has to move bytes after all, and was let in as one that does not.
    NeedsRoom,
    /// Another worker has claimed its shard.
    Lost,
    /// The object can't be journaled.
    TooLarge(String),
}
