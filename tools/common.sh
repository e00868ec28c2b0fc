# Sourced by the other tools: where they run, which cargo they use, private brokers.
# shellcheck shell=bash

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

RUST_MINIMUM=88 # of 1.x; Cargo.toml says the same

say() { printf '%s\n' "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# Is this cargo there, with a compiler, and new enough?
cargo_works() {
    local minor
    minor=$("$1" --version 2>/dev/null | sed -n 's/^cargo 1\.\([0-9]*\)\..*/\1/p')
    [ "${minor:-0}" -ge "$RUST_MINIMUM" ]
}

# rustup installs to a directory that is not on every PATH.
if ! cargo_works cargo && cargo_works "$HOME/.cargo/bin/cargo"; then
    PATH=$HOME/.cargo/bin:$PATH
    export PATH
fi

PATH=$PATH:/usr/sbin # mosquitto is there, where ordinary users do not look

REDIS_PID=
REDIS_DIR=
MOSQUITTO_PID=
MOSQUITTO_DIR=
RABBITMQ_PID=
RABBITMQ_DIR=
RABBITMQ_INPUT=

# Starts redis-server on a free port of loopback; sets MQ_REDIS_PORT. Ends with the script.
start_redis() {
    REDIS_DIR=$(mktemp -d)
    end_with_script
    for _ in 1 2 3 4 5; do
        MQ_REDIS_PORT=$((20000 + RANDOM % 12000))
        redis-server --port "$MQ_REDIS_PORT" --bind 127.0.0.1 --save '' --appendonly no \
            --dir "$REDIS_DIR" >"$REDIS_DIR/log" 2>&1 </dev/null &
        REDIS_PID=$!
        for _ in {1..100}; do
            kill -0 "$REDIS_PID" 2>/dev/null || break # the port was taken
            # another server may answer on the port: ours is the one with our pid
            if redis-cli -p "$MQ_REDIS_PORT" info server 2>/dev/null | grep -q "^process_id:$REDIS_PID"; then
                export MQ_REDIS_PORT
                return 0
            fi
            sleep 0.05
        done
        end_process "$REDIS_PID"
        REDIS_PID=
    done
    cat "$REDIS_DIR/log" >&2
    die "redis-server did not start"
}

# Starts mosquitto on a free port of loopback; sets MQ_MQTT_PORT. Ends with the script.
start_mosquitto() {
    MOSQUITTO_DIR=$(mktemp -d)
    end_with_script
    for _ in 1 2 3 4 5; do
        MQ_MQTT_PORT=$((20000 + RANDOM % 12000))
        printf '%s\n' "listener $MQ_MQTT_PORT 127.0.0.1" "allow_anonymous true" "user root" \
            >"$MOSQUITTO_DIR/mosquitto.conf"
        mosquitto -v -c "$MOSQUITTO_DIR/mosquitto.conf" >"$MOSQUITTO_DIR/log" 2>&1 </dev/null &
        MOSQUITTO_PID=$!
        for _ in {1..100}; do
            kill -0 "$MOSQUITTO_PID" 2>/dev/null || break # the port was taken
            if grep -q 'mosquitto version .* running' "$MOSQUITTO_DIR/log"; then
                export MQ_MQTT_PORT
                return 0
            fi
            sleep 0.05
        done
        end_process "$MOSQUITTO_PID"
        MOSQUITTO_PID=
    done
    cat "$MOSQUITTO_DIR/log" >&2
    die "mosquitto did not start"
}

# Starts a RabbitMQ on free ports of loopback, by what the specs use for it, with the Lua that the argument names; sets
# MQ_STOMP_PORT. Takes some seconds. Ends with the script.
start_rabbitmq() {
    local input output
    RABBITMQ_DIR=$(mktemp -d)
    end_with_script
    input=$RABBITMQ_DIR/input output=$RABBITMQ_DIR/output
    mkfifo "$input"
    : >"$output"
    make -s spec-tools LUA="$1"
    LUA_CPATH="build/$1/?.so;build/$1/spec/?.so;;" \
        "$1" spec/support/rabbitmq_main.lua <"$input" >"$output" 2>&1 &
    RABBITMQ_PID=$!
    exec {RABBITMQ_INPUT}>"$input" # it ends when this is closed
    for _ in {1..1200}; do
        MQ_STOMP_PORT=$(sed -n 's/^\([0-9][0-9]*\) .*/\1/p' "$output")
        if [ -n "$MQ_STOMP_PORT" ]; then
            export MQ_STOMP_PORT
            return 0
        fi
        kill -0 "$RABBITMQ_PID" 2>/dev/null || break
        sleep 0.1
    done
    cat "$output" >&2
    die "RabbitMQ did not start"
}

stop_redis() {
    end_process "$REDIS_PID"
    [ -z "$REDIS_DIR" ] || rm -rf "$REDIS_DIR"
    REDIS_PID='' REDIS_DIR=''
}

stop_mosquitto() {
    end_process "$MOSQUITTO_PID"
    [ -z "$MOSQUITTO_DIR" ] || rm -rf "$MOSQUITTO_DIR"
    MOSQUITTO_PID='' MOSQUITTO_DIR=''
}

stop_rabbitmq() {
    [ -z "$RABBITMQ_INPUT" ] || exec {RABBITMQ_INPUT}>&-
    [ -z "$RABBITMQ_PID" ] || wait "$RABBITMQ_PID" 2>/dev/null || true
    [ -z "$RABBITMQ_DIR" ] || rm -rf "$RABBITMQ_DIR"
    RABBITMQ_PID='' RABBITMQ_DIR='' RABBITMQ_INPUT=''
}

end_with_script() {
    trap 'stop_redis; stop_mosquitto; stop_rabbitmq' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
}

end_process() {
    [ -n "$1" ] || return 0
    kill "$1" 2>/dev/null || true
    wait "$1" 2>/dev/null || true
}
