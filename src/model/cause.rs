use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::UnknownWord;

/// Why an object failed, in as many kinds as there are things to do about it. What the run makes of
/// a failure is its class; what a person makes of it is its cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The source has no such document.
    MissingAtSource,
    /// What the source has is not what the row says: digest, size, or form.
    DamagedAtSource,
    /// The source refuses it to these credentials, or to anybody.
    RefusedBySource,
    /// The destination refuses it: rights, its key, its size.
    RefusedByDestination,
    /// Other content lies at its destination.
    OtherContentAtDestination,
    /// Its copy was not equal when it was read back, or is gone.
    CopyDiffers,
    /// The database refuses its row.
    RefusedByDatabase,
    /// The plan already knew that it can't be moved.
    RefusedAtPlan,
    /// The source failed again and again for this object, and not for others.
    SourceFails,
    /// So does the destination.
    DestinationFails,
    /// So does the database.
    DatabaseFails,
    /// Anything else, and what a version that kept no causes has journaled.
    Other,
}

impl Cause {
    /// All of them.
    pub const ALL: [Cause; 12] = [
        Cause::MissingAtSource,
        Cause::DamagedAtSource,
        Cause::RefusedBySource,
        Cause::RefusedByDestination,
        Cause::OtherContentAtDestination,
        Cause::CopyDiffers,
        Cause::RefusedByDatabase,
        Cause::RefusedAtPlan,
        Cause::SourceFails,
        Cause::DestinationFails,
        Cause::DatabaseFails,
        Cause::Other,
    ];

    /// The word in the journal and the mirror, and behind `--cause`.
    pub fn name(self) -> &'static str {
        match self {
            Cause::MissingAtSource => "missing-at-source",
            Cause::DamagedAtSource => "damaged-at-source",
            Cause::RefusedBySource => "refused-by-source",
            Cause::RefusedByDestination => "refused-by-destination",
            Cause::OtherContentAtDestination => "other-content-at-destination",
            Cause::CopyDiffers => "copy-differs",
            Cause::RefusedByDatabase => "refused-by-database",
            Cause::RefusedAtPlan => "refused-at-plan",
            Cause::SourceFails => "source-fails",
            Cause::DestinationFails => "destination-fails",
            Cause::DatabaseFails => "database-fails",
            Cause::Other => "other",
        }
    }

    /// What it is, behind "3 objects:".
    pub fn words(self) -> &'static str {
        match self {
            Cause::MissingAtSource => "missing at the source",
            Cause::DamagedAtSource => "at the source, but not what the row says",
            Cause::RefusedBySource => "refused by the source store",
            Cause::RefusedByDestination => "refused by the destination store",
            Cause::OtherContentAtDestination => "other content lies at the destination",
            Cause::CopyDiffers => "the copy differs when it is read back",
            Cause::RefusedByDatabase => "the database refuses the row",
            Cause::RefusedAtPlan => "cannot be moved, as the plan said",
            Cause::SourceFails => "the source store fails again and again",
            Cause::DestinationFails => "the destination store fails again and again",
            Cause::DatabaseFails => "the database fails again and again",
            Cause::Other => "failed for another reason",
        }
    }

    /// What a person can do, before `resume`.
    pub fn remedy(self) -> &'static str {
        match self {
            Cause::MissingAtSource => "restore them at the source",
            Cause::DamagedAtSource => "restore the documents as the rows have them",
            Cause::RefusedBySource => "grant the right at the source store",
            Cause::RefusedByDestination => "grant the right, or rename them in Anchore",
            Cause::OtherContentAtDestination => "see what lies there, and move it away",
            Cause::CopyDiffers => "see to the destination store: it lost or changed bytes",
            Cause::RefusedByDatabase => "see to the database's triggers and constraints",
            Cause::RefusedAtPlan => "give them keys that the destination can tell apart",
            Cause::SourceFails | Cause::DestinationFails => "see to the store",
            Cause::DatabaseFails => "see to the database",
            Cause::Other => "read the error",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Cause {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|cause| cause.name() == word)
            .ok_or_else(|| UnknownWord::new("cause", word))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_has_one_name_that_reads_back() {
        for cause in Cause::ALL {
            assert_eq!(cause.name().parse::<Cause>().unwrap(), cause);
            assert_eq!(
                serde_json::to_value(cause).unwrap(),
                serde_json::Value::from(cause.name())
            );
            assert!(!cause.words().is_empty() && !cause.remedy().is_empty());
        }
    }
}
