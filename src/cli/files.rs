//! How many files may be open at once: connections are files, too.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// As many as are ever of use here.
const ENOUGH: u64 = 65_536;

/// Raises the limit as far as is permitted without asking anybody, and says what it is then. Many
/// systems hand out 1,024, of which some hundred connections and their files leave little.
pub fn raise_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let (now, most) = (limit.current, limit.maximum);
    let wanted = most.unwrap_or(ENOUGH).min(ENOUGH);
    if now.is_some_and(|now| now < wanted) {
        let raised = Rlimit {
            current: Some(wanted),
            maximum: most,
        };
        // Refused, it stays as it is, and is asked below.
        let _ = setrlimit(Resource::Nofile, raised);
    }
    let now = getrlimit(Resource::Nofile).current;
    now.unwrap_or(u64::MAX)
}
