#!/usr/bin/env bash
# What is in the program, as CycloneDX 1.6: each crate that is linked into it or runs while it is built, from Cargo.lock
# and no network. Takes jq.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo metadata --format-version 1 --locked --filter-platform x86_64-unknown-linux-musl \
    | jq --arg version "${1:?the version of the release}" '
        # Everything reachable from the program without development dependencies.
        (.resolve.nodes | map({ key: .id, value: [.deps[] | select(any(.dep_kinds[]; .kind != "dev")) | .pkg] })
            | from_entries) as $needs
        | def reach($seen; $new): if ($new | length) == 0 then $seen else
            (($seen + $new) | unique) as $all
            | reach($all; [$new[] | $needs[.][]] | unique | . - $all) end;
        (.packages | map({ key: .id, value: . }) | from_entries) as $packages
        | .resolve.root as $root
        | {
            bomFormat: "CycloneDX", specVersion: "1.6", version: 1,
            metadata: { component: { type: "application", name: "tailnas", version: $version } },
            components: [
                reach([]; [$root])[] | select(. != $root) | $packages[.]
                | {
                    type: "library", name, version, purl: "pkg:cargo/\(.name)@\(.version)",
                    licenses: (if .license then [{ expression: (.license | gsub("/"; " OR ")) }] else [] end)
                }
            ] | sort_by(.name, .version)
        }'
