# What a developer types; `just` alone lists it.
_:
    @just --list --unsorted

# The main job on SQLite and local directories; needs no server.
demo *ARGS:
    cargo run --release -- demo {{ ARGS }}

# Everything, on real servers; fetches what is missing.
test *ARGS:
    scripts/test {{ ARGS }}

# Kills and crashes with ever new seeds, for so many minutes.
torture *ARGS:
    scripts/torture {{ ARGS }}

# Looks for bytes that break a reader (fuzz/fuzz_targets), for so many seconds; needs cargo-fuzz.
fuzz TARGET SECONDS="60":
    # The compiler is the crate's own; its coverage flags are all that it would not hand out.
    mkdir -p fuzz/found/{{ TARGET }}
    RUSTC_BOOTSTRAP=1 cargo fuzz run --sanitizer none {{ TARGET }} \
        fuzz/found/{{ TARGET }} fuzz/corpus/{{ TARGET }} -- \
        -max_total_time={{ SECONDS }} \
        -rss_limit_mb=1024 -timeout=20 -max_len=65536

# Formatting, clippy, documentation.
lint:
    scripts/lint

# Whatever needs no server: for between two edits.
quick:
    cargo fmt --check
    cargo clippy --all-targets --features failpoints -- -D warnings
    cargo test --features failpoints --lib --test explore --test fuzzed
    cargo test --features failpoints --test windlass -- layering:: docs:: reference:: sqlite::

# What must hold before a commit is pushed.
check: lint && test
    scripts/deny

# Apart from `check`: it fetches the advisory database over the network.
advisories:
    scripts/deny advisories

# What is shipped: the program, stripped, and beside it what names the lines in its backtraces.
package:
    scripts/package

# How fast it is, on real servers.
bench *ARGS:
    scripts/bench {{ ARGS }}

# PostgreSQL and SeaweedFS on loopback to play with, until Ctrl-C.
services:
    scripts/services
