//! Signatures in minisign's format, which `minisign -V` checks: Ed25519 over a BLAKE2b hash. Keys are those
//! of `minisign -G -W`, without a password: whoever signs unattended has nobody to type one.
//! (jedisct1.github.io/minisign, "Signature format" and "Secret key format")

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use blake2::{Blake2b512, Digest as _};
use ring::signature::{Ed25519KeyPair, KeyPair as _};

use crate::cli::fault::{Code, refused};

/// A key file has two lines; what is much longer is none.
const KEY_MAX_BYTES: u64 = 4 << 10;

/// Algorithm, key derivation, checksum, salt and two limits; then key number, key and checksum.
const KEY_BYTES: usize = 2 + 2 + 2 + 32 + 8 + 8 + 8 + 64 + 32;

/// Where the key's number begins, and the key behind it.
const NUMBER: usize = 54;
const KEY: usize = 62;
const PUBLIC: usize = 94;
const CHECKSUM: usize = 126;

/// A key that signs. Nothing prints it.
pub struct Signer {
    number: [u8; 8],
    pair: Ed25519KeyPair,
}

impl Signer {
    /// Reads a key file, which only its owner may read.
    ///
    /// # Errors
    /// It can't be read, others can read it, or it is no such key. What stands in it is never told.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let refuse = |why: String| refused(Code::File, format!("{}: {why}", path.display()));
        let cannot = |error: std::io::Error| refuse(format!("the key can't be read: {error}"));
        let mut file = File::open(path).map_err(cannot)?;
        // Of the open file: what the path leads to may be another a moment later.
        let metadata = file.metadata().map_err(cannot)?;
        if !metadata.is_file() {
            return Err(refuse("a key is a file".into()));
        }
        let mode = metadata.mode() & 0o777;
        if mode & 0o077 != 0 {
            let why =
                format!("others can read this key (mode {mode:03o}): chmod 600, or make a new one");
            return Err(refuse(why));
        }
        let mut text = String::new();
        let read = file.by_ref().take(KEY_MAX_BYTES).read_to_string(&mut text);
        read.map_err(cannot)?;
        Self::parse(&text).map_err(|why| refuse(why.into()))
    }

    fn parse(text: &str) -> Result<Self, &'static str> {
        const NO_KEY: &str = "this is no secret key of minisign's: minisign -G -W makes one";
        let line = text.lines().nth(1).ok_or(NO_KEY)?;
        let key = STANDARD.decode(line.trim()).map_err(|_| NO_KEY)?;
        if key.len() != KEY_BYTES || &key[..2] != b"Ed" {
            return Err(NO_KEY);
        }
        match &key[2..4] {
            [0, 0] => {}
            b"Sc" => {
                return Err(
                    "this key has a password: minisign -G -W makes one without, for windlass alone, \
                     or sign the page yourself with minisign -S",
                );
            }
            _ => return Err(NO_KEY),
        }
        // Some versions leave the checksum of such a key at zero; the two halves are compared anyway.
        let stated = &key[CHECKSUM..];
        let checked = [&key[..2], &key[NUMBER..CHECKSUM]].concat();
        let checksum = blake2::Blake2b::<blake2::digest::consts::U32>::digest(checked);
        if stated.iter().any(|byte| *byte != 0) && stated != &checksum[..] {
            return Err("this key is damaged: its checksum does not fit");
        }
        let pair =
            Ed25519KeyPair::from_seed_and_public_key(&key[KEY..PUBLIC], &key[PUBLIC..CHECKSUM]);
        let pair = pair.map_err(|_| "this key is damaged: its halves do not fit each other")?;
        let number = key[NUMBER..KEY].try_into().map_err(|_| NO_KEY)?;
        Ok(Self { number, pair })
    }

    /// The public key, as `minisign -P` takes it.
    pub fn public_key(&self) -> String {
        let key = [b"Ed", &self.number[..], self.pair.public_key().as_ref()].concat();
        STANDARD.encode(key)
    }

    /// The signature of a text, as it stands in a `.minisig` file. `comment` is signed, too.
    pub fn sign(&self, text: &str, comment: &str) -> String {
        let signature = self.pair.sign(&Blake2b512::digest(text));
        let signature = signature.as_ref();
        let of_all = self.pair.sign(&[signature, comment.as_bytes()].concat());
        let first = [b"ED", &self.number[..], signature].concat();
        format!(
            "untrusted comment: signature by windlass report\n{}\ntrusted comment: {comment}\n{}\n",
            STANDARD.encode(first),
            STANDARD.encode(of_all.as_ref())
        )
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// Made by `minisign -G -W` for this test, and used nowhere else.
    const SECRET: &str = include_str!("../../../fixtures/report/minisign.key");
    const PUBLIC_KEY: &str = include_str!("../../../fixtures/report/minisign.pub");

    fn written(text: &str, mode: u32) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        (dir, path)
    }

    #[test]
    fn a_key_of_minisigns_signs_as_the_owner_of_its_public_half() {
        let (_dir, path) = written(SECRET, 0o600);
        let signer = Signer::read(&path).unwrap();
        let public = PUBLIC_KEY.lines().nth(1).unwrap();
        assert_eq!(signer.public_key(), public);
        let signed = signer.sign("a statement\n", "of a test");
        let lines: Vec<_> = signed.lines().collect();
        assert_eq!(lines.len(), 4);
        assert_eq!(lines[2], "trusted comment: of a test");
        let key = STANDARD.decode(public).unwrap();
        let key = ring::signature::UnparsedPublicKey::new(&ring::signature::ED25519, &key[10..]);
        let first = STANDARD.decode(lines[1]).unwrap();
        assert_eq!(&first[..2], b"ED");
        key.verify(&Blake2b512::digest("a statement\n"), &first[10..])
            .unwrap();
        let all = [&first[10..], b"of a test"].concat();
        key.verify(&all, &STANDARD.decode(lines[3]).unwrap())
            .unwrap();
    }

    #[test]
    fn a_key_that_others_can_read_or_that_is_none_is_refused_and_not_told() {
        let secret = SECRET.lines().nth(1).unwrap();
        let mut damaged = STANDARD.decode(secret).unwrap();
        damaged[KEY] ^= 1;
        let damaged = format!("x\n{}\n", STANDARD.encode(&damaged));
        let mut locked = STANDARD.decode(secret).unwrap();
        locked[2..4].copy_from_slice(b"Sc");
        let locked = format!("x\n{}\n", STANDARD.encode(&locked));
        for (text, mode, why) in [
            (SECRET, 0o640, "others can read this key (mode 640)"),
            (SECRET, 0o604, "others can read"),
            (PUBLIC_KEY, 0o600, "no secret key"),
            ("", 0o600, "no secret key"),
            (&damaged, 0o600, "damaged"),
            (&locked, 0o600, "has a password"),
        ] {
            let (_dir, path) = written(text, mode);
            let error = Signer::read(&path).err().unwrap();
            let said = format!("{error:#}");
            assert!(said.contains(why), "{why}: {said}");
            assert!(!said.contains(&secret[60..80]), "{said}");
        }
        let nowhere = Signer::read(Path::new("/nowhere/key")).err().unwrap();
        assert!(format!("{nowhere:#}").contains("can't be read"));
    }
}
