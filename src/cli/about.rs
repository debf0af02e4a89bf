//! What a command is about: the task that it names, and how its run is watched. A new command that has
//! either gets its line here.

use super::args::{Command, JournalCommand, WatchArgs};

impl Command {
    /// The task that was typed, where one was.
    pub fn task_mut(&mut self) -> Option<&mut String> {
        match self {
            Self::Sync(args) => Some(&mut args.task),
            Self::Cutover(args) => Some(&mut args.task),
            Self::Resume(args) => Some(&mut args.task),
            Self::Worker(args) => Some(&mut args.task),
            Self::Reverse(args) => Some(&mut args.task),
            Self::DeleteSource(args) => Some(&mut args.task),
            Self::Accept(args) => Some(&mut args.task),
            Self::Status(args) => Some(&mut args.task),
            Self::Report(args) => Some(&mut args.task),
            Self::Verify(args) => args.task.as_mut(),
            Self::Serve(args) => args.task.as_mut(),
            Self::Journal(args) => match &mut args.command {
                Some(JournalCommand::Verify(args)) => args.task.as_mut(),
                Some(JournalCommand::Ship(args)) => Some(&mut args.task),
                Some(JournalCommand::Collect(args)) => args.task.as_mut(),
                None => args.task.as_mut(),
            },
            Self::Check(_)
            | Self::Config(_)
            | Self::Doctor(_)
            | Self::ListDrivers
            | Self::Migrate(_)
            | Self::ListMigrations
            | Self::Demo(_)
            | Self::Completions { .. }
            | Self::Man { .. } => None,
        }
    }

    /// How its run is to be watched.
    pub fn watch(&self) -> WatchArgs {
        let run = match self {
            Self::Migrate(args) => &args.run,
            Self::Sync(args) => &args.run,
            Self::Cutover(args) => &args.run,
            Self::Resume(args) => &args.run,
            Self::Worker(args) => &args.run,
            Self::Reverse(args) => &args.common.run,
            Self::DeleteSource(args) => &args.common.run,
            Self::Verify(args) => {
                return WatchArgs {
                    progress: args.progress.clone(),
                    ..WatchArgs::default()
                };
            }
            _ => return WatchArgs::default(),
        };
        run.watch.clone()
    }
}
