//! sled panics on damage, which is caught and told as an error; the panic's own message on
//! stderr would only frighten.

use std::cell::Cell;
use std::panic;
use std::sync::Once;

thread_local! {
    static HUSHED: Cell<u32> = const { Cell::new(0) };
}

/// While it lives, panics of this thread (and of sled's own helpers) are not printed.
pub(super) struct Hush(());

pub(super) fn hush() -> Hush {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let outer = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let hushed = HUSHED.try_with(|hushed| hushed.get() > 0).unwrap_or(false);
            if !hushed && !is_sled_helper() {
                outer(info);
            }
        }));
    });
    HUSHED.with(|hushed| hushed.set(hushed.get() + 1));
    Hush(())
}

/// sled names its threads like this. What breaks there reaches us as an error of the next call.
fn is_sled_helper() -> bool {
    std::thread::current()
        .name()
        .is_some_and(|name| name.starts_with("sled-io") || name == "log flusher")
}

impl Drop for Hush {
    fn drop(&mut self) {
        HUSHED.with(|hushed| hushed.set(hushed.get() - 1));
    }
}
