//! Anchore's question, and who is there to answer it.

use std::io::{BufRead as _, IsTerminal as _};
use std::sync::mpsc;
use std::time::Duration;

use super::fault::{Code, refused};
use super::{ExitStatus, Printer};

const QUESTION: &str = "Performing this operation requires *all* anchore-engine services to be stopped - proceed? (y/N)";

const NOBODY: &str = "nobody is there to answer: stdin is not a terminal and has no answer either; when all \
     Anchore services are stopped, repeat the command with --dontask; nothing was done";

/// How long a look at stdin may take. One that is at its end already says so at once.
const LOOK: Duration = Duration::from_millis(100);

/// Refuses to begin where nobody could answer the question that will be asked.
pub fn refuse_without_anybody() -> anyhow::Result<()> {
    if std::io::stdin().is_terminal() {
        return Ok(());
    }
    let (tell, told) = mpsc::channel();
    // A thread that is left behind: an answer that is still to come stays in stdin's own buffer,
    // for whoever asks.
    std::thread::spawn(move || {
        let mut stdin = std::io::stdin().lock();
        let is_at_end = stdin.fill_buf().map_or(true, <[u8]>::is_empty);
        drop(stdin);
        let _ = tell.send(is_at_end);
    });
    match told.recv_timeout(LOOK) {
        Ok(true) => Err(refused(Code::NobodyToAnswer, NOBODY)),
        _ => Ok(()),
    }
}

/// Asks. Only `y` and `yes` go on.
///
/// # Errors
/// Nobody answers.
pub fn ask(printer: &Printer) -> anyhow::Result<bool> {
    printer.ask(QUESTION);
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer);
    let is_terminal = std::io::stdin().is_terminal();
    match read {
        // Whoever sits at a terminal has said no by ending the input there.
        Ok(0) if is_terminal => Ok(false),
        Ok(0) | Err(_) => {
            printer.say("");
            Err(refused(Code::NobodyToAnswer, NOBODY))
        }
        Ok(_) => Ok(is_yes(answer.trim_end_matches(['\r', '\n']))),
    }
}

fn is_yes(answer: &str) -> bool {
    answer.eq_ignore_ascii_case("y") || answer.eq_ignore_ascii_case("yes")
}

/// The answer was no.
pub fn skipped(printer: &Printer) -> ExitStatus {
    printer.result(&serde_json::json!({ "state": "skipped" }), || {
        "nothing was done: answer y when all anchore-engine services are stopped, or use \
         --dontask"
            .into()
    });
    ExitStatus::Complete
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_y_and_yes_go_on() {
        for yes in ["y", "Y", "yes", "Yes", "YES"] {
            assert!(is_yes(yes), "{yes}");
        }
        for no in ["", "n", "no", " y", "y ", "j", "yess", "yy", "true", "1"] {
            assert!(!is_yes(no), "{no}");
        }
    }
}
