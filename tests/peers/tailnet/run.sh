#!/usr/bin/env bash
# The daemon on a tailnet of real tailscaled (see peer.py). Needs root, iproute2, curl, openssl, python3, and Go as new as
# go.mod says; builds tailscaled from the module the first time, which takes some minutes. Leaves nothing behind.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
[ "$(id -u)" = 0 ] || { echo "this takes root: it makes network namespaces"; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/bin" "$work/run"

export GOTOOLCHAIN=local
(cd "$here" && go build -o "$work/bin/" . tailscale.com/cmd/{tailscale,tailscaled,tsidp})
mv "$work/bin/tailnet" "$work/bin/control"
cd "$here/../../.."
cargo build --quiet --bin tailnas --example demo
target=$(cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
cp "$target/debug/tailnas" "$target/debug/examples/demo" "$work/bin"
python3 "$here/peer.py" "$work/bin" "$work/run" && exit
# What went wrong, from those who know.
tail -n 25 "$work"/run/*.log
exit 1
