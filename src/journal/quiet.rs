//! sled panics on damage, which is caught and told as an error; the panic's own message on
//! stderr would only frighten.

use std::cell::Cell;
use std::panic;
use std::sync::Once;

thread_local! {
    static SILENCED: Cell<u32> = const { Cell::new(0) };
}

/// While it lives, panics of this thread (and of sled's own helpers) are not printed.
pub(super) struct Silenced(());

pub(super) fn silence_panics() -> Silenced {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let outer = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let silenced = SILENCED
                .try_with(|silenced| silenced.get() > 0)
                .unwrap_or(false);
            if !silenced && !is_sled_helper() {
                outer(info);
            }
        }));
    });
    SILENCED.with(|silenced| silenced.set(silenced.get() + 1));
    Silenced(())
}

/// sled names its threads like this. What breaks there reaches us as an error of the next call.
fn is_sled_helper() -> bool {
    std::thread::current()
        .name()
        .is_some_and(|name| name.starts_with("sled-io") || name == "log flusher")
}

impl Drop for Silenced {
    fn drop(&mut self) {
        SILENCED.with(|silenced| silenced.set(silenced.get() - 1));
    }
}
