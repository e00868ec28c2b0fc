#!/usr/bin/env bash
# Runs each example against private brokers:  LUA=lua5.3 tools/examples.sh
# An example reads MQ_REDIS_PORT, MQ_MQTT_PORT or MQ_STOMP_PORT, ends by itself, and exits 0.
set -euo pipefail
# shellcheck source=tools/common.sh
. "$(dirname "$0")/common.sh"

LUA=${LUA:-lua5.4}
eval "$(make -s env LUA="$LUA")"
start_redis
start_mosquitto
start_rabbitmq "$LUA"
passed=0 failed=0
for example in examples/*.lua; do
    [ -e "$example" ] || break
    if timeout -k 5 60 "$LUA" "$example" >"$REDIS_DIR/output" 2>&1 </dev/null; then
        passed=$((passed + 1))
    else
        say "$example on $LUA: exit code $?"
        cat "$REDIS_DIR/output"
        failed=$((failed + 1))
    fi
done
say "examples on $LUA: $passed passed; $failed failed;"
[ $failed = 0 ]
