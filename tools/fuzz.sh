#!/usr/bin/env bash
# Runs each fuzz target for SECONDS_EACH (60) seconds, or ONLY=name alone. Needs no nightly compiler and
# no cargo-fuzz: libFuzzer with coverage, without the address sanitizer (the codecs have no unsafe).
# What it finds is left in fuzz/artifacts/TARGET/.
set -euo pipefail
# shellcheck source=tools/common.sh
. "$(dirname "$0")/common.sh"

CARGO=${CARGO:-cargo}
SECONDS_EACH=${SECONDS_EACH:-60}
command -v c++ >/dev/null || die "libFuzzer needs a C++ compiler (Debian: g++)"
host=$("$CARGO" -vV | sed -n 's/^host: //p')

# What `cargo fuzz` passes, less the sanitizer. Naming the target keeps build scripts out of it.
RUSTFLAGS="--cfg fuzzing -Cdebug-assertions -Ccodegen-units=1 -Cpasses=sancov-module \
-Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
-Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares" \
    "$CARGO" build --quiet --release --manifest-path fuzz/Cargo.toml --target-dir fuzz/target --target "$host"

for source in fuzz/fuzz_targets/*.rs; do
    target=$(basename "$source" .rs)
    [ "${ONLY:-$target}" = "$target" ] || continue
    mkdir -p "fuzz/corpus/$target" "fuzz/artifacts/$target"
    say "== $target, $SECONDS_EACH s"
    "fuzz/target/$host/release/$target" -max_total_time="$SECONDS_EACH" -print_final_stats=1 -verbosity=0 \
        -artifact_prefix="fuzz/artifacts/$target/" "fuzz/corpus/$target"
done
