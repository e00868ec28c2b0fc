#!/usr/bin/env bash
# make test: everything, on every interpreter. The last line is "N passed, N failed".
# shellcheck disable=SC2317 # functions are called through step or check
set -euo pipefail
# shellcheck source=tools/common.sh
. "$(dirname "$0")/common.sh"

LUAS="lua5.1 lua5.2 lua5.3 lua5.4 luajit"
unset LUA # each step says which
passed=0 failed=0 failures=() lanes=()
scratch=$(mktemp -d)
trap 'end_lanes; rm -rf "$scratch"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

finish() {
    [ ${#failures[@]} = 0 ] || printf '%s\n' "${failures[@]}"
    rm -rf "$scratch"
    say "$passed passed, $failed failed"
    [ $failed = 0 ]
    exit
}

# Sums the numbers in front of a word, over a log.
total() { { grep -oE "$1" "$2" || true; } | awk '{ n += $1 } END { print n + 0 }'; }

# judge NAME LOG CODE SECONDS: counts the tests that a step reports; one that reports none counts as a test
# itself. Returns its verdict.
judge() {
    local name=$1 log=$2 code=$3 good bad
    good=$(($(total '[0-9]+ passed;' "$log") + $(total '[0-9]+ success(es)? /' "$log")))
    bad=$(($(total '[0-9]+ failed;' "$log") + $(total '[0-9]+ failures? /' "$log") +
        $(total '[0-9]+ errors? /' "$log")))
    [ $((good + bad)) -gt 0 ] || [ "$code" != 0 ] || good=1
    [ $bad -gt 0 ] || [ "$code" = 0 ] || bad=1
    passed=$((passed + good))
    failed=$((failed + bad))
    say "== $name: $good passed, $bad failed, $4 s"
    if [ $bad != 0 ] || [ "$code" != 0 ]; then
        failures+=("FAILED: $name")
        mapfile -t -O ${#failures[@]} failures < <(culprits "$log")
        return 1
    fi
}

# The tests that failed, and what they said first: the last lines are often all that is kept of a run.
culprits() {
    { grep -a -A 2 -E '^(Failure|Error) (→|->) |^---- .* ----$' "$1" || true; } | head -30 | sed 's/^/    /'
}

# step NAME COMMAND…: runs it, and judges.
step() {
    local name=$1 from=$SECONDS code=0
    shift
    say "== $name"
    "$@" </dev/null 2>&1 | tee "$scratch/log" || code=$?
    judge "$name" "$scratch/log" $code $((SECONDS - from))
}

# lane INTERPRETER…: the specs and the examples on each of them, one after the other (`embedded`: the specs of the
# clients on the embedded broker); what they print comes in one piece, and counts when the lane is over (settle_lanes).
lane() {
    local lua
    for lua in "$@"; do
        if [ "$lua" = embedded ]; then
            piece "specs on the embedded broker" busted_embedded
            continue
        fi
        piece "specs on $lua" busted_on "$lua"
        piece "examples on $lua" env LUA="$lua" tools/examples.sh
    done
}

piece() { # name, command…
    local name=$1 from=$SECONDS code=0 log
    shift
    log=$(mktemp "$scratch/piece.XXXXXX")
    "$@" </dev/null >"$log" 2>&1 || code=$?
    (
        flock 9
        say "== $name"
        cat "$log"
        printf '%s\t%s\t%s\t%s\n' "$name" "$log" $code $((SECONDS - from)) >>"$scratch/pieces"
    ) 9>"$scratch/lock"
}

# Starts a lane in a process group of its own, which ends with this script.
start_lane() {
    set -m
    lane "$@" &
    lanes+=($!)
    set +m
}

settle_lanes() {
    local pid name log code seconds
    for pid in "${lanes[@]}"; do
        wait "$pid" || true
    done
    lanes=()
    while IFS=$'\t' read -r name log code seconds; do
        judge "$name" "$log" "$code" "$seconds" || true
    done <"$scratch/pieces"
}

end_lanes() {
    local pid
    for pid in ${lanes[@]+"${lanes[@]}"}; do
        kill -TERM -- "-$pid" 2>/dev/null || true
    done
}

# Most crates do not know for which Lua they are built: a new build begins with those of the first interpreter.
begin_build() { # interpreter
    local first=target/${LUAS%% *}
    if [ -d "$first" ] && [ ! -d "target/$1" ]; then
        rm -rf "target/$1.new"
        cp -a "$first" "target/$1.new"
        mv "target/$1.new" "target/$1"
    fi
}

core_tests() {
    cargo test --quiet --target-dir target/check --no-default-features --features mqtt,stomp,tls,websocket,broker,httpd
}

busted_on() { "$1" "$(command -v busted)" --output=plainTerminal; }

# Every file that asks for a broker which the embedded one can stand in for; but not those of the brokers' own helpers,
# and of host programs and browsers, which show nothing more of the broker.
busted_embedded() {
    local files
    files=$(grep -lE '(helper|tools)\.(redis|mosquitto|rabbitmq|shared_rabbitmq)\>' spec/*_spec.lua |
        grep -vE '^spec/(brokers|helper|host_[a-z]*|httpd_[a-z]*)_spec')
    # shellcheck disable=SC2086 # file names without spaces
    MQ_SPEC_BROKER=embedded luajit "$(command -v busted)" --output=plainTerminal $files
}

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
    begin_build "$lua"
    step "build for $lua" make -s build spec-tools LUA="$lua" || finish
done
# Specs wait most of the time: two interpreters at once take half as long.
say "== specs and examples on $LUAS, specs on the embedded broker: this takes some minutes"
start_lane lua5.4 lua5.3 lua5.2
start_lane luajit lua5.1 embedded
settle_lanes
for version in 5.1 5.2 5.3 5.4; do
    step "rock for $version" rock "$version" || true
done
step "install for lua5.4" installed lua5.4 5.4 || true
step "install for luajit" installed luajit 5.1 || true
finish
