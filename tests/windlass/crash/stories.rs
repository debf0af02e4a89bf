//! The runs that are made to crash, each with what has gone before it.

/// A run under test: what comes before, the command itself, and how it must end.
#[derive(Clone, Copy, Debug)]
pub struct Story {
    pub name: &'static str,
    pub before: &'static [Before],
    /// `@NAME` stands for a configuration.
    pub command: &'static str,
    /// The task that it makes or takes up.
    pub task: i64,
    /// What FAILPOINTS has besides the crash.
    pub limits: &'static str,
    pub ends_at: &'static str,
    /// Second copies that are left on purpose, as after `--nodelete`.
    pub leaves: usize,
    /// Whether the rows must end as they were at the very beginning.
    pub undoes: bool,
    /// Objects at once: so many writes may be under way at a crash.
    pub in_flight: usize,
    /// One document that is too large for memory is among those to be moved.
    pub large: bool,
    /// How a task that is there already is gone on with.
    pub again: &'static str,
    /// What has to follow before the end is reached.
    pub goes_on_with: &'static str,
    /// Of another story: the suite tries one passage of each point.
    pub is_variant: bool,
}

#[derive(Clone, Copy, Debug)]
pub enum Before {
    Run(&'static str),
    /// A run that crashes, with its FAILPOINTS.
    Crash(&'static str, &'static str),
    /// The checkpoint is no longer what was written.
    Damage,
    /// What somebody else does to Anchore's tables.
    Sql(&'static str),
}

use Before::{Crash, Damage, Run};

const MIGRATE: &str = "migrate @db @localfs --dontask --concurrency 1";

const PLAIN: Story = Story {
    name: "migrate",
    before: &[],
    command: MIGRATE,
    task: 1,
    limits: "",
    ends_at: "file",
    leaves: 0,
    undoes: false,
    in_flight: 1,
    large: false,
    again: "",
    goes_on_with: "",
    is_variant: false,
};

/// Rows that share a document have one copy between them: 12 documents under 13 rows.
pub const DOCUMENTS: usize = 12;
pub const ROWS: usize = 13;

pub const MIGRATE_ONE_BY_ONE: Story = PLAIN;

pub const MIGRATE_AND_SEAL: Story = Story {
    name: "migrate, sealing the journal on the way",
    command: "migrate @db @localfs --dontask --concurrency 4",
    limits: "journal-seals-after=return(7)",
    in_flight: 4,
    is_variant: true,
    ..PLAIN
};

pub const MIGRATE_BETWEEN_DIRECTORIES: Story = Story {
    name: "migrate between directories, which are probed",
    before: &[Run(MIGRATE)],
    command: "migrate @localfs @other --dontask --concurrency 4",
    task: 2,
    in_flight: 4,
    is_variant: true,
    ..PLAIN
};

pub const MIGRATE_INTO_ROWS: Story = Story {
    name: "migrate files into rows",
    before: &[Run(MIGRATE)],
    command: "migrate @localfs @db2 --dontask --concurrency 1",
    task: 2,
    ends_at: "db2",
    is_variant: true,
    ..PLAIN
};

pub const MIGRATE_LARGE: Story = Story {
    name: "migrate a large document",
    large: true,
    is_variant: true,
    ..PLAIN
};

pub const RESUME: Story = Story {
    name: "resume what has crashed",
    before: &[Crash(MIGRATE, "journal-after-sync=23*off->return")],
    command: "resume 1 --concurrency 1",
    ..PLAIN
};

pub const RESUME_CUT_OFF_COMMITS: Story = Story {
    name: "resume with a commit that has no entry",
    before: &[Crash(MIGRATE, "swap-after-commit=4*off->return")],
    command: "resume 1 --concurrency 1",
    is_variant: true,
    ..PLAIN
};

pub const REBUILD: Story = Story {
    name: "resume with a damaged checkpoint",
    before: &[Crash(MIGRATE, "journal-after-sync=23*off->return"), Damage],
    command: "resume 1 --concurrency 1",
    is_variant: true,
    ..PLAIN
};

pub const DELETE_SOURCE: Story = Story {
    name: "delete the sources that were kept",
    before: &[Run(
        "migrate @db @localfs --dontask --concurrency 1 --nodelete",
    )],
    command: "delete-source 1 --dontask --concurrency 1",
    task: 2,
    ..PLAIN
};

pub const REVERSE: Story = Story {
    name: "reverse to sources that are gone",
    before: &[Run(MIGRATE)],
    command: "reverse 1 --dontask --concurrency 1",
    task: 2,
    ends_at: "db",
    undoes: true,
    ..PLAIN
};

pub const REVERSE_TO_STANDING: Story = Story {
    name: "reverse to sources that still stand",
    before: &[Run(
        "migrate @db @localfs --dontask --concurrency 1 --nodelete",
    )],
    is_variant: true,
    ..REVERSE
};

pub const REVERSE_CRASHED: Story = Story {
    name: "reverse what has crashed",
    before: &[Crash(MIGRATE, "journal-after-sync=23*off->return")],
    is_variant: true,
    ..REVERSE
};

const MIGRATE_ONLINE: &str = "migrate @db @localfs --dontask --concurrency 1 --online";

/// What services do between two passes.
const CHANGES: Before = Before::Sql(
    r#"UPDATE archive_metadata SET last_updated = last_updated + 1
        WHERE "archiveId" IN ('empty', 'twin') OR "archiveId" LIKE '%-0000002-%'"#,
);

pub const SYNC: Story = Story {
    name: "a second pass while the services run",
    before: &[Run(MIGRATE_ONLINE), CHANGES],
    command: "sync 1 --concurrency 1",
    again: "sync 1 --concurrency 1",
    goes_on_with: "cutover 1 --dontask --concurrency 1",
    leaves: DOCUMENTS,
    ..PLAIN
};

pub const CUTOVER: Story = Story {
    name: "the cut-over",
    before: &[Run(MIGRATE_ONLINE), CHANGES],
    command: "cutover 1 --dontask --concurrency 1",
    again: "cutover 1 --dontask --concurrency 1",
    leaves: DOCUMENTS,
    ..PLAIN
};

/// A document that is there while the first pass is made, and gone behind it.
const PASSING: Before = Before::Sql(
    r#"INSERT INTO archive_document (bucket, "archiveId", "userId", "documentName", jsondata,
           b64_encoded)
       VALUES ('analysis_data', 'passing', 'admin', 'passing.json', 'passing', false);
       INSERT INTO archive_metadata (bucket, "archiveId", "userId", "documentName", content_url,
           is_compressed, digest, size, created_at, last_updated)
       VALUES ('analysis_data', 'passing', 'admin', 'passing.json',
           'db://admin/analysis_data/passing', false, '6231f308790c62fa9300f2de0271f78b', 7, 1, 1)"#,
);
const PASSED: Before = Before::Sql(
    r#"DELETE FROM archive_metadata WHERE "archiveId" = 'passing';
       DELETE FROM archive_document WHERE "archiveId" = 'passing'"#,
);

pub const DELETE_BEHIND_ONLINE: Story = Story {
    name: "delete the sources behind a cut-over, and a copy that was left",
    before: &[
        PASSING,
        Run(MIGRATE_ONLINE),
        PASSED,
        Run("cutover 1 --dontask --concurrency 1"),
    ],
    is_variant: true,
    ..DELETE_SOURCE
};

pub const ALL: &[Story] = &[
    DELETE_BEHIND_ONLINE,
    SYNC,
    CUTOVER,
    MIGRATE_ONE_BY_ONE,
    MIGRATE_AND_SEAL,
    MIGRATE_BETWEEN_DIRECTORIES,
    MIGRATE_INTO_ROWS,
    MIGRATE_LARGE,
    RESUME,
    RESUME_CUT_OFF_COMMITS,
    REBUILD,
    DELETE_SOURCE,
    REVERSE,
    REVERSE_TO_STANDING,
    REVERSE_CRASHED,
];
