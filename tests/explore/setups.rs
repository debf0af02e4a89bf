//! The searches: what each begins with, and how much may go wrong in it.

use windlass::model::TaskKind;

use crate::rules::Rule;
use crate::setup::{Fault, PLAIN, Setup};

/// Faults of our own machines and of the database.
const CRASHES: &[Fault] = &[
    Fault::Kill,
    Fault::PowerCut,
    Fault::LockLoss,
    Fault::AnswerLoss,
];

const STOPS_AND_CRASHES: &[Fault] = &[
    Fault::Kill,
    Fault::Stop,
    Fault::PowerCut,
    Fault::LockLoss,
    Fault::AnswerLoss,
];

const CHECKPOINTS: &[Fault] = &[
    Fault::Kill,
    Fault::PowerCut,
    Fault::AnswerLoss,
    Fault::CheckpointLoss,
    Fault::OldCheckpoint,
];

const FAILOVERS: &[Fault] = &[
    Fault::Kill,
    Fault::PowerCut,
    Fault::LockLoss,
    Fault::Failover,
    Fault::CheckpointLoss,
];

/// Hands that are not ours.
const OTHERS: &[Fault] = &[
    Fault::Kill,
    Fault::LockLoss,
    Fault::AnswerLoss,
    Fault::AnchoreMoves,
    Fault::OverwriteAtA,
    Fault::OverwriteAtB,
    Fault::Damage,
];

/// Without other writers: who overwrites a document that two rows share, spoils it for one.
const SHARERS: &[Fault] = &[
    Fault::Kill,
    Fault::PowerCut,
    Fault::LockLoss,
    Fault::AnswerLoss,
    Fault::Damage,
];

const TWO_MACHINES: &[Fault] = &[
    Fault::Kill,
    Fault::LockLoss,
    Fault::AnswerLoss,
    Fault::OverwriteAtB,
    Fault::SecondMachine,
];

const CRASHING: Setup = Setup {
    name: "one object, crashes",
    faults: CRASHES,
    disturbances: 3,
    ..PLAIN
};

const LOSING_CHECKPOINTS: Setup = Setup {
    name: "one object, lost and old checkpoints",
    faults: CHECKPOINTS,
    disturbances: 3,
    ..PLAIN
};

const FAILING_OVER: Setup = Setup {
    name: "one object, failovers",
    faults: FAILOVERS,
    disturbances: 3,
    ..PLAIN
};

const AMONG_OTHERS: Setup = Setup {
    name: "one object, other hands",
    faults: OTHERS,
    disturbances: 3,
    ..PLAIN
};

const WITHOUT_DIGESTS: Setup = Setup {
    name: "one object without a digest, other hands",
    digests: false,
    faults: &[Fault::Kill, Fault::LockLoss, Fault::OverwriteAtA],
    disturbances: 2,
    ..PLAIN
};

const WITHIN_A_SECOND: Setup = Setup {
    name: "one object, other hands within the same second",
    stamps: false,
    faults: &[Fault::Kill, Fault::LockLoss, Fault::OverwriteAtA],
    disturbances: 2,
    ..PLAIN
};

const ON_TWO_MACHINES: Setup = Setup {
    name: "one object, two machines",
    faults: TWO_MACHINES,
    disturbances: 3,
    ..PLAIN
};

const REFUSED_IN_THE_MIRROR: Setup = Setup {
    name: "one object, its row of the mirror refused",
    faults: &[
        Fault::Kill,
        Fault::PowerCut,
        Fault::LockLoss,
        Fault::CheckpointLoss,
        Fault::MirrorRefuses,
    ],
    disturbances: 3,
    ..PLAIN
};

const REVERSED: Setup = Setup {
    name: "one object, reversed",
    follow_up: Some(TaskKind::Reverse),
    faults: STOPS_AND_CRASHES,
    disturbances: 2,
    ..PLAIN
};

const REVERSED_AMONG_OTHERS: Setup = Setup {
    name: "one object, reversed, other hands",
    follow_up: Some(TaskKind::Reverse),
    faults: OTHERS,
    disturbances: 2,
    ..PLAIN
};

/// A deployment cloned from this one stores in the same place.
const REVERSED_BESIDE_A_CLONE: Setup = Setup {
    name: "one object, reversed, a clone's documents in the same place",
    follow_up: Some(TaskKind::Reverse),
    faults: &[Fault::Kill, Fault::PowerCut, Fault::CloneStores],
    disturbances: 3,
    ..PLAIN
};

const REVERSED_WITHOUT_MARKS: Setup = Setup {
    name: "one object, reversed, a clone's documents, stores without marks",
    marks: false,
    ..REVERSED_BESIDE_A_CLONE
};

const REVERSED_BESIDE_A_TWIN: Setup = Setup {
    name: "one object, reversed, the same document in its place before, stores without marks",
    twin: true,
    marks: false,
    faults: &[Fault::Kill, Fault::PowerCut, Fault::CheckpointLoss],
    disturbances: 2,
    ..REVERSED_BESIDE_A_CLONE
};

const REVERSED_AFTER_LOSS: Setup = Setup {
    name: "one object, reversed, lost checkpoints and failovers",
    follow_up: Some(TaskKind::Reverse),
    faults: &[Fault::Kill, Fault::CheckpointLoss, Fault::Failover],
    disturbances: 2,
    ..PLAIN
};

const CLEANED_UP_LATER: Setup = Setup {
    name: "one object, --nodelete and delete-source",
    nodelete: true,
    follow_up: Some(TaskKind::DeleteSource),
    faults: OTHERS,
    disturbances: 2,
    ..PLAIN
};

const ALIAS: Setup = Setup {
    name: "one object, both places one",
    alias: true,
    ..PLAIN
};

const FOREIGN: Setup = Setup {
    name: "one object, something else at its destination",
    foreign: true,
    faults: CRASHES,
    disturbances: 2,
    ..PLAIN
};

/// One object each.
pub const ONE_OBJECT: &[Setup] = &[
    CRASHING,
    LOSING_CHECKPOINTS,
    FAILING_OVER,
    AMONG_OTHERS,
    WITHOUT_DIGESTS,
    WITHIN_A_SECOND,
    ON_TWO_MACHINES,
    REFUSED_IN_THE_MIRROR,
    REVERSED,
    REVERSED_AMONG_OTHERS,
    REVERSED_BESIDE_A_CLONE,
    REVERSED_WITHOUT_MARKS,
    REVERSED_BESIDE_A_TWIN,
    REVERSED_AFTER_LOSS,
    CLEANED_UP_LATER,
    ALIAS,
    FOREIGN,
];

const TWO: Setup = Setup {
    objects: 2,
    disturbances: 1,
    ..PLAIN
};

const TWO_CRASHING: Setup = Setup {
    name: "two objects, crashes",
    faults: CRASHES,
    ..TWO
};

const TWO_WITH_OLD_CHECKPOINTS: Setup = Setup {
    name: "two objects, old checkpoints",
    faults: &[Fault::Kill, Fault::OldCheckpoint],
    disturbances: 2,
    ..TWO
};

const TWO_FAILING_OVER: Setup = Setup {
    name: "two objects, failovers",
    faults: &[Fault::Kill, Fault::Failover],
    ..TWO
};

const TWO_REVERSED: Setup = Setup {
    name: "two objects, reversed",
    follow_up: Some(TaskKind::Reverse),
    faults: &[Fault::Kill, Fault::PowerCut],
    ..TWO
};

const TWO_ONE_REFUSED: Setup = Setup {
    name: "two objects, one's row of the mirror refused",
    refused: Some(0),
    faults: &[Fault::Kill, Fault::OldCheckpoint],
    ..TWO
};

const SHARING: Setup = Setup {
    name: "two rows with one source",
    shared: true,
    faults: SHARERS,
    ..TWO
};

const MEETING: Setup = Setup {
    name: "two sources with one destination",
    meet: true,
    faults: CRASHES,
    ..TWO
};

/// Two objects each.
pub const TWO_OBJECTS: &[Setup] = &[
    TWO_CRASHING,
    TWO_FAILING_OVER,
    TWO_ONE_REFUSED,
    TWO_REVERSED,
    SHARING,
    MEETING,
];

/// Further than a test without an optimizer should go.
pub const DEEPER: &[Setup] = &[
    TWO_WITH_OLD_CHECKPOINTS,
    deeper(TWO_ONE_REFUSED),
    deeper(TWO_CRASHING),
    deeper(CRASHING),
    deeper(LOSING_CHECKPOINTS),
    deeper(FAILING_OVER),
    deeper(AMONG_OTHERS),
    deeper(ON_TWO_MACHINES),
    deeper(REFUSED_IN_THE_MIRROR),
    deeper(REVERSED),
    deeper(REVERSED_AMONG_OTHERS),
    deeper(REVERSED_AFTER_LOSS),
    deeper(CLEANED_UP_LATER),
];

const fn deeper(setup: Setup) -> Setup {
    Setup {
        disturbances: setup.disturbances + 1,
        ..setup
    }
}

/// The search that finds what a rule is for.
pub fn for_rule(rule: Rule) -> &'static Setup {
    match rule {
        Rule::RefuseSamePlace => &ALIAS,
        Rule::RefuseMeeting => &MEETING,
        Rule::RefuseForeign => &FOREIGN,
        Rule::SwapComparesDigest => &WITHIN_A_SECOND,
        Rule::SwapComparesLastUpdated => &WITHOUT_DIGESTS,
        Rule::DurableBeforeNextEffect
        | Rule::MirrorBehindSync
        | Rule::ReplayBeyondMirror
        | Rule::JournalCutOffCommits
        | Rule::RecogniseOwnCommit => &CRASHING,
        Rule::SetAsideOldCheckpoint => &TWO_WITH_OLD_CHECKPOINTS,
        Rule::SetAsideWithoutEntries => &LOSING_CHECKPOINTS,
        Rule::MirrorNeverSkips
        | Rule::MirrorFindsLostCommits
        | Rule::CommittedOnlyFromDatabase
        | Rule::ReturnLostCommits => &FAILING_OVER,
        Rule::HeadWaitsForRefused | Rule::RefusedIsNotCutOff => &REFUSED_IN_THE_MIRROR,
        Rule::ShardsWaitForHead => &TWO_ONE_REFUSED,
        Rule::RereadRowBeforeWrite
        | Rule::RereadRowBeforeWritingAgain
        | Rule::LookAgainBeforeShowing
        | Rule::ProofIsOfOneLease
        | Rule::ReadBackBeforeCommit
        | Rule::ReadBackBeforeDelete
        | Rule::DeletesEndWithTheLease
        | Rule::AdoptOwnCommit
        | Rule::DeleteAsksForOwnRow => &AMONG_OTHERS,
        Rule::DeleteAsksForOtherRows => &SHARING,
        Rule::YieldToSuccessor => &ON_TWO_MACHINES,
        Rule::SwapUnderLock
        | Rule::OutlastLateEffects
        | Rule::AbandonedIsUnclean
        | Rule::EarlierRunsCount
        | Rule::ReversedIsFinal => &REVERSED,
        Rule::LeftoverOnlyIfUnused => &REVERSED_AMONG_OTHERS,
        Rule::LookForStrays => &TWO_REVERSED,
        Rule::LeftoverOnlyIfOurs => &REVERSED_BESIDE_A_CLONE,
        Rule::LeftoverOnlyIfEqual => &REVERSED_WITHOUT_MARKS,
    }
}
