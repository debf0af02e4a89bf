//! From a `content_url` to a path, taken raw: nothing is decoded, nothing is cut off.

use std::path::{Path, PathBuf};

/// The path of an object that may lie anywhere: reading harms nothing, and Anchore reads so.
pub(super) fn anywhere(url: &str) -> Result<PathBuf, String> {
    let path = url
        .strip_prefix("file://")
        .filter(|path| path.starts_with('/'))
        .ok_or("is not a file:// URL with an absolute path")?;
    match path.split('/').any(|part| part == "..") || path.contains('\0') {
        true => Err("its path goes upwards (`..`): such an object is not for a file system".into()),
        false => Ok(PathBuf::from(path)),
    }
}

/// The path of an object below `root`, whose URLs begin with `base`.
///
/// `.` and empty parts are refused like `..`: the file system drops them, so that two objects
/// (buckets `a//b` and `a/b`) would be one file.
pub(super) fn inside(base: &str, root: &Path, url: &str) -> Result<PathBuf, String> {
    let below = url
        .strip_prefix(base)
        .ok_or("does not lie in archive_data_dir; only what lies there is written or deleted")?;
    let odd = |part: &str| matches!(part, "" | "." | "..");
    if let Some(part) = below.split('/').find(|part| odd(part)) {
        return Err(format!(
            "its path has a part {part:?}, which a file system does not keep apart from others: \
             leave its bucket where it is, or rename it in Anchore"
        ));
    }
    match below.contains('\0') {
        true => Err("its path has a NUL, which no file system can store".into()),
        false => Ok(root.join(below)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_keys_never_leave_the_directory() {
        let inside = |url| inside("file:///archive/", Path::new("/archive"), url);
        assert_eq!(
            inside("file:///archive/u/b#?% c/00/x.json"),
            Ok(PathBuf::from("/archive/u/b#?% c/00/x.json"))
        );
        for url in [
            "file:///archive/u/../../etc/00/x.json",
            "file:///archive/u/b/../x.json",
            "file:///archive/u//00/x.json",
            "file:///archive//etc/passwd",
            "file:///archive/./x.json",
            "file:///archive/u/b/x\0.json",
            "file:///archived/u/b/00/x.json",
            "file:///etc/passwd",
            "db:///archive/u/b/00/x.json",
        ] {
            assert!(inside(url).is_err(), "{url}");
        }
        assert!(anywhere("file:///other/u/b/00/x.json").is_ok());
        assert!(anywhere("file:///archive/../etc/passwd").is_err());
        assert!(anywhere("file://host/x").is_err());
    }
}
