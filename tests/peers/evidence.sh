#!/usr/bin/env bash
# Runs a test against real peers and keeps what it said in docs/evidence/NAME.txt, with the day and the commit.
# usage: tests/peers/evidence.sh NAME COMMAND...
set -euo pipefail
cd "$(dirname "$0")/../.."
name=$1
shift
mkdir -p docs/evidence
kept=docs/evidence/$name.txt
{
    echo "$* on $(date -u +%F), of $(git describe --always --dirty), $(uname -sm), $(nproc) cores"
    echo
} >"$kept.new"
ended=0
"$@" 2>&1 | tee -a "$kept.new" || ended=$?
printf '\nended with %d after %d s\n' "$ended" "$SECONDS" >>"$kept.new"
mv "$kept.new" "$kept"
exit "$ended"
