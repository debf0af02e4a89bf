//! What is known of an upload in parts that has not come to its end.

use std::collections::BTreeMap;

/// A part that a store has acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Counts from 1.
    pub number: u32,
    /// Its length.
    pub size_bytes: u64,
    /// The MD5 of its bytes.
    pub md5: [u8; 16],
    /// What the store calls it: an S3 part's ETag.
    pub tag: String,
}

/// An upload that a store knows of and that is not complete: its bytes so far are invisible to
/// readers, and another run may go on with it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Unfinished {
    /// The store's name for it.
    pub id: String,
    /// The parts that are known to be there, by number.
    pub parts: BTreeMap<u32, Part>,
}

impl Unfinished {
    /// One that has just begun.
    pub fn new(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            parts: BTreeMap::new(),
        }
    }

    /// How many bytes from the beginning on are there without a gap.
    pub fn leading_bytes(&self) -> u64 {
        let whole = (1..).map_while(|number| self.parts.get(&number));
        whole.map(|part| part.size_bytes).sum()
    }
}

/// A step of an upload, to be kept durably.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UploadStep {
    /// The store has begun it, under this name. What was known of an earlier one is void.
    Begun(String),
    /// The store has a part of it.
    Sent(Part),
    /// Nothing is left of it.
    Over,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_behind_a_gap_do_not_count() {
        let mut unfinished = Unfinished::new("id");
        for number in [1, 2, 4] {
            let part = Part {
                number,
                size_bytes: 10,
                md5: [0; 16],
                tag: String::new(),
            };
            unfinished.parts.insert(number, part);
        }
        assert_eq!(unfinished.leading_bytes(), 20);
    }
}
