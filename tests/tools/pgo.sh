#!/usr/bin/env bash
# Builds target/pgo/galen: the release build, laid out for where time goes under load. Builds twice,
# with most demo models under load, behind all doors, between the two.
# Usage: tests/tools/pgo.sh TARGET_FOLDER
# Wants llvm-profdata of rustc's LLVM: `rustup component add llvm-tools`, or its path in LLVM_PROFDATA.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
cargo=${CARGO:-cargo}
folder=$1/pgo
host=$(rustc -vV | sed -n 's/^host: //p')
profdata=${LLVM_PROFDATA:-$(rustc --print target-libdir)/../bin/llvm-profdata}
if ! "$profdata" --version >/dev/null 2>&1; then
    echo "pgo: no llvm-profdata at $profdata; run: rustup component add llvm-tools" >&2
    exit 1
fi

build() { # RUSTFLAGS FOLDER
    # With a target named, the flags are not for build scripts.
    RUSTFLAGS=$1 CARGO_TARGET_DIR=$2 "$cargo" build --release --locked --bin galen --target "$host"
}

rm -rf "$folder/raw"
mkdir -p "$folder/raw"
build "-Cprofile-generate=$folder/raw" "$folder/seen"
galen=$folder/seen/$host/release/galen
export ORT_DYLIB_PATH=${ORT_DYLIB_PATH:-$(find "$1/lib" -name 'libonnxruntime.*' | head -1)}

# Over TCP, as in production: what serves Unix sockets is other code.
log=$folder/serve.log
LLVM_PROFILE_FILE=$folder/raw/serve-%p.profraw "$galen" serve --models models \
    --http 127.0.0.1:0 --grpc 127.0.0.1:0 --metrics 127.0.0.1:0 --log-format json 2>"$log" &
server=$!
trap 'kill "$server" 2>/dev/null || true' EXIT
listening() { # DOOR
    sed -n "s/.*\"door\":\"$1\".*\"address\":\"\([^\"]*\)\".*/\1/p" "$log"
}
ready() {
    "$galen" bench identity --url "http://$(listening http)" --requests 1 >/dev/null 2>&1
}
# The load's own counts are not wanted.
export LLVM_PROFILE_FILE=/dev/null
for _ in $(seq 300); do
    ready && break
    sleep 0.1
done
for model in identity breast-cancer/1 breast-cancer/2 ecg-rhythm diabetes-progression; do
    "$galen" bench "$model" --url "http://$(listening http)" --grpc "$(listening grpc)" \
        --door rest-json,rest-binary,rest-typed,grpc --callers 1,16,64 --duration 1s --warm-up 1s
done
kill "$server"
wait "$server" || true
trap - EXIT
"$profdata" merge -o "$folder/galen.profdata" "$folder"/raw/*.profraw
build "-Cprofile-use=$folder/galen.profdata" "$folder/used"
cp "$folder/used/$host/release/galen" "$folder/galen"
