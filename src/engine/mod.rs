//! The job runner: one loop per object, over a plan in the catalog and a journal beside it.
//!
//! Its rooms, each importing only what stands to its right: `task → run → object → flow`, and what all
//! of them need lies beside this file.

mod error;
mod flow;
mod limits;
mod object;
mod run;
mod settings;
mod statedir;
mod stop;
mod task;

pub use error::EngineError;
pub use limits::{Concurrency, LimitTooSmall, MemoryLimit};
pub use object::estimate::{Estimate, estimate};
pub use object::sample::{Sample, Sampled, sample};
pub use run::opening::{host, is_gone};
pub use run::operator::user;
pub use run::report::{ReportedFailure, RunReport};
pub use settings::{ConfiguredStore, Settings, Store};
pub use statedir::{StateDir, TaskFile};
pub use stop::{Stop, StopReason};
pub use task::accept::{AcceptReport, AcceptRequest, Accepting, accept};
pub use task::follow_up::{FollowUpRequest, follow_up};
pub use task::gates;
pub use task::migrate::migrate;
pub use task::online::{OnlineRequest, Pass, Passed, pass};
pub use task::outcome::{MigrateRequest, Migrated, PlanReport, PlannedTask, Sharing};
pub use task::preflight::{refuse_changed_place, refuse_other_schema, refuse_unreadable_schema};
pub use task::resume::{ResumeRequest, Resumed, resume};
pub use task::worker::{TakesOver, work};
