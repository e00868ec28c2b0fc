#!/usr/bin/env bash
# Formatting, clippy of the smallest build, of the core and of the module for Lua 5.4, luacheck, file
# lengths. Each is run even where one before it failed; the exit code says whether all were clean.
# shellcheck disable=SC2317 # functions are called through step or check
set -euo pipefail
# shellcheck source=tools/common.sh
. "$(dirname "$0")/common.sh"

CARGO=${CARGO:-cargo}
bad=0

check() { # name, command…
    local name=$1 log
    shift
    log=$(mktemp)
    if "$@" >"$log" 2>&1 </dev/null; then
        say "lint: $name: clean"
    else
        cat "$log"
        say "lint: $name: FAILED"
        bad=1
    fi
    rm -f "$log"
}

# Source files by name pattern: everything that is not built.
files() {
    local names=(-name "$1") pattern
    shift
    for pattern in "$@"; do names+=(-o -name "$pattern"); done
    find . \( -path ./target -o -path ./build -o -path ./fuzz/target -o -path ./.git \) -prune \
        -o -type f \( "${names[@]}" \) -print | sed 's|^\./||' | sort
}

lengths() {
    files '*.rs' '*.lua' | xargs -r wc -l |
        awk '$2 != "total" && $1 >= 600 { print $2 ": " $1 " lines; split it along a seam"; bad = 1 } END { exit bad }'
}

clippy() {
    "$CARGO" clippy --quiet --all-targets --target-dir target/check --no-default-features --features "$1" -- -D warnings
}

lua_files() { files '*.lua' '.busted' 'mq' | xargs -r luacheck --quiet; }

if "$CARGO" fmt --version >/dev/null 2>&1; then
    check "cargo fmt" "$CARGO" fmt --check
else
    say "lint: cargo fmt: skipped, rustfmt is not installed"
fi
if "$CARGO" clippy --version >/dev/null 2>&1; then
    check "clippy of Redis alone" clippy ""
    check "clippy without Lua" clippy mqtt,stomp,tls,websocket,broker
    check "clippy with Lua 5.4" clippy lua54,mqtt,stomp,tls,websocket,broker
else
    say "lint: clippy: skipped, it is not installed"
fi
if command -v luacheck >/dev/null; then
    check "luacheck" lua_files
else
    say "lint: luacheck: skipped, it is not installed"
fi
check "file lengths" lengths
exit $bad
