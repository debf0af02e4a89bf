//! The windlass program under test: run to its end, or spawned to be killed.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::measure::peak_memory_bytes;

const TIME_LIMIT: Duration = Duration::from_secs(120);

/// Built in the profile of the test run: release under scripts/test.
pub fn executable() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_windlass"))
}

/// One operator's machine: a state directory, an environment, and ways to run windlass there.
pub struct Program {
    home: TempDir,
    state_dir: PathBuf,
    environment: Vec<(String, String)>,
    executable: PathBuf,
    time_limit: Duration,
}

/// What a finished run left behind.
#[derive(Debug)]
pub struct Outcome {
    pub status: ExitStatus,
    /// None when a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    pub elapsed: Duration,
}

impl Program {
    pub fn new() -> Self {
        Self::below(&std::env::temp_dir())
    }

    /// With its home below this directory.
    pub fn below(dir: &Path) -> Self {
        let home = TempDir::with_prefix_in("windlass-home-", dir).expect("a temporary directory");
        Self {
            state_dir: home.path().join("state"),
            home,
            environment: Vec::new(),
            executable: executable().to_owned(),
            time_limit: TIME_LIMIT,
        }
    }

    /// A variable for every run from here on.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.time_limit = limit;
        self
    }

    /// With its state kept elsewhere than at home.
    pub fn state_at(mut self, dir: impl Into<PathBuf>) -> Self {
        self.state_dir = dir.into();
        self
    }

    /// Another way to call the program: a link named `anchore-manager`, say.
    pub fn executable(mut self, path: impl Into<PathBuf>) -> Self {
        self.executable = path.into();
        self
    }

    pub fn set_executable(&mut self, path: PathBuf) {
        self.executable = path;
    }

    /// Another state directory for every run from here on.
    pub fn set_state_dir(&mut self, path: PathBuf) {
        self.state_dir = path;
    }

    pub fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    /// A directory of this machine's own, for configurations and stores.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// As if this machine's disk was lost.
    pub fn lose_state(&self) {
        if self.state_dir.exists() {
            fs::remove_dir_all(&self.state_dir).expect("the state directory is removable");
        }
    }

    /// Runs `windlass --state-dir … ARGS` to its end, with no terminal and nothing on stdin.
    pub async fn run<S: AsRef<str>>(&self, args: &[S]) -> Outcome {
        self.spawn(args).wait().await
    }

    /// The same, with more in the environment of this one run.
    pub async fn run_with<S: AsRef<str>>(
        &self,
        args: &[S],
        environment: &[(&str, &str)],
    ) -> Outcome {
        let args = self.with_state_dir(args);
        self.start(&args, "", environment).wait().await
    }

    /// The same, with `input` on stdin: an answer to a question.
    pub async fn run_with_input<S: AsRef<str>>(&self, args: &[S], input: &str) -> Outcome {
        self.spawn_with_input(args, input).wait().await
    }

    /// Journal, mirror and rows of a task tell one story.
    pub async fn expect_journal_verified(&self, task: &str) {
        self.run(&["journal", "verify", task]).await.expect_code(0);
    }

    pub fn spawn<S: AsRef<str>>(&self, args: &[S]) -> Running {
        self.spawn_with_input(args, "")
    }

    pub fn spawn_with<S: AsRef<str>>(&self, args: &[S], environment: &[(&str, &str)]) -> Running {
        self.start(&self.with_state_dir(args), "", environment)
    }

    pub fn spawn_with_input<S: AsRef<str>>(&self, args: &[S], input: &str) -> Running {
        self.spawn_exactly(&self.with_state_dir(args), input)
    }

    fn with_state_dir<S: AsRef<str>>(&self, args: &[S]) -> Vec<String> {
        let mut full = vec![
            "--state-dir".to_owned(),
            self.state_dir.display().to_string(),
        ];
        full.extend(args.iter().map(|arg| arg.as_ref().to_owned()));
        full
    }

    /// With these arguments and no others; the state directory comes from the environment then.
    pub fn spawn_exactly<S: AsRef<str>>(&self, args: &[S], input: &str) -> Running {
        self.start(args, input, &[])
    }

    /// With a stdin that stays open: somebody is there who has not answered yet.
    pub fn spawn_and_talk<S: AsRef<str>>(&self, args: &[S]) -> (Running, ChildStdin) {
        self.start_open(&self.with_state_dir(args), &[])
    }

    fn start<S: AsRef<str>>(
        &self,
        args: &[S],
        input: &str,
        environment: &[(&str, &str)],
    ) -> Running {
        let (running, mut stdin) = self.start_open(args, environment);
        // A program that does not read it is right, too.
        let _ = stdin.write_all(input.as_bytes());
        running
    }

    fn start_open<S: AsRef<str>>(
        &self,
        args: &[S],
        environment: &[(&str, &str)],
    ) -> (Running, ChildStdin) {
        // Files, not pipes: a killed program leaves its output behind, and none can block on it.
        let output = TempDir::with_prefix("windlass-output-").expect("a temporary directory");
        let create = |name| File::create(output.path().join(name)).expect("an output file");
        let (stdout, stderr) = (create("stdout"), create("stderr"));
        let mut command = Command::new(&self.executable);
        command
            .args(args.iter().map(AsRef::as_ref))
            .current_dir(self.home.path());
        // Nothing leaks in: a developer's AWS_*, ANCHORE_* or WINDLASS_* must change no test.
        command
            .env_clear()
            .env("HOME", self.home.path())
            .env("RUST_BACKTRACE", "1");
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        // The credential chain must not go looking for a cloud machine's address.
        command.env("AWS_EC2_METADATA_DISABLED", "true");
        command.env("XDG_STATE_HOME", self.home.path().join("xdg-state"));
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.envs(environment.iter().copied());
        command.stdin(Stdio::piped()).stdout(stdout).stderr(stderr);
        let mut child = command.spawn().expect("windlass starts");
        let stdin = child.stdin.take().expect("stdin is a pipe");
        let running = Running {
            child,
            output,
            started: Instant::now(),
            time_limit: self.time_limit,
        };
        (running, stdin)
    }
}

/// A windlass under way. Killed when dropped.
pub struct Running {
    child: Child,
    output: TempDir,
    started: Instant,
    time_limit: Duration,
}

impl Running {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn signal(&mut self, signal: Signal) {
        // Only while it is not yet reaped is the pid surely ours.
        if !self.has_ended() {
            let pid = Pid::from_child(&self.child);
            kill_process(pid, signal).expect("our own child can be signalled");
        }
    }

    /// SIGKILL: what a crash of the machine looks like to the program.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
    }

    /// SIGINT: Ctrl-C.
    pub fn interrupt(&mut self) {
        self.signal(Signal::INT);
    }

    pub fn terminate(&mut self) {
        self.signal(Signal::TERM);
    }

    /// SIGHUP: the terminal has gone away.
    pub fn hang_up(&mut self) {
        self.signal(Signal::HUP);
    }

    /// Stands still until `go_on`: a machine that hangs, a lease that runs out.
    pub fn freeze(&mut self) {
        self.signal(Signal::STOP);
    }

    pub fn go_on(&mut self) {
        self.signal(Signal::CONT);
    }

    /// The most memory that it has taken so far, in bytes; none once it has ended.
    pub fn peak_memory(&self) -> Option<u64> {
        peak_memory_bytes(self.pid())
    }

    pub fn has_ended(&mut self) -> bool {
        self.child
            .try_wait()
            .expect("our own child can be waited for")
            .is_some()
    }

    /// What it has said so far.
    pub fn stdout(&self) -> String {
        self.read("stdout")
    }

    pub fn stderr(&self) -> String {
        self.read("stderr")
    }

    fn read(&self, name: &str) -> String {
        let bytes = fs::read(self.output.path().join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits for its end; past the time limit it is killed, and the test fails with what it said.
    pub async fn wait(mut self) -> Outcome {
        while !self.has_ended() {
            if self.started.elapsed() > self.time_limit {
                self.kill();
                panic!(
                    "windlass still ran after {:?}\nstdout: {}\nstderr: {}",
                    self.time_limit,
                    self.stdout(),
                    self.stderr()
                );
            }
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        let status = self.child.wait().expect("it has ended");
        Outcome {
            status,
            code: status.code(),
            stdout: self.stdout(),
            stderr: self.stderr(),
            elapsed: self.started.elapsed(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Outcome {
    /// Fails the test with everything the run said, unless it ended with `code`.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(
            self.code,
            Some(code),
            "{}\nstdout: {}\nstderr: {}",
            self.status,
            self.stdout,
            self.stderr
        );
        self
    }

    /// It did not do what it was asked, and said so.
    #[track_caller]
    pub fn expect_not_zero(self) -> Self {
        let said_no = self.code.is_some_and(|code| code != 0);
        assert!(
            said_no,
            "{}\nstdout: {}\nstderr: {}",
            self.status, self.stdout, self.stderr
        );
        self
    }

    /// The one JSON document on stdout.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| {
            panic!("{error}\nstdout: {}\nstderr: {}", self.stdout, self.stderr)
        })
    }
}
