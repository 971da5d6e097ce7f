#!/bin/sh
# There is no release to install yet. Until there is, this says how to build and set up tailnas by hand.
set -eu

main() {
    cat >&2 <<'TEXT'
tailnas has no release yet, so there is nothing to install.

Build it:      cargo build --release      (the program is target/release/tailnas)
Set it up:     README.md, "Set it up"
Nothing was changed on this machine.
TEXT
    exit 69
}

main "$@"
