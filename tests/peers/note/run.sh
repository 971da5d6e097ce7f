#!/usr/bin/env bash
# Lets the demo write a log, and the Go project's implementation of signed notes and of the tree check what it signed.
# Needs go; leaves nothing behind.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
demo=
cleanup() {
    if [ -n "$demo" ]; then kill -INT "$demo" 2>/dev/null || true; wait "$demo" 2>/dev/null || true; fi
    rm -rf "$work"
}
trap cleanup EXIT

(cd "$here" && go build -o "$work/check" .)
cd "$here/../../.."
cargo build --quiet --example demo
target=$(cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
"$target/debug/examples/demo" --ready-file "$work/ready.json" >"$work/demo.log" 2>&1 &
demo=$!
for _ in $(seq 100); do
    [ -s "$work/ready.json" ] && break
    kill -0 "$demo" 2>/dev/null || { cat "$work/demo.log"; echo "the demo did not start"; exit 1; }
    sleep 0.1
done
audit=$(sed -n 's/.*"audit_dir": *"\([^"]*\)".*/\1/p' "$work/ready.json")
[ -d "$audit" ] || { cat "$work/ready.json"; echo "the demo does not say where its log is"; exit 1; }
# A checkpoint is due one minute after the start.
for _ in $(seq 90); do
    [ -s "$audit/checkpoints" ] && break
    sleep 1
done
cp -r "$audit" "$work/log"
vkey=$(sed -n 's/.*"vkey":"\([^"]*\)".*/\1/p' "$work"/log/audit-*.jsonl)
"$work/check" "$vkey" "$work/log/checkpoints" "$work"/log/audit-*.jsonl
