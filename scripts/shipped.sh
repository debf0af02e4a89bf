# Sourced by scripts/package and scripts/dist: what must hold of all that is shipped.
# shellcheck shell=bash

# PROGRAM: the newest version of glibc that any of its symbols asks for.
glibc_asked() { objdump -T "$1" | grep -o 'GLIBC_[0-9.]*' | cut -d_ -f2 | sort -Vu | tail -n 1; }

# VERSION MOST
is_at_most() { [ "$(printf '%s\n' "$1" "$2" | sort -V | tail -n 1)" = "$2" ]; }

# What of this machine it may not name: pairs of a directory and what stands for it in what is built, from wide to narrow.
private_places() {
    local cargo_home=${CARGO_HOME:-$HOME/.cargo} registry
    [ "$HOME" = / ] || printf '%s\n' "$HOME" /home
    printf '%s\n' "$cargo_home" /cargo
    for registry in "$cargo_home"/registry/src/*/; do
        # It is named after the host that the crates came from.
        printf '%s\n' "${registry%/}" /crates
    done
    printf '%s\n' "$PWD" /windlass
}

# FILE OR DIRECTORY…: fails where one of them names such a directory. /src is no part of /crates/one/src.
tells_nothing_private() {
    local place stand_in
    while read -r place && read -r stand_in; do
        if LC_ALL=C grep -rlaP "(?<![a-zA-Z0-9_./-])\Q$place\E/" "$@" >&2; then
            say "the above name $place, which is to be $stand_in"
            return 1
        fi
    done < <(private_places)
}
