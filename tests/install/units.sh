#!/usr/bin/env bash
# Holds the unit to what it promises, offline: how exposed systemd finds it, and that the drop-in repeats the unit and
# adds nothing to it.
set -euo pipefail
cd "$(dirname "$0")/../../systemd"

# Tenths, of 100. The design's goal is 1.2; what is left is the network and the lack of an image of its own.
readonly MOST=12

report=$(systemd-analyze security --offline=true --no-pager --threshold=$MOST tailnas.service 2>&1) || {
    grep '✗' <<<"$report"
    tail -n 1 <<<"$report"
    echo "systemd finds tailnas.service more exposed than $((MOST / 10)).$((MOST % 10))"
    exit 1
}
tail -n 1 <<<"$report"

while read -r line; do
    grep -qxF "$line" tailnas.service || {
        echo "the drop-in says \"$line\", and the unit does not"
        exit 1
    }
done < <(grep -E '^[A-Za-z]+=' tailnas.service.d/zzzz-tailnas.conf)
diff <(grep ^LoadCredential= tailnas.service) <(grep ^LoadCredential= tailnas.service.d/zzzz-tailnas.conf)

# The dashboard asks for nothing that /metrics does not have.
cd ..
grep -oE 'tailnas_[a-z_]+' deploy/grafana.json | sort -u | while read -r metric; do
    grep -qF "\"${metric%_bucket}\"" src/metrics.rs src/server/health.rs || {
        echo "deploy/grafana.json asks for $metric, which there is not"
        exit 1
    }
done
