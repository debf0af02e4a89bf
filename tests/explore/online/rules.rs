//! The rules of a migration while the services run, each with a switch.

use crate::rules::rules;

rules! {
    /// Nothing is committed before the cut-over: a service knows one store.
    NothingCommittedBefore,
    /// A pass plans a document anew whose row has another digest …
    DifferenceSeesDigest,
    /// … or another time of its last change.
    DifferenceSeesTime,
    /// A row that does not tell by its digest that its content has changed is copied in the cut-over,
    /// whatever passes have seen.
    WithoutDigestInCutover,
    /// Content that is not what the row says is no failure while services may be between the two: the
    /// next pass looks again.
    MismatchWaits,
    /// What the task itself has written for an earlier version may be replaced.
    OwnCopyIsReplaced,
    /// Anything else at the destination may not.
    ForeignIsRefused,
    /// The cut-over begins when no service is at work.
    ServicesAreStopped,
    /// It begins with a last pass.
    LastPass,
    /// It proves every staged copy anew before its row is swapped.
    ProveInCutover,
    /// A cut-over that was cut off is finished: until then neither configuration reads everything.
    CutoverIsResumed,
    /// After an unclean end the task's own passes and its cut-over, too, wait until nothing of the
    /// earlier process can still arrive: what it sent may be another version.
    OutlastOwnLateWrites,
    /// A request that was given up without an answer counts as under way.
    GivenUpIsUnderWay,
    /// Sources stay at the cut-over.
    SourcesStay,
    /// At its end the cut-over looks at the copies once more, and writes again what no longer fits.
    SecondLook,
    /// Writes say what they expect at the destination, where a store heeds that.
    ConditionalWrites,
    /// Where a store does not heed them, the cut-over begins when no process of the task may wake any
    /// more: what it sends could hit what a service has stored since, and exists only there.
    NobodyMayWakeInCutover,
    /// Sources are deleted when no process of the task may wake any more; and rows go back to them when
    /// none may wake that was to delete them.
    NobodyMayWake,
    /// A source is deleted on a proof of its copy; a copy that does not fit is written again.
    DeleteProvesCopy,
    /// And only while no service may be about to say in its row what it has stored there.
    RepairWithoutServices,
    /// And only over what the task itself has sent: a service that died may have left something newer
    /// there.
    RepairOnlyOwn,
    /// A source whose content is not what was committed is kept.
    DeleteProvesSource,
    /// A copy that its document has left behind goes only while no service can write there.
    LeftoverWithoutServices,
    /// And only while no row points at it.
    LeftoverOnlyIfUnused,
    /// And only if it is what this task has written.
    LeftoverOnlyIfOurs,
    /// Once the cut-over has begun, it is taken back only while no service is at work.
    ReverseWithoutServices,
}
