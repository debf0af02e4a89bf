//! The odd-looking rules of the design, each with a switch.

/// Makes `Rule`, one for each name, and `Rules`, which of them hold: windlass has all of them; with
/// one switched off the search has to find what it was for.
macro_rules! rules {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// One rule.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Rule { $($(#[$doc])* $name,)* }

        impl Rule {
            /// All rules, in the order of an object's way.
            pub const ALL: &[Rule] = &[$(Rule::$name,)*];
        }

        /// Which rules hold.
        #[derive(Debug, Clone, Copy)]
        pub struct Rules(u64);

        impl Rules {
            /// What windlass does.
            pub const ALL: Self = Self(u64::MAX);

            /// All but one.
            pub fn without(rule: Rule) -> Self {
                Self::ALL.and_without(rule)
            }

            /// Without another one.
            pub fn and_without(self, rule: Rule) -> Self {
                Self(self.0 & !(1u64 << rule as u32))
            }

            /// Whether a rule holds.
            pub fn hold(self, rule: Rule) -> bool {
                self.0 & (1u64 << rule as u32) != 0
            }
        }
    };
}
pub(crate) use rules;

rules! {
    /// A place is never moved onto itself under another name.
    RefuseSamePlace,
    /// Different sources that meet at one destination are refused.
    RefuseMeeting,
    /// Other content at the destination is refused, without `--overwrite`.
    RefuseForeign,
    /// Before any write the row is read again: it must be the planned one. A row that points at
    /// the destination while the mirror is not committed is somebody else's.
    RereadRowBeforeWrite,
    /// The same once more before a copy that read back unequal is made again.
    RereadRowBeforeWritingAgain,
    /// A copy that was under way when the lock was lost is shown to readers only after another look
    /// at its row, in the lease in which it is shown.
    LookAgainBeforeShowing,
    /// An entry is durable before the next step's effect begins.
    DurableBeforeNextEffect,
    /// The mirror's head never goes out before the journal's sync.
    MirrorBehindSync,
    /// A mirror whose head has gone back has lost what it had acknowledged: it is not led on
    /// from there, but brought up to the journal first.
    MirrorNeverSkips,
    /// Nor is it led on where an object that the journal has as committed is not so in the
    /// database.
    MirrorFindsLostCommits,
    /// Nor over an entry that the mirror lacks, since the database refuses the object's row: the
    /// head waits, and a resume finds in the journal what is missing.
    HeadWaitsForRefused,
    /// A checkpoint that does not have the mirror's head is an old copy, and set aside.
    SetAsideOldCheckpoint,
    /// So is one that does not have the entries that the mirror's objects name as their last: a
    /// commit may be ahead of the head.
    SetAsideWithoutEntries,
    /// While the head waits no shard is closed, so that the entries of the objects in it still tell
    /// an old copy from the right one.
    ShardsWaitForHead,
    /// What the journal has beyond the mirror is replayed into it.
    ReplayBeyondMirror,
    /// `committed` is believed only from the database: no mirrored entry crosses the commit.
    CommittedOnlyFromDatabase,
    /// A commit that the journal has and the database has not was lost by a failover: the object
    /// goes back to verified.
    ReturnLostCommits,
    /// A commit whose entry a crash cut off is journaled before anything else happens.
    JournalCutOffCommits,
    /// One that the mirror does not show because the database refuses its row is no such commit: a
    /// new lease does not journal it again.
    RefusedIsNotCutOff,
    /// A commit whose answer was lost is recognised by the mirror's row.
    RecogniseOwnCommit,
    /// A copy is read back again in each lease before it is committed.
    ReadBackBeforeCommit,
    /// What was read back while the lock changed hands proves nothing in the new lease.
    ProofIsOfOneLease,
    /// The swap compares the content's digest and size.
    SwapComparesDigest,
    /// The swap compares `last_updated`.
    SwapComparesLastUpdated,
    /// The swap goes over the connection that holds the lock.
    SwapUnderLock,
    /// A copy is read back again in each lease before its source is deleted.
    ReadBackBeforeDelete,
    /// A new lease does not begin while a source is being deleted on the strength of an older one; a
    /// copy under way it need not wait for.
    DeletesEndWithTheLease,
    /// A source is deleted only while its row is, by the whole tuple, what the commit wrote.
    DeleteAsksForOwnRow,
    /// A source is deleted only if no other row points at it.
    DeleteAsksForOtherRows,
    /// In a new lease, what the database has committed is taken for committed: a copy that reads
    /// back unequal then keeps the source and is never made again.
    AdoptOwnCommit,
    /// Nothing more goes to the mirror from a process whose task another has taken over, and when
    /// it finds that out it yields: the head that its successor's journal begins behind stays where
    /// it is, and no two journals tell of one commit.
    YieldToSuccessor,
    /// A different task waits until nothing that a dead one has sent can still arrive.
    OutlastLateEffects,
    /// An executor whose run abandons what it has sent does not tell of a clean end.
    AbandonedIsUnclean,
    /// Nor does one that goes on after an unclean end, as long as what was sent before may still
    /// arrive.
    EarlierRunsCount,
    /// A task that has been reversed can be neither resumed nor cleaned up.
    ReversedIsFinal,
    /// A leftover copy is deleted only after reading the document where its row has it, and only
    /// while no row points at the copy.
    LeftoverOnlyIfUnused,
    /// A reverse looks at every destination that its task may have written to, whether or not an
    /// entry tells of a copy there.
    LookForStrays,
    /// What lies at a destination that was never committed goes only where this task has written
    /// it: its mark says so or, in a store without marks, that the place was empty.
    LeftoverOnlyIfOurs,
    /// And only where its content is the document's.
    LeftoverOnlyIfEqual,
}
