//! `--on-end`: a command of the operator's that is told how the run has ended.

use std::io::Write as _;
use std::process::{Command, Stdio};

use super::printer::beside_results;
use super::{ExitStatus, Printer};

/// Runs the command with the result on its stdin, and waits for it. What it prints goes to stderr:
/// stdout is the result's. How it ends changes nothing of how the run has ended.
pub fn run(command: &str, result: &str, status: ExitStatus, printer: &Printer) {
    if let Err(error) = told(command, result, status) {
        printer.say(&format!("WARNING: the command of --on-end {error}"));
    }
}

fn told(command: &str, result: &str, status: ExitStatus) -> Result<(), String> {
    let mut child = Command::new("sh")
        .args(["-c", command])
        .env("WINDLASS_EXIT_CODE", status.code().to_string())
        .stdin(Stdio::piped())
        .stdout(beside_results())
        .spawn()
        .map_err(|error| format!("cannot be started: {error}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that does not read has no use for it.
        let _ = writeln!(stdin, "{result}");
    }
    match child.wait() {
        Ok(ended) if ended.success() => Ok(()),
        Ok(ended) => Err(format!("has failed: {ended}")),
        Err(error) => Err(format!("cannot be waited for: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_told_the_result_and_the_exit_code() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("told");
        let command = format!("cat > {0}; echo $WINDLASS_EXIT_CODE >> {0}", path.display());
        told(
            &command,
            "{\"state\":\"failed\"}",
            ExitStatus::FailedObjects,
        )
        .unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, "{\"state\":\"failed\"}\n3\n");
        assert!(
            told("exit 7", "{}", ExitStatus::Complete)
                .unwrap_err()
                .contains('7')
        );
    }
}
