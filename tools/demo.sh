#!/usr/bin/env bash
# make demo: installs what is missing, builds, starts MQ's own broker, passes 100 messages.
set -euo pipefail
# shellcheck source=tools/common.sh
. "$(dirname "$0")/common.sh"

LUA=${LUA:-lua5.4}
example=examples/producer_consumer.lua
export LUA

tools/setup.sh demo "$LUA"
hash -r
say "building for $LUA (the first time takes a few minutes) …"
make -s build LUA="$LUA" </dev/null || die "the build failed; the messages above say why"

scratch=$(mktemp -d)
broker=
trap 'end_process "$broker"; rm -rf "$scratch"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
bin/mq broker --redis 0 >"$scratch/broker" 2>&1 </dev/null &
broker=$!
MQ_REDIS_PORT=
for _ in {1..200}; do
    MQ_REDIS_PORT=$(sed -n 's/^redis on .*, port //p' "$scratch/broker")
    [ -z "$MQ_REDIS_PORT" ] || break
    kill -0 "$broker" 2>/dev/null || break
    sleep 0.05
done
[ -n "$MQ_REDIS_PORT" ] || { cat "$scratch/broker" >&2; die "the broker did not start"; }
export MQ_REDIS_PORT
say "mq broker runs on port $MQ_REDIS_PORT; running $example"
say
timeout -k 5 60 bin/mq run "$example" </dev/null || die "$example failed (exit code $?)"
say
say "It works. To go on:"
say "  bin/mq run --broker $example   # a script, and a broker for as long as it runs"
say "  bin/mq broker                                        # a broker for Redis, MQTT and STOMP, until Ctrl-C;"
say "  bin/mq sub mqtt://localhost '#'                      # in another shell, what is published;"
say "  bin/mq pub redis://localhost hello world             # in a third one, a message"
say "With $LUA itself, and the broker from above or a redis-server:"
say "  eval \"\$(make -s env LUA=$LUA)\"                    # so that it finds MQ here"
say "  $LUA $example"
say "More: examples/, README.md, bin/mq --help, make help. To install: make install PREFIX=/usr/local LUA=$LUA"
