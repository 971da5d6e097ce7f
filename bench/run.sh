#!/usr/bin/env bash
# Measures the daemon beside what a user would pick instead, and writes docs/PERFORMANCE.md with docs/performance.
# usage: bench/run.sh [--quick]
#
# The daemon is the demo's: what ships, on a loopback listener. TAILNAS_TEST_RELEASE names a folder in which cargo has built
# it already, and TAILNAS_BENCH_PROGRAM one in which it has built this package; else both are built. FastMCP and the TypeScript
# SDK are fetched into a folder that is deleted again; where that cannot be done the results say so.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$here")
for argument in "$@"; do
    [ "$argument" = --quick ] || { echo "usage: bench/run.sh [--quick]"; exit 2; }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export TMPDIR=$work

target_of() {
    cargo metadata --manifest-path "$1/Cargo.toml" --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/'
}

# As it ships: static and by the profile of releases, where this machine can build that.
readonly MUSL=x86_64-unknown-linux-musl
release=${TAILNAS_TEST_RELEASE:-}
if [ -z "$release" ]; then
    build=(--profile dist)
    release=dist
    if [ -d "$(rustc --print target-libdir --target "$MUSL")" ] && command -v musl-gcc >/dev/null; then
        build+=(--target "$MUSL")
        release=$MUSL/dist
    fi
    (cd "$root" && cargo build --quiet "${build[@]}" --example demo)
    release=$(target_of "$root")/$release
fi
program=${TAILNAS_BENCH_PROGRAM:-}
if [ -z "$program" ]; then
    (cd "$here" && cargo build --quiet --release)
    program=$(target_of "$here")/release
fi

# The end of the folder says how it was built; where it lies is nobody's business.
profile=$(basename "$release")
target=$(basename "$(dirname "$release")")
case $target in
    *-*-*) ;;
    *) target=$(rustc -vV | sed -n 's/^host: //p') ;;
esac
built="commit $(git -C "$root" describe --always --dirty 2>/dev/null || echo unknown), profile \`$profile\`, $target"

peers=$work/peers
mkdir "$peers"
cp "$here"/peers/{fastmcp_server.py,server.mjs,package.json,package-lock.json,requirements.txt,.npmrc} "$peers"
others=()
if python3 -m venv "$work/venv" >"$work/python.log" 2>&1 \
    && "$work/venv/bin/pip" install --quiet --disable-pip-version-check -r "$peers/requirements.txt" >>"$work/python.log" 2>&1; then
    others+=(--python "$work/venv/bin/python")
else
    cat "$work/python.log"
    others+=(--no-python "python3 with venv and $(cat "$peers/requirements.txt") could not be had")
fi
if command -v node >/dev/null && (cd "$peers" && npm ci --ignore-scripts --no-progress --silent) >"$work/node.log" 2>&1; then
    others+=(--node "$(command -v node)")
else
    cat "$work/node.log" 2>/dev/null || true
    others+=(--no-node "Node.js, npm and the packages of bench/peers/package.json could not be had")
fi

"$program/tailnas-bench" --demo "$release/examples/demo" --built "$built" --peers "$peers" --docs "$root/docs" \
    "${others[@]}" "$@"
