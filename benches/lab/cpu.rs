//! What a process has cost, as Linux counts it.

use std::time::Duration;

/// User and system time so far, in the kernel's ticks of 10 ms: the first two fields of time, or all
/// four, with those of children.
pub fn cpu_time(stat: &str, fields: usize) -> Duration {
    let text = std::fs::read_to_string(stat).unwrap_or_default();
    let after_name = text.rsplit(") ").next().unwrap_or_default();
    let ticks = after_name.split_whitespace().skip(11).take(fields);
    let ticks = ticks.filter_map(|ticks| ticks.parse::<u64>().ok());
    Duration::from_millis(ticks.sum::<u64>() * 10)
}
