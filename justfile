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

# What must hold before a commit is pushed.
check: && test
    cargo fmt --check
    cargo clippy --all-targets -- -D warnings
    cargo clippy --all-targets --features failpoints -- -D warnings
    RUSTDOCFLAGS='-D warnings' cargo doc --no-deps
    cargo deny check licenses bans sources

# Apart from `check`: it fetches the advisory database over the network.
advisories:
    cargo deny check advisories

# How fast it is, on real servers.
bench *ARGS:
    scripts/bench {{ ARGS }}

# PostgreSQL and SeaweedFS on loopback to play with, until Ctrl-C.
services:
    scripts/services
