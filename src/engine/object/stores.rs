//! The two stores of a run.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::config::Compression;
use crate::driver::Driver;
use crate::engine::object::item::Item;
use crate::engine::object::transform::Form;

/// Where documents are, and where they go.
pub struct Stores {
    /// Where documents are.
    pub source: Arc<dyn Driver>,
    /// Where they go.
    pub destination: Arc<dyn Driver>,
    /// How the destination wants them.
    pub compression: Compression,
    /// Whether it has been said that the destination has no checksums of its own.
    pub warned_no_checksum: AtomicBool,
}

impl Stores {
    /// How the destination is to store an object.
    pub fn form(&self, item: &Item) -> Form {
        match &item.object.restore {
            None => Form::Configured(self.destination.kind(), self.compression),
            Some(before) => Form::AsBefore {
                compressed: before.compressed == Some(true),
            },
        }
    }
}
