//! What every step of every object goes through: the lock, retries, limits of bandwidth, the mirror.

pub mod bandwidth;
pub mod control;
pub mod lock;
pub mod mirror;
pub mod retry;
pub mod retry_store;
pub mod warned;
