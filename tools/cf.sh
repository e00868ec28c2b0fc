#!/usr/bin/env bash
# MQ in a checkout of cf, for make install-cf and uninstall-cf:
#   tools/cf.sh lua DIR [LUA]       says for which Lua it has to be built
#   tools/cf.sh install DIR CORE.so
#   tools/cf.sh uninstall DIR
# cf's scripts look into lualib first, so MQ goes there, and what cf has of the same name is kept aside until MQ is
# taken out again.
set -euo pipefail
# shellcheck source=tools/common.sh
. "$(dirname "$0")/common.sh"

what=${1:-} dir=${2:-}
usage="usage: make install-cf CF=DIR [LUA=lua5.4] | make uninstall-cf CF=DIR"
[ -n "$dir" ] || die "which cf? $usage"
[ -e "$dir/lualib/internal/Co.lua" ] || die "no checkout of cf: $dir/lualib/internal/Co.lua is missing"
dir=$(cd "$dir" && pwd)
lua=$dir/lualib/MQ native=$dir/luaclib/MQ aside=$dir/lualib/.MQ-of-cf list=$dir/lualib/.MQ-installed

# The Lua whose header cf's own build has put there; cf's documentation builds 5.4.
embedded() {
    local minor
    minor=$(sed -n 's/^#define LUA_VERSION_MINOR[^0-9]*\([0-9]*\).*/\1/p' "$dir/src/lua.h" 2>/dev/null || true)
    [ -z "$minor" ] || echo "lua5.$minor"
}

remove_ours() {
    [ -e "$list" ] || return 0
    while IFS= read -r file; do rm -f "$dir/$file"; done <"$list"
    rm -f "$list"
    for each in "$lua" "$native"; do
        [ ! -d "$each" ] || find "$each" -depth -type d -empty -delete
    done
}

case $what in
lua)
    found=$(embedded) wanted=${3:-}
    [ -z "$wanted" ] || [ -z "$found" ] || [ "$wanted" = "$found" ] ||
        die "this cf embeds $found (says $dir/src/lua.h), and LUA=$wanted was given"
    echo "${wanted:-${found:-lua5.4}}"
    ;;
install)
    core=$(realpath "${3:?$usage}")
    remove_ours
    cd lua
    find MQ -name '*.lua' | sort | while IFS= read -r file; do
        if [ -e "$dir/lualib/$file" ]; then
            mkdir -p "$(dirname "$aside/$file")"
            mv "$dir/lualib/$file" "$aside/$file"
        fi
        install -D -m 644 "$file" "$dir/lualib/$file"
        echo "lualib/$file" >>"$list"
    done
    install -D -m 755 "$core" "$native/core.so"
    echo "luaclib/MQ/core.so" >>"$list"
    say "installed: $lua $native/core.so"
    [ ! -d "$aside" ] || say "cf's own modules of the same names are kept in $aside"
    ;;
uninstall)
    [ -e "$list" ] || die "MQ is not installed in $dir"
    remove_ours
    if [ -d "$aside" ]; then
        (cd "$aside" && find . -type f) | while IFS= read -r file; do
            mkdir -p "$(dirname "$dir/lualib/$file")"
            mv "$aside/$file" "$dir/lualib/$file"
        done
        rm -rf "$aside"
    fi
    ;;
*) die "$usage" ;;
esac
