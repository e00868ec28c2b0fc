#!/usr/bin/env bash
# An nginx with ngx_lua for the specs, unpacked into a directory:  tools/nginx.sh DIR
# Debian's packages (1.3 MB) are not installed, for their LuaJIT takes the place of the one that other specs run on, and
# nothing of theirs is to start. Does nothing where it has been done.
#   DIR/usr/sbin/nginx, DIR/usr/lib/nginx/modules, DIR/usr/share/lua/5.1, DIR/libraries (for LD_LIBRARY_PATH)
set -euo pipefail
# shellcheck source=tools/common.sh
. "$(dirname "$0")/common.sh"

dir=${1:?usage: tools/nginx.sh DIR}
packages=(nginx libnginx-mod-http-ndk libnginx-mod-http-lua libluajit2-5.1-2 lua-resty-core lua-resty-lrucache libpcre3)

works() { LD_LIBRARY_PATH=$1/libraries "$1/usr/sbin/nginx" -v 2>/dev/null; }

! works "$dir" || exit 0
command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null ||
    die "please put an nginx with ngx_lua into $dir as Debian's packages would be: ${packages[*]}"

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
log=$scratch/log

as_root=()
[ "$(id -u)" = 0 ] || ! command -v sudo >/dev/null || as_root=(sudo)

download() { (cd "$scratch" && apt-get -qq download "${packages[@]}") >>"$log" 2>&1 </dev/null; }
say "unpacking into $dir: ${packages[*]}"
if ! download; then
    "${as_root[@]}" apt-get -qq update >>"$log" 2>&1 </dev/null || true
    if ! download; then
        cat "$log" >&2
        die "apt-get could not download: ${packages[*]}"
    fi
fi
for package in "$scratch"/*.deb; do
    dpkg-deb -x "$package" "$scratch/root"
done
mkdir "$scratch/root/libraries"
find "$scratch/root" -path '*/lib/*' -name 'lib*.so*' -exec cp -P '{}' "$scratch/root/libraries" ';'
works "$scratch/root" || die "the nginx that was downloaded does not run: $(LD_LIBRARY_PATH=$scratch/root/libraries \
    ldd "$scratch/root/usr/sbin/nginx" | grep 'not found' || true)"
mkdir -p "$(dirname "$dir")"
rm -rf "$dir"
mv "$scratch/root" "$dir"
chmod 755 "$dir"
