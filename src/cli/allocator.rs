//! The memory that the C library holds on to.

/// Pools that threads take memory from.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const ARENAS: libc::c_int = 4;

/// What is at least as large goes back to the system as soon as it is given back: parts of large
/// objects, and documents that a database has in one piece.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const LARGE_BYTES: libc::c_int = 4 << 20;

/// Keeps what was given back from being kept: glibc makes eight pools per core, gives little of any
/// back, and each grows to the most that its threads have ever needed at once. A run of a million
/// small documents took 222 MiB that way on two cores, and would take more on every core added.
///
/// Before any other thread is started.
#[allow(unsafe_code)]
pub fn keep_small() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it sets two numbers of the allocator's, under the allocator's own lock. Where one is
    // refused, memory is as it was.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, ARENAS);
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE_BYTES);
    }
}
