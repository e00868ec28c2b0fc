#!/usr/bin/env bash
# Installs what is missing, and only that:  tools/setup.sh demo [LUA] | test | bench
# Debian and Ubuntu, as root or with sudo; elsewhere it says what to install. Changes nothing when
# nothing is missing. Starts no service.
set -euo pipefail
# shellcheck source=tools/common.sh
. "$(dirname "$0")/common.sh"

what=${1:-test}
packages=()

command_from() { command -v "$1" >/dev/null 2>&1 || packages+=("${2:-$1}"); }
headers_from() { pkg-config --exists "$1" 2>/dev/null || packages+=("$2"); }
library_from() { compgen -G "/usr/lib/*/$1" >/dev/null || packages+=("$2"); }
file_from() { [ -e "$1" ] || packages+=("$2"); }

command_from cc gcc
file_from /usr/include/stdio.h libc6-dev
command_from make
file_from /etc/ssl/certs/ca-certificates.crt ca-certificates # for cargo

case $what in
demo)
    lua=${2:-lua5.4}
    command_from "$lua"
    ;;
bench)
    command_from redis-server
    command_from redis-cli redis-tools
    command_from lua5.4
    library_from liblua5.4-luv.so.0 lua-luv
    library_from liblua5.4-cqueues.so.0 lua-cqueues
    command_from pkg-config
    headers_from lua5.4 liblua5.4-dev
    headers_from hiredis libhiredis-dev
    command_from mosquitto
    headers_from libmosquitto libmosquitto-dev
    ;;
test)
    command_from redis-server
    command_from redis-cli redis-tools
    for v in 5.1 5.2 5.3 5.4; do command_from "lua$v"; done
    command_from luajit
    command_from pkg-config
    headers_from lua5.1 liblua5.1-0-dev
    for v in 5.2 5.3 5.4; do headers_from "lua$v" "liblua$v-dev"; done
    headers_from luajit libluajit-5.1-dev
    command_from busted lua-busted
    command_from luacheck lua-check
    command_from luarocks
    command_from openssl
    headers_from hiredis libhiredis-dev
    library_from libnss_wrapper.so libnss-wrapper # names with two addresses
    command_from mosquitto
    command_from mosquitto_pub mosquitto-clients
    file_from /usr/lib/rabbitmq/bin/rabbitmq-server rabbitmq-server
    command_from setpriv util-linux
    command_from activemq
    file_from /usr/lib/python3/dist-packages/stomp/connect.py python3-stomp # a client of MQ.broker's STOMP
    # the hosts of spec/host_loops_spec.lua
    library_from liblua5.4-luv.so.0 lua-luv
    library_from liblua5.4-cqueues.so.0 lua-cqueues
    file_from /usr/share/lua/5.1/copas.lua lua-copas
    command_from nvim neovim
    command_from tarantool
    command_from chromium # the page of examples/chat in a real browser
    file_from /usr/lib/python3/dist-packages/paho/mqtt/client.py python3-paho-mqtt
    file_from /usr/share/java/mqtt-client.jar libmqtt-client-java # activemq's MQTT; it does not depend on it
    ;;
*) die "usage: tools/setup.sh demo [LUA] | test | bench" ;;
esac

# Debian 12 keeps a current Rust under names of its own (the packages called cargo and rustc are old).
fresh_lists=
if ! cargo_works cargo; then
    packages+=(cargo-web rustc-web)
    fresh_lists=1
fi
# Only a packaged Rust needs packages for these; rustup brings them.
rust_package() { ! command -v cargo >/dev/null || [ "$(command -v cargo)" = /usr/bin/cargo ]; }
if [ "$what" = test ] && rust_package; then
    command_from cargo-clippy rust-web-clippy
    command_from cargo-fmt rustfmt-web
fi

[ "$what" != test ] || tools/nginx.sh build/nginx
[ ${#packages[@]} -gt 0 ] || exit 0
command -v apt-get >/dev/null || die "please install (Debian's names): ${packages[*]}; Rust 1.$RUST_MINIMUM or newer"

as_root=()
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || die "not root and no sudo; please install: ${packages[*]}"
    as_root=(sudo)
fi

# Packages of servers start them when they are installed; a policy of "no" prevents it.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap '"${as_root[@]}" rm -f "$policy"' EXIT
    trap 'exit 130' INT TERM
    printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
    "${as_root[@]}" chmod 755 "$policy"
fi

log=$(mktemp)
apt() {
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 "$@" >>"$log" 2>&1 </dev/null
}
say "installing: ${packages[*]}"
[ -z "$fresh_lists" ] || apt update || true
if ! apt install -y --no-install-recommends "${packages[@]}" &&
    ! { apt update && apt install -y --no-install-recommends "${packages[@]}"; }; then
    tail -n 20 "$log" >&2
    rm -f "$log"
    die "apt-get could not install: ${packages[*]}"
fi
rm -f "$log"
hash -r
cargo_works cargo || die "Rust 1.$RUST_MINIMUM or newer is needed; this system packages none: see rustup.rs"
