#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| windlass::fuzzing::journal_record(data));
