//! One function for each kind of text or bytes that comes from outside, to be fed anything at all.
//! They panic where a promise is broken. `fuzz/` and `tests/fuzzed` call them.

use std::path::Path;

use crate::config::{ConfigFile, Section};
use crate::database::DatabaseUrl;
use crate::model::ObjectKey;
use crate::{audit, driver, journal};

/// A configuration: an error, or values that can be asked for.
pub fn config(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let env = |name: &str| (!name.len().is_multiple_of(3)).then(|| format!("value of {name}"));
    // No file may be read that the text names.
    let env = |name: &str| (name != "ANCHORE_ENV_FILE").then(|| env(name)).flatten();
    let Ok(config) = ConfigFile::parse(Path::new("config.yaml"), &text, &env) else {
        return;
    };
    for section in [Section::ObjectStore, Section::AnalysisArchive] {
        if let Ok(store) = config.store(section) {
            assert_eq!(store.fingerprint(), store.fingerprint());
            let _ = (store.place(), format!("{store:?}"));
        }
    }
    let _ = config.database();
}

/// A `content_url` as it stands, and the three parts of a key as they make one.
pub fn content_url(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    driver::fuzzing::read_url(&text);
    let mut parts = text.splitn(3, '|');
    let mut part = || parts.next().unwrap_or_default();
    driver::fuzzing::build_url(&ObjectKey::new(part(), part(), part()));
}

/// A record of the checkpoint: the bytes as they are, and as the payload of a frame that fits.
/// `hex:` and hex digits stand for bytes, so that seeds can be read.
pub fn journal_record(data: &[u8]) {
    let digits = data.strip_prefix(b"hex:").map(<[u8]>::trim_ascii);
    let unhexed = digits.and_then(|digits| hex::decode(digits).ok());
    let data = unhexed.as_deref().unwrap_or(data);
    journal::fuzzing::read_frame(data);
    if let Some((version, payload)) = data.split_first() {
        journal::fuzzing::read_payload(*version, payload);
    }
}

/// An export of a journal.
pub fn chain_line(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        text.lines().for_each(journal::fuzzing::read_line);
    }
    let verified = journal::chain::verify_export(data);
    let proof = audit::prove_export(std::io::Cursor::new(data)).expect("in memory");
    // What only proves the chain takes nothing that also replays it would call broken.
    assert!(verified.is_ok() || proof.problems > 0);
}

/// The URL of a database: what is shown of it reads back, and has no password.
pub fn database_url(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let Ok(url) = DatabaseUrl::parse(&text) else {
        return;
    };
    let shown = url.redacted();
    match DatabaseUrl::parse(&shown) {
        Ok(again) => {
            assert_eq!(again.redacted(), shown);
            assert!(again.password().is_none(), "{shown}");
        }
        Err(error) => panic!("{shown:?} does not read back: {error}"),
    }
    let _ = (url.place(), url.password());
}
