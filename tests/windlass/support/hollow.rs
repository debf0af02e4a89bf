//! Documents of gigabytes that take next to nothing of a disk: files of holes, with a few bytes of
//! their own at each part's beginning and at their end.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use md5::{Digest, Md5};

use super::deployment::{Deployment, localfs_path};
use super::random::Random;

const STEP_BYTES: u64 = 8 << 20;
const MARK_BYTES: usize = 4 << 10;

/// Documents of one size. They differ in their last bytes only, so that the digest of all that
/// comes before is computed once.
pub struct Hollow {
    len_bytes: u64,
    before_the_end: Md5,
}

impl Hollow {
    /// Of this size, which is at least that of a mark.
    pub fn new(len_bytes: u64) -> Self {
        let zeros = vec![0; STEP_BYTES as usize];
        let mut md5 = Md5::new();
        let end = len_bytes - MARK_BYTES as u64;
        for from in (0..end).step_by(STEP_BYTES as usize) {
            let mark = mark(from);
            let room = (end - from).min(STEP_BYTES) as usize;
            let own = room.min(mark.len());
            md5.update(&mark[..own]);
            md5.update(&zeros[..room - own]);
        }
        Self {
            len_bytes,
            before_the_end: md5,
        }
    }

    pub fn md5_hex(&self, seed: u64) -> String {
        let md5 = self.before_the_end.clone();
        hex::encode(md5.chain_update(end_mark(seed)).finalize())
    }

    fn write(&self, path: &Path, seed: u64) {
        let file = File::create(path).expect("the document");
        file.set_len(self.len_bytes).expect("a hole");
        let end = self.len_bytes - MARK_BYTES as u64;
        for from in (0..end).step_by(STEP_BYTES as usize) {
            file.write_all_at(&mark(from), from).expect("a mark");
        }
        // Last: it may lie over another one.
        file.write_all_at(&end_mark(seed), end).expect("the end");
        file.set_len(self.len_bytes).expect("its length");
    }
}

fn mark(from: u64) -> Vec<u8> {
    Random::seeded(from ^ 0x0110_110E).bytes(MARK_BYTES)
}

fn end_mark(seed: u64) -> Vec<u8> {
    Random::seeded(seed).bytes(MARK_BYTES)
}

impl Deployment {
    /// A document stored by the `localfs` driver below `dir`. A checker does not know of it: that
    /// would be too much memory.
    pub async fn add_localfs_hollow(
        &self,
        dir: &Path,
        place: (&str, &str, &str),
        hollow: &Hollow,
        seed: u64,
    ) {
        let path = localfs_path(dir, place);
        hollow.write(&path, seed);
        let url = format!("file://{}", path.display());
        let digest = hollow.md5_hex(seed);
        self.add_row_of(place, &url, (digest, hollow.len_bytes), false)
            .await;
    }
}
