#!/usr/bin/env bash
# Lets a real Chromium, without a screen, use the console of the demo: enrols a passkey of a virtual authenticator, approves
# and refuses, looks at every page on a phone and in the dark, and tries what pages of others would try.
# Needs node (20 or later), npm, and Debian's chromium; another one where CHROMIUM says. Screenshots are left in
# target/console.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
demo=
cleanup() {
    if [ -n "$demo" ]; then kill -INT "$demo" 2>/dev/null || true; wait "$demo" 2>/dev/null || true; fi
    rm -rf "$work"
}
trap cleanup EXIT

cp "$here"/package.json "$here"/package-lock.json "$here"/*.mjs "$work"
(cd "$work" && npm ci --ignore-scripts --no-audit --no-fund --silent)
cd "$here/../../.."
cargo build --quiet --example demo --bin tailnas
target=$(cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
"$target/debug/examples/demo" --also storage:destroy --ready-file "$work/ready.json" >"$work/demo.log" 2>&1 &
demo=$!
for _ in $(seq 100); do
    [ -s "$work/ready.json" ] && break
    kill -0 "$demo" 2>/dev/null || { cat "$work/demo.log"; echo "the demo did not start"; exit 1; }
    sleep 0.1
done
mkdir -p "$target/console"
node "$work/console.mjs" "$work/ready.json" "$target/debug/tailnas" "$target/console"
