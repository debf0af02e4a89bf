//! Where checkpoints are kept: `STATE_DIR/tasks/UUID/`, with a `task.json` in each that tells how
//! to find the task's database and configurations again. No secret stands there.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::engine::EngineError;
use crate::private::{self, Refusal, Untrusted};
use crate::{crash, durable};

/// All that windlass makes in a state directory.
const TASKS: &str = "tasks";

/// What `task.json` holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskFile {
    /// `tasks.id` in its database.
    pub task_id: i64,
    /// The task.
    pub uuid: Uuid,
    /// The database's URL, without the password.
    pub database: String,
    /// The source's configuration file, absolute.
    pub from_config: PathBuf,
    /// Its section.
    pub from_section: String,
    /// The destination's configuration file, absolute.
    pub to_config: PathBuf,
    /// Its section.
    pub to_section: String,
}

/// The same as it lies on the disk. A bit that has flipped in the database's name must not lead to
/// another database.
#[derive(Serialize, Deserialize)]
struct Sealed {
    #[serde(flatten)]
    file: TaskFile,
    /// CRC-32 of the file without it, as compact JSON, in hex; older files have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    checksum: Option<String>,
}

impl Sealed {
    fn new(file: TaskFile) -> serde_json::Result<Self> {
        let checksum = Some(checksum(&file)?);
        Ok(Self { file, checksum })
    }

    /// What was written, from a file's bytes.
    fn open(bytes: &[u8]) -> serde_json::Result<TaskFile> {
        use serde::de::Error as _;
        let Self {
            file,
            checksum: stated,
        } = serde_json::from_slice(bytes)?;
        match stated {
            Some(stated) if stated != checksum(&file)? => Err(serde_json::Error::custom(
                "it is damaged: its checksum does not fit",
            )),
            _ => Ok(file),
        }
    }
}

fn checksum(file: &TaskFile) -> serde_json::Result<String> {
    Ok(format!(
        "{:08x}",
        crc32fast::hash(&serde_json::to_vec(file)?)
    ))
}

/// The state directory.
#[derive(Debug, Clone)]
pub struct StateDir {
    root: PathBuf,
}

impl StateDir {
    /// A state directory; it is made when the first task is.
    pub fn new(root: PathBuf) -> Self {
        // Without a slash at its end: that would look through a link.
        let root = root.components().collect();
        Self { root }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// The checkpoint of a task.
    pub fn checkpoint(&self, task: Uuid) -> PathBuf {
        self.root
            .join(TASKS)
            .join(task.to_string())
            .join("checkpoint")
    }

    fn task_dir(&self, task: Uuid) -> PathBuf {
        self.root.join(TASKS).join(task.to_string())
    }

    /// Makes sure that the directory is ours alone, and can be written, before anything else is
    /// done.
    pub fn prepare(&self) -> Result<(), EngineError> {
        let tasks = self.root.join(TASKS);
        self.refuse_shared()?;
        self.make(&self.root)?;
        self.make(&tasks)?;
        let probe = tasks.join(format!(".probe-{}", Uuid::new_v4()));
        let probed = private::create_file(&probe).and_then(|mut file| {
            // A file may still be made where there is no room for a byte.
            file.write_all(b"windlass")?;
            file.sync_all()
        });
        let removed = fs::remove_file(&probe);
        probed
            .and(removed)
            .map_err(|source| self.error(&tasks, source))
    }

    /// The same, and what had to be made for it is taken away again.
    pub fn try_out(&self) -> Result<(), EngineError> {
        let tasks = self.root.join(TASKS);
        let missing = tasks.ancestors().take_while(|dir| !dir.exists());
        let missing: Vec<&Path> = missing.collect();
        let tried = self.prepare();
        for dir in missing {
            // One into which another process has put something stays.
            let _ = fs::remove_dir(dir);
        }
        tried
    }

    /// Refuses a directory that would be closed to others and is not windlass's alone: a home, say.
    fn refuse_shared(&self) -> Result<(), EngineError> {
        let open = match fs::symlink_metadata(&self.root) {
            Ok(meta) => meta.is_dir() && meta.mode() & 0o077 != 0,
            // What is wrong is told by whoever makes it.
            Err(_) => false,
        };
        if !open {
            return Ok(());
        }
        let entries = fs::read_dir(&self.root).map_err(|source| self.error(&self.root, source))?;
        match entries.flatten().any(|entry| entry.file_name() != TASKS) {
            false => Ok(()),
            true => Err(EngineError::StateDirRefused {
                path: self.root.display().to_string(),
                why: "it is open for others and holds more than windlass's own, which only its \
                      owner may read"
                    .into(),
                next: "name a directory for windlass alone with --state-dir".into(),
            }),
        }
    }

    /// Refuses a task's directory that somebody else could have put there, or anything in it.
    pub fn own_task(&self, task: Uuid) -> Result<(), EngineError> {
        match private::own_tree(&self.task_dir(task)) {
            // Lost with its machine, say: it is made again.
            Err(refusal) if refusal.is_not_found() => Ok(()),
            other => other.map_err(|refusal| self.refused(refusal)),
        }
    }

    /// Makes a directory here, if need be, and its way up to the root durable: they may have been
    /// made by a process that was killed before it could see to that.
    fn make(&self, dir: &Path) -> Result<(), EngineError> {
        private::make_dir(dir).map_err(|refusal| self.refused(refusal))?;
        let mut above = dir
            .ancestors()
            .take_while(|above| above.starts_with(&self.root));
        above
            .try_for_each(durable::sync_name)
            .map_err(|source| self.error(dir, source))
    }

    /// Writes a task's file, whole or not at all.
    pub fn write(&self, file: &TaskFile) -> Result<(), EngineError> {
        let dir = self.task_dir(file.uuid);
        self.make(&dir)?;
        let path = dir.join("task.json");
        let write = || -> std::io::Result<()> {
            let temporary = dir.join(".task.json.tmp");
            let mut out = private::create_file(&temporary)?;
            serde_json::to_writer_pretty(&mut out, &Sealed::new(file.clone())?)?;
            out.write_all(b"\n")?;
            out.sync_all()?;
            crash::point("task-file-staged");
            fs::rename(&temporary, &path)?;
            durable::sync_dir(&dir)?;
            crash::point("task-file-written");
            Ok(())
        };
        write().map_err(|source| self.error(&path, source))
    }

    /// Removes what was made for a task that came to nothing.
    pub fn discard(&self, task: Uuid) {
        // What is left behind harms nobody: no database knows this task.
        let _ = fs::remove_dir_all(self.task_dir(task));
    }

    /// The tasks that have a file here and are called `wanted`, by id or by UUID. An id can stand
    /// for several: one in each of several databases.
    pub fn find(&self, wanted: &str) -> Result<Vec<TaskFile>, EngineError> {
        let mut found = self.all()?;
        found.retain(|file| file.task_id.to_string() == wanted || file.uuid.to_string() == wanted);
        Ok(found)
    }

    /// All tasks that have a file here.
    pub fn all(&self) -> Result<Vec<TaskFile>, EngineError> {
        let tasks = self.root.join(TASKS);
        for dir in [&self.root, &tasks] {
            match private::check_dir(dir) {
                Err(refusal) if refusal.is_not_found() => return Ok(Vec::new()),
                other => other.map_err(|refusal| self.refused(refusal))?,
            }
        }
        let entries = match fs::read_dir(&tasks) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(self.error(&tasks, source)),
        };
        let mut files = Vec::new();
        for entry in entries {
            let dir = entry.map_err(|source| self.error(&tasks, source))?.path();
            let path = dir.join("task.json");
            let trusted = private::check_dir(&dir).and_then(|()| private::check_file(&path));
            if let Err(refusal @ Refusal::Untrusted(_)) = &trusted {
                tracing::warn!("{refusal}: this task is left out");
                continue;
            }
            // A directory without a readable file is of a task that never began, or damaged; the
            // database still finds its task by --db-connect.
            match fs::read(&path).map(|bytes| Sealed::open(&bytes)) {
                Ok(Ok(file)) => files.push(file),
                Ok(Err(error)) => tracing::warn!("{}: {error}", path.display()),
                Err(_) => {}
            }
        }
        Ok(files)
    }

    fn refused(&self, refusal: Refusal) -> EngineError {
        match refusal {
            Refusal::Io { path, source } => self.error(&path, source),
            Refusal::Untrusted(Untrusted { path, why }) => EngineError::StateDirRefused {
                next: match fs::canonicalize(&path) {
                    Ok(target) if path == self.root && path.is_symlink() => {
                        format!("name its target, --state-dir {}", target.display())
                    }
                    _ => "or name another directory with --state-dir".into(),
                },
                path: path.display().to_string(),
                why,
            },
        }
    }

    fn error(&self, path: &Path, source: std::io::Error) -> EngineError {
        EngineError::StateDir {
            path: path.display().to_string(),
            source,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> TaskFile {
        TaskFile {
            task_id: 7,
            uuid: Uuid::from_u128(0x622e_c600),
            database: "sqlite:////var/lib/anchore.db".into(),
            from_config: "/config/config.yaml".into(),
            from_section: "object_store".into(),
            to_config: "/config/new.yaml".into(),
            to_section: "object_store".into(),
        }
    }

    #[test]
    fn no_flipped_bit_leads_elsewhere() {
        let written = serde_json::to_vec_pretty(&Sealed::new(file()).unwrap()).unwrap();
        assert_eq!(Sealed::open(&written).unwrap(), file());
        for at in 0..written.len() * 8 {
            let mut damaged = written.clone();
            damaged[at / 8] ^= 1 << (at % 8);
            if let Ok(read) = Sealed::open(&damaged) {
                assert_eq!(read, file(), "bit {at}");
            }
        }
    }

    #[test]
    fn files_of_before_have_no_checksum() {
        let written = serde_json::to_vec(&file()).unwrap();
        assert_eq!(Sealed::open(&written).unwrap(), file());
    }
}
