# What CI runs and what people run are the same commands.

default: check test

check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings
    cargo clippy --package tailnas --lib --all-features -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

test:
    cargo test --workspace

demo *args:
    cargo demo -- {{ args }}

# licences, banned crates, sources
deny:
    cargo deny --all-features check bans licenses sources

# what is known against crates that we use; takes a network
advisories:
    cargo deny --all-features check advisories

# the official conformance suite, real clients, a real browser and real tailscaled; the last takes root
peers:
    tests/peers/conformance/run.sh
    tests/peers/python/run.sh
    tests/peers/node/run.sh
    tests/peers/note/run.sh
    tests/peers/browser/run.sh
    tests/peers/tailnet/run.sh

# what takes long or takes root, and what it said, kept in docs/evidence; the soak takes an hour
nightly:
    tests/peers/evidence.sh conformance tests/peers/conformance/run.sh
    tests/peers/evidence.sh clients tests/peers/node/run.sh
    tests/peers/evidence.sh tailnet tests/peers/tailnet/run.sh
    cargo build --release --example demo
    TAILNAS_SOAK_SECONDS=3600 tests/peers/evidence.sh soak cargo test --release --test soak -- --nocapture

# installed into a booted Debian, and by ct/tailnas.sh into a real unprivileged LXC; takes root
lab:
    tests/lab/run.sh
    tests/lab/lxc.sh

# the daemon beside what a user would pick instead, and how its cost grows; writes docs/PERFORMANCE.md
bench *args:
    bench/run.sh {{ args }}

# every fuzz target for a minute; takes nightly and cargo-fuzz
fuzz seconds="60":
    #!/usr/bin/env bash
    set -euo pipefail
    for target in $(cd fuzz && cargo +nightly fuzz list); do
        (cd fuzz && cargo +nightly fuzz run -s none "$target" -- -max_total_time={{ seconds }} -max_len=16384)
    done
