//! Answers to questions that were asked ahead, several in one message: over a long way each message costs
//! as much as the way there and back. An answer is kept until its question is asked, and told once; so
//! whoever asks need not know, and who asks twice hears what is then.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::sql::{Answer, Statement};

/// Answers that nobody has asked for yet, by the statement with its values in it.
#[derive(Debug, Clone, Default)]
pub(super) struct Ahead(Arc<Mutex<HashMap<String, Answer>>>);

impl Ahead {
    /// What came of a statement, if it was asked ahead.
    pub fn take(&self, statement: &Statement) -> Option<Answer> {
        let mut answers = self.answers();
        match answers.is_empty() {
            true => None,
            false => answers.remove(&statement.written_out().ok()?),
        }
    }

    /// Keeps what came of statements.
    pub fn keep(&self, statements: &[Statement], came: Vec<Answer>) -> Result<(), sqlx::Error> {
        for (statement, answer) in statements.iter().zip(came) {
            let asked = statement.written_out()?;
            self.answers().insert(asked, answer);
        }
        Ok(())
    }

    /// None counts any more.
    pub fn forget(&self) {
        self.answers().clear();
    }

    fn answers(&self) -> MutexGuard<'_, HashMap<String, Answer>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
