//! What a search begins with, and what it may meet.

use super::rules::{Rule, Rules};
use super::world::{Content, Place, Row, Services, State, Task, World};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A process is killed; what it has sent may still arrive.
    Kill,
    /// A process is stopped in the middle of a request, loses its lock, and wakes at any time.
    Freeze,
    /// A request is given up without an answer, and tried again.
    GiveUp,
    /// The database fails over to a replica that had stopped following, in the cut-over.
    Failover,
    /// Somebody damages or deletes what was staged.
    Damage,
    /// Somebody else stores something at the destination.
    OtherStores,
    /// A service dies between content and row.
    ServiceDies,
}

#[derive(Debug, Clone, Copy)]
pub struct Setup {
    pub name: &'static str,
    /// Whether rows have a digest.
    pub digests: bool,
    /// Whether a change always shows in the time of the last change, which counts whole seconds.
    pub times: bool,
    /// Whether the destination heeds conditional writes.
    pub conditional: bool,
    pub faults: &'static [Fault],
    pub disturbances: u8,
    pub writes: u8,
    pub passes: u8,
    pub rules: Rules,
}

const PLAIN: Setup = Setup {
    name: "nothing goes wrong",
    digests: true,
    times: true,
    conditional: false,
    faults: &[],
    disturbances: 0,
    writes: 2,
    passes: 2,
    rules: Rules::ALL,
};

const CRASHES: &[Fault] = &[Fault::Kill, Fault::GiveUp, Fault::ServiceDies];
const FROZEN: &[Fault] = &[Fault::Kill, Fault::Freeze, Fault::GiveUp];
const OTHERS: &[Fault] = &[Fault::Kill, Fault::Damage, Fault::OtherStores];

const CRASHED: Setup = Setup {
    name: "crashes",
    faults: CRASHES,
    disturbances: 3,
    ..PLAIN
};

const WITHOUT_DIGESTS: Setup = Setup {
    name: "crashes, rows without digests",
    digests: false,
    times: false,
    ..CRASHED
};

const WITHIN_A_SECOND: Setup = Setup {
    name: "changes within a second",
    times: false,
    disturbances: 1,
    writes: 3,
    ..CRASHED
};

const STANDING_STILL: Setup = Setup {
    name: "processes that stand still",
    faults: FROZEN,
    disturbances: 2,
    ..PLAIN
};

const FENCED: Setup = Setup {
    name: "processes that stand still, conditional writes",
    conditional: true,
    ..STANDING_STILL
};

const FAILOVERS: Setup = Setup {
    name: "failovers",
    faults: &[Fault::Kill, Fault::Failover],
    disturbances: 2,
    ..PLAIN
};

const OTHER_HANDS: Setup = Setup {
    name: "other hands",
    faults: OTHERS,
    disturbances: 2,
    ..PLAIN
};

/// All are searched.
pub const ALL: &[Setup] = &[
    PLAIN,
    CRASHED,
    WITHOUT_DIGESTS,
    WITHIN_A_SECOND,
    STANDING_STILL,
    FENCED,
    FAILOVERS,
    OTHER_HANDS,
];

/// The search that finds what a rule is for.
pub fn for_rule(rule: Rule) -> &'static Setup {
    match rule {
        Rule::DifferenceSeesDigest => &WITHIN_A_SECOND,
        Rule::WithoutDigestInCutover => &WITHOUT_DIGESTS,
        Rule::ConditionalWrites => &FENCED,
        Rule::NobodyMayWakeInCutover | Rule::NobodyMayWake => &STANDING_STILL,
        Rule::ForeignIsRefused
        | Rule::ProveInCutover
        | Rule::SecondLook
        | Rule::DeleteProvesCopy
        | Rule::RepairWithoutServices => &OTHER_HANDS,
        _ => &CRASHED,
    }
}

impl Setup {
    pub fn may(&self, fault: Fault) -> bool {
        self.faults.contains(&fault)
    }

    pub fn holds(&self, rule: Rule) -> bool {
        self.rules.hold(rule)
    }

    /// Whether two rows are the same, as far as they tell.
    pub fn same(&self, a: Row, b: Row, sees_time: bool, sees_digest: bool) -> bool {
        a.at == b.at
            && (a.time == b.time || !sees_time)
            && (a.version == b.version || !self.digests || !sees_digest)
    }

    pub fn first_world(&self) -> World {
        World {
            row: Some(Row {
                at: Place::A,
                version: 0,
                time: 0,
            }),
            stores: [Content::Version(0), Content::Absent],
            services: Services::On(Place::A),
            writing: None,
            torn: None,
            truth: Some(0),
            versions: 1,
            time: 0,
            task: Task {
                state: State::Staging,
                live: None,
                sent: 0,
                unclean: false,
            },
            process: None,
            replica: None,
            late: [None; 2],
            hurt: false,
            woken: false,
            meddled: false,
            foreign: false,
            disturbances: self.disturbances,
            writes: self.writes,
            passes: self.passes,
            calm_runs: 0,
        }
    }
}
