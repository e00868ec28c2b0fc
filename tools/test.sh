#!/usr/bin/env bash
# make test: everything, on every interpreter. The last line is "N passed, N failed".
# shellcheck disable=SC2317 # functions are called through step or check
set -euo pipefail
# shellcheck source=tools/common.sh
. "$(dirname "$0")/common.sh"

LUAS="lua5.1 lua5.2 lua5.3 lua5.4 luajit"
unset LUA # each step says which
passed=0 failed=0 failures=()
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

finish() {
    [ ${#failures[@]} = 0 ] || printf 'FAILED: %s\n' "${failures[@]}"
    rm -rf "$scratch"
    say "$passed passed, $failed failed"
    [ $failed = 0 ]
    exit
}

# Sums the numbers in front of a word, over the log of one step.
total() { { grep -oE "$1" "$scratch/log" || true; } | awk '{ n += $1 } END { print n + 0 }'; }

# step NAME COMMAND…: runs it and counts the tests that it reports; one that reports none counts as
# a test itself. Returns its verdict.
step() {
    local name=$1 from=$SECONDS good bad code=0
    shift
    say "== $name"
    "$@" </dev/null 2>&1 | tee "$scratch/log" || code=$?
    good=$(($(total '[0-9]+ passed;') + $(total '[0-9]+ success(es)? /')))
    bad=$(($(total '[0-9]+ failed;') + $(total '[0-9]+ failures? /') + $(total '[0-9]+ errors? /')))
    [ $((good + bad)) -gt 0 ] || [ $code != 0 ] || good=1
    [ $bad -gt 0 ] || [ $code = 0 ] || bad=1
    passed=$((passed + good))
    failed=$((failed + bad))
    say "== $name: $good passed, $bad failed, $((SECONDS - from)) s"
    if [ $bad != 0 ] || [ $code != 0 ]; then
        failures+=("$name")
        return 1
    fi
}

core_tests() {
    cargo test --quiet --target-dir target/check --no-default-features --features mqtt,tls,websocket,broker
}

busted_on() { "$1" "$(command -v busted)" --output=plainTerminal; }

rock() { # Lua version: install into a tree of its own; a plain interpreter outside the checkout loads it
    local tree=$scratch/rock-$1
    luarocks make --lua-version "$1" --tree "$tree" >"$scratch/rock.log" 2>&1 ||
        { cat "$scratch/rock.log"; return 1; }
    loads "lua$1" "$tree/share/lua/$1" "$tree/lib/lua/$1" "$tree/bin/mq"
}

installed() { # interpreter, Lua version: make install into a prefix, then the same check
    local prefix=$scratch/prefix-$1
    make -s install LUA="$1" PREFIX="$prefix" || return 1
    loads "$1" "$prefix/share/lua/$2" "$prefix/lib/lua/$2" "$prefix/bin/mq" || return 1
    make -s uninstall LUA="$1" PREFIX="$prefix" || return 1
    [ -z "$(find "$prefix" -type f)" ] || { say "uninstall left:"; find "$prefix" -type f; return 1; }
}

loads() ( # interpreter, Lua directory, library directory, bin/mq
    cd / || exit 1
    export LUA_PATH="$2/?.lua;$2/?/init.lua" LUA_CPATH="$3/?.so"
    "$1" -e 'assert(require("MQ.redis").new); print(_VERSION .. ": MQ " .. require("MQ.core").version)' || exit 1
    "$4" --help >/dev/null
)

tools/setup.sh test
hash -r
step "lint" tools/lint.sh || true
step "core" core_tests || true
step "Lua 5.5 compiles" make -s check-lua55 || true
for lua in $LUAS; do
    step "build for $lua" make -s build spec-tools LUA="$lua" || finish
done
for lua in $LUAS; do
    step "specs on $lua" busted_on "$lua" || true
    step "examples on $lua" env LUA="$lua" tools/examples.sh || true
done
for version in 5.1 5.2 5.3 5.4; do
    step "rock for $version" rock "$version" || true
done
step "install for lua5.4" installed lua5.4 5.4 || true
step "install for luajit" installed luajit 5.1 || true
finish
