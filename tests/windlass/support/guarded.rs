//! Server processes that never outlive the test process, however it ends.
//!
//! Statics are not dropped in Rust and a SIGKILL runs no handler, so no guard inside this process
//! will do. Each server therefore runs under a small shell that reads commands from a pipe whose
//! other end only we hold: when we are gone, the pipe ends, and the shell stops the server and
//! removes its directory. (PR_SET_PDEATHSIG would fire when the *thread* that started the server
//! ends, and test threads end all the time.)

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;

const GUARD: &str = r#"
dir=$1; signal=$2; shift 2
pid=
stop() {
    [ -n "$pid" ] || return 0
    kill -s "$1" "$pid" 2>/dev/null
    wait "$pid" 2>/dev/null
    pid=
}
while read -r word; do
    answer=done
    case $word in
        start) "$@" >>"$dir/server.log" 2>&1 </dev/null & pid=$! ;;
        alive) kill -0 "$pid" 2>/dev/null || answer=dead ;;
        *) stop "$word" ;;
    esac
    echo "$answer"
done
stop "$signal"
rm -rf "$dir"
"#;

/// An account to run a server as: PostgreSQL refuses to run as root.
#[derive(Clone, Copy, Debug)]
pub struct Account {
    pub uid: u32,
    pub gid: u32,
}

impl Account {
    /// None when we are an ordinary user already; else `postgres`, or `nobody` where that is missing.
    pub fn unprivileged() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let accounts = fs::read_to_string("/etc/passwd").expect("/etc/passwd is readable");
        let find = |name: &str| {
            accounts.lines().find_map(|line| {
                let mut fields = line.split(':');
                if fields.next() != Some(name) {
                    return None;
                }
                let uid = fields.nth(1)?.parse().ok()?;
                let gid = fields.next()?.parse().ok()?;
                Some(Self { uid, gid })
            })
        };
        Some(
            find("postgres")
                .or_else(|| find("nobody"))
                .expect("an account `nobody` exists"),
        )
    }
}

/// A command that runs as `account` (or as ourselves), in `dir`.
pub fn command_as(account: Option<Account>, program: &Path, dir: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(dir).env("HOME", dir);
    if let Some(account) = account {
        command.uid(account.uid).gid(account.gid);
    }
    command
}

/// A new directory for a server's data, owned by `account`.
///
/// The guard removes it; until a guard runs, nothing does.
pub fn server_dir(name: &str, account: Option<Account>) -> PathBuf {
    // An unprivileged server can't reach into root's own TMPDIR (say, below /root).
    let base = if account.is_some() {
        PathBuf::from("/tmp")
    } else {
        std::env::temp_dir()
    };
    let dir = tempfile::Builder::new()
        .prefix(&format!("windlass-test-{name}-"))
        .tempdir_in(base)
        .expect("a directory for a server's data")
        .keep();
    if let Some(account) = account {
        chown(&dir, Some(account.uid), Some(account.gid)).expect("root may give a directory away");
    }
    dir
}

/// `N` different loopback ports that were free a moment ago.
pub fn free_ports<const N: usize>() -> [u16; N] {
    // All are bound before any is let go, else the kernel may hand out the same one twice.
    let listeners: [TcpListener; N] =
        std::array::from_fn(|_| TcpListener::bind("127.0.0.1:0").expect("a free loopback port"));
    listeners.map(|listener| listener.local_addr().expect("a bound port").port())
}

/// A server under its guard.
pub struct Guarded {
    dir: PathBuf,
    /// None only while being dropped.
    line: Mutex<Option<(ChildStdin, BufReader<ChildStdout>)>>,
    guard: Mutex<Child>,
}

impl Guarded {
    /// Starts `program` with `args`, logging to `dir/server.log`.
    ///
    /// `signal` (a name for `kill -s`) ends it when the tests are over; `dir` goes with it.
    pub fn start(
        dir: &Path,
        account: Option<Account>,
        signal: &str,
        program: &Path,
        args: &[String],
        env: &[(&str, &str)],
    ) -> Self {
        let mut command = command_as(account, Path::new("sh"), dir);
        command
            .arg("-c")
            .arg(GUARD)
            .arg("guard")
            .arg(dir)
            .arg(signal)
            .arg(program)
            .args(args);
        command.envs(env.iter().copied());
        // A group of its own: Ctrl-C at the terminal must reach us, not the guard.
        command
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        command.stderr(Stdio::null());
        let mut guard = command.spawn().expect("sh starts");
        let stdin = guard.stdin.take().expect("stdin is a pipe");
        let stdout = BufReader::new(guard.stdout.take().expect("stdout is a pipe"));
        let guarded = Self {
            dir: dir.to_owned(),
            line: Mutex::new(Some((stdin, stdout))),
            guard: Mutex::new(guard),
        };
        guarded.tell("start");
        guarded
    }

    fn tell(&self, word: &str) -> String {
        let mut line = self
            .line
            .lock()
            .expect("no panic while talking to the guard");
        let (stdin, stdout) = line.as_mut().expect("not dropped yet");
        writeln!(stdin, "{word}").expect("the guard listens");
        let mut answer = String::new();
        stdout.read_line(&mut answer).expect("the guard answers");
        answer.trim().to_owned()
    }

    /// Ends the server with a signal and waits until it is gone.
    pub fn stop(&self, signal: &str) {
        self.tell(signal);
    }

    /// Starts the stopped server again with the same arguments.
    pub fn restart(&self) {
        self.tell("start");
    }

    pub fn is_alive(&self) -> bool {
        self.tell("alive") == "done"
    }

    /// The end of the server's log, for the message of a panic.
    pub fn log_tail(&self) -> String {
        let log = fs::read(self.dir.join("server.log")).unwrap_or_default();
        let start = log.len().saturating_sub(3_000);
        String::from_utf8_lossy(&log[start..]).into_owned()
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // Closing the pipe is the signal; the server that a test owns is gone when the test ends.
        if let Ok(line) = self.line.get_mut() {
            *line = None;
        }
        if let Ok(guard) = self.guard.get_mut() {
            let _ = guard.wait();
        }
    }
}
