//! Small file systems that fill up, and wrappers around the program.
//!
//! They are mounted in a mount namespace of their own, which a sleeping process keeps; with it they
//! are gone, whatever happens to the test. The program is run inside of it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::program::executable;

/// A tmpfs at `dir`. Outside of its namespace `dir` is a plain directory, into which
/// [`show`](Self::show) copies what is there.
pub struct SmallDisk {
    keeper: Child,
    enter: Vec<String>,
    dir: PathBuf,
}

impl SmallDisk {
    /// None, and a sentence on stderr, where it is not permitted to mount.
    pub fn mount(dir: &Path, size_kib: u32) -> Option<Self> {
        fs::create_dir_all(dir).expect("the mount point");
        // As root, and as root of a user namespace.
        let found = ["-m", "-rm"]
            .into_iter()
            .find_map(|flags| Self::try_mount(flags, dir, size_kib));
        if found.is_none() {
            eprintln!(
                "not tried: neither `unshare -m` nor `unshare -rm` may mount a tmpfs here, so \
                 that there is no small disk to fill up"
            );
        }
        found
    }

    fn try_mount(flags: &str, dir: &Path, size_kib: u32) -> Option<Self> {
        let script = format!(
            "mount -t tmpfs -o size={size_kib}k,mode=700 windlass-test '{}' && echo mounted && \
             exec cat",
            dir.display()
        );
        let mut keeper = Command::new("unshare")
            .args([flags, "sh", "-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let mut word = String::new();
        let said = BufReader::new(keeper.stdout.take()?).read_line(&mut word);
        if said.is_err() || word != "mounted\n" {
            let _ = keeper.wait();
            return None;
        }
        let pid = keeper.id().to_string();
        let mut enter = vec!["nsenter", "-t", &pid, "-m"];
        if flags == "-rm" {
            enter.extend(["-U", "--preserve-credentials"]);
        }
        let enter = enter.into_iter().map(str::to_owned).collect();
        let dir = dir.to_owned();
        Some(Self { keeper, enter, dir })
    }

    /// A shell command inside, which has to succeed.
    #[track_caller]
    fn sh(&self, script: &str) {
        let done = Command::new(&self.enter[0])
            .args(&self.enter[1..])
            .args(["sh", "-c", script])
            .output()
            .expect("nsenter starts");
        assert!(done.status.success(), "{script}: {done:?}");
    }

    /// Makes space, or takes it.
    pub fn resize(&self, size_kib: u32) {
        self.remount(&format!("size={size_kib}k"));
    }

    /// With these options from here on: `ro`, `rw`, …
    pub fn remount(&self, options: &str) {
        let dir = self.dir.display();
        self.sh(&format!("mount -o remount,{options} '{dir}'"));
    }

    /// Puts a file there that leaves so many KiB free.
    pub fn fill(&self, leave_kib: u32) {
        let dir = self.dir.display();
        self.sh(&format!(
            "cd '{dir}' && free=$(stat -f -c '%a * %S / 1024' . | xargs -I{{}} sh -c 'echo $(({{}}))') && \
             dd if=/dev/zero of=filler bs=1k count=$((free - {leave_kib})) status=none"
        ));
    }

    /// Takes it away again.
    pub fn empty(&self) {
        self.sh(&format!("rm '{}/filler'", self.dir.display()));
    }

    /// Copies what is there to where the test can see it.
    pub fn show(&self) {
        let (pid, dir) = (self.keeper.id(), self.dir.display());
        // The directory itself stays: removing it would take the mount away.
        let script =
            format!("find '{dir}' -mindepth 1 -delete && cp -a '/proc/{pid}/root{dir}/.' '{dir}'");
        let copied = Command::new("sh").args(["-c", &script]).status();
        assert!(copied.expect("cp starts").success());
    }

    /// A program that runs windlass inside.
    pub fn wrapper(&self) -> PathBuf {
        let enter = self.enter.join(" ");
        wrapper(&self.dir, &format!("exec {enter} -- @windlass@ \"$@\""))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}

/// A shell script beside `path` that runs windlass, called `@windlass@` there, in its way.
pub fn wrapper(path: &Path, script: &str) -> PathBuf {
    let windlass = format!("'{}'", executable().display());
    let script = format!("#!/bin/sh\n{}\n", script.replace("@windlass@", &windlass));
    let (text, wrapper) = (path.with_extension("txt"), path.with_extension("sh"));
    fs::write(&text, script).expect("the script");
    // Copied by another process: a program that this one has open for writing can't be started by
    // it, and a child that some other test has just forked has open what we have.
    let copied = Command::new("install")
        .args(["-m", "755"])
        .args([&text, &wrapper])
        .status();
    assert!(copied.expect("install starts").success());
    wrapper
}
