//! The rules of many executors on one task, each with a switch.

use crate::rules::rules;

rules! {
    /// The planner takes the lock shared, in the same session, before it drops it exclusive.
    PlannerKeepsTheLock,
    /// Whoever gets the lock shared asks which task is active, and works on no other.
    ActiveIsAsked,
    /// The task is made the active one again under the lock exclusive.
    ActiveUnderExclusive,
    /// Another task begins under the lock exclusive, and is active from then on.
    OthersTakeExclusive,
    /// An executor works only while its session holds the lock shared.
    WorkUnderShared,
    /// Who comes back takes the lock shared first, and the lock of its own number only then.
    SharedFirst,
    /// A shard is taken over only by who gets the lock of its owner's number.
    SessionsEndIsProven,
    /// And only as it was then: an owner that has come back meanwhile has claimed it anew.
    ClaimComparesLease,
    /// A takeover waits until nothing that the owner has sent can still arrive.
    OutlastTheOwner,
    /// Each claim raises the shard's lease.
    ClaimRaisesLease,
    /// Proofs of another tenure are none.
    ProofsAnew,
    /// A commit that the former owner did not come to journal is journaled by who takes over.
    JournalCutOffCommits,
    /// A takeover is journaled with the owner before and how far its entries go.
    AdoptionIsJournaled,
    /// That head is kept in the shard's row by the claim itself.
    ClaimKeepsTheHead,
    /// And stays there when the next takes over: the one before may never have come to journal it.
    EveryTakeoverIsKept,
    /// A shard that an executor finds its own again is claimed anew, one that it has lost is let go of.
    RegainClaimsAnew,
    /// Before that, what it has journaled goes to the mirror.
    MirrorBeforeClaim,
    /// Commits of which the mirror has no entry are journaled only in shards that are its own in the database:
    /// of others' it may have journaled them already, and gone on.
    CutOffIsTheOwners,
    /// What is told the mirror asks for each shard's owner and lease.
    MirrorIsFenced,
    /// It asks so that no takeover comes between the question and its end.
    FenceHoldsTheShard,
    /// The mirror's guard orders by lease first.
    GuardOrdersByLease,
    /// Swaps go over the session that holds the locks, as do deletes of rows.
    SwapOnTheSession,
    /// A process that has stood still asks after its locks before it sends what can't be fenced.
    AskAfterJump,
    /// All executors of a task are of one version.
    OneVersion,
    /// Objects that share a source or a destination lie in one shard.
    KinInOneShard,
    /// The task is closed when every shard is done.
    CloseWhenDone,
    /// What the passes of an online task have staged is committed by one executor, which holds the lock
    /// exclusive: nobody is let in beside it.
    CutoverIsAlone,
    /// It begins when nobody else may wake, and nothing that was sent can still arrive.
    CutoverWaitsForAll,
    /// A shard that is opened again for it is still its last owner's, and so has to be taken over.
    ReopenedKeepsOwner,
    /// Behind a failover of the database nobody joins the task or comes back to it, until the operator lets
    /// one executor go on.
    FailoverStopsAll,
    /// Another task that is worked on in between does not let this one go on.
    TimelineIsTheTasks,
    /// That is when no process of before is left, and nothing that one has sent can still arrive,
    WordWhenAllAreGone,
    /// when the journal of every worker is there and fits,
    WordWhenJournalsFit,
    /// and none tells of a claim that the database does not have,
    LostClaimsForbid,
    /// of a takeover,
    LostTakeoversForbid,
    /// or of a commit, other than of the worker's own that is to go on.
    LostCommitsForbid,
    /// A commit asks for its shards' owner and lease first.
    CommitIsFenced,
    /// So does the question whether a source may go.
    DeletableIsFenced,
    /// Where sources are rows, the delete asks in its own statement.
    RowDeleteAsks,
}

/// Rules behind another that closes the same way. Either alone is enough; they are kept because each
/// fails by another mistake: the one rests on what a process remembers, the other on the database.
pub const SECOND_LINES: &[(Rule, Rule)] = &[
    (Rule::CommitIsFenced, Rule::RegainClaimsAnew),
    (Rule::DeletableIsFenced, Rule::RegainClaimsAnew),
    (Rule::RowDeleteAsks, Rule::SwapOnTheSession),
];
