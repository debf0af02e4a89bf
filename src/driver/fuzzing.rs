//! What must hold of a `content_url`, whatever stands in it: for the fuzz targets and the property
//! tests. Each of these panics where it does not hold.

use std::path::{Component, Path};

use super::{db, localfs, s3, swift};
use crate::digest::md5_hex;
use crate::model::{DriverKind, ObjectKey, Place};

/// A URL from the table, read by each driver: nothing leads out of a directory, into another
/// header or to another name.
pub fn read_url(url: &str) {
    let root = Path::new("/archive");
    for base in ["file:///archive/", "file:///archive"] {
        if let Some(path) = localfs::file_of(base, root, url) {
            assert!(path.starts_with(root), "{url:?} leads to {path:?}");
            let is_plain = |part: Component<'_>| matches!(part, Component::Normal(_));
            let below = path.strip_prefix(root).unwrap_or(&path);
            assert!(below.components().all(is_plain), "{url:?}: {path:?}");
        }
    }
    if let Some((bucket, key)) = s3::key_of(url) {
        assert_eq!(format!("s3://{bucket}/{key}"), url);
        assert!(!bucket.contains('/') && !bucket.is_empty() && !key.is_empty());
    }
    if let Some((container, name, path)) = swift::name_of(url) {
        assert_eq!(format!("swift://{container}/{name}"), url);
        let is_safe = |b: u8| b.is_ascii_alphanumeric() || b"/%-._~".contains(&b);
        assert!(path.bytes().all(is_safe), "{url:?} asks for {path:?}");
        let is_upwards = |part: &str| matches!(part, "." | "..");
        let mut below = path.split('/').skip(2);
        assert!(!below.any(is_upwards), "{url:?} asks for {path:?}");
    }
    if let Some([user, bucket, id]) = db::row_of(url) {
        assert_eq!(format!("db://{user}/{bucket}/{id}"), url);
    }
}

/// A key's URL at each kind of place names that key and no other.
pub fn build_url(key: &ObjectKey) {
    let rest = format!("{}/{}/{}", key.user, key.bucket, key.id);
    for (kind, base) in [
        (DriverKind::S3, "s3://bucket/"),
        (DriverKind::Swift, "swift://bucket/"),
        (DriverKind::Db, "db://"),
    ] {
        let place = Place {
            driver: kind,
            base: base.into(),
        };
        let url = place.url_for(key, |text| md5_hex(text));
        assert_eq!(url, format!("{base}{rest}"));
        read_url(&url);
        match kind {
            DriverKind::S3 => assert_eq!(s3::key_of(&url), Some(("bucket".into(), rest.clone()))),
            DriverKind::Swift => {
                let named = swift::name_of(&url).map(|(_, name, _)| name);
                assert_eq!(named.as_deref(), Some(rest.as_str()));
            }
            _ => {}
        }
    }
    let url = Place::localfs("/archive").url_for(key, |text| md5_hex(text));
    read_url(&url);
    let file = localfs::file_of("file:///archive/", Path::new("/archive"), &url);
    // A slash or dots in the bucket are all that could make another path of it.
    if !key.bucket.is_empty() && !key.bucket.contains(['/', '.', '\0']) {
        let file = file.unwrap_or_else(|| panic!("{url:?} has no file"));
        assert_eq!(format!("file://{}", file.display()), url);
    }
}
