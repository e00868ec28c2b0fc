#!/usr/bin/env bash
# make demo: installs what is missing, builds, starts a private redis-server, passes 100 messages.
set -euo pipefail
# shellcheck source=tools/common.sh
. "$(dirname "$0")/common.sh"

LUA=${LUA:-lua5.4}
example=examples/producer_consumer.lua

tools/setup.sh demo "$LUA"
hash -r
say "building for $LUA (the first time takes a few minutes) …"
make -s build LUA="$LUA" </dev/null || die "the build failed; the messages above say why"
eval "$(make -s env LUA="$LUA")"
start_redis
say "redis-server runs on port $MQ_REDIS_PORT; running $example"
say
timeout -k 5 60 "$LUA" "$example" </dev/null || die "$example failed (exit code $?)"
say
say "It works. To go on, in this shell:"
say "  eval \"\$(make -s env LUA=$LUA)\"     # so that $LUA finds MQ here"
say "  redis-server --port 6379 &          # a broker of your own; this demo's is being stopped"
say "  $LUA $example"
say "More: examples/, README.md, make help. To install: make install PREFIX=/usr/local LUA=$LUA"
