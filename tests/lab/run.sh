#!/usr/bin/env bash
# tailnas as people have it: installed by install.sh from a release into a Debian 13 that systemd has booted, between a
# simulated tailnet, provider and NAS. Takes root, debootstrap and systemd-nspawn; the network only for Debian's mirror.
#
#   tests/lab/run.sh                run it; 1 if something was not so, 69 if it cannot be run here
#   tests/lab/run.sh --if-possible  the same, but 0 where it cannot be run here; it says NOT RUN, and why
#
# LAB_PROGRAM and LAB_DEMO name a static tailnas and the demo, where they are not to be built. LAB_CACHE keeps Debian.
set -euo pipefail
cd "$(dirname "$0")/../.."

readonly CACHE=${LAB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tailnas-lab}
readonly TARGET=x86_64-unknown-linux-musl
if_possible=${1:-}

not_run() {
    printf '\n*** NOT RUN: %s\n*** Whether the installed service works was not tested on this machine.\n' "$*"
    if [ "$if_possible" = --if-possible ]; then exit 0; fi
    exit 69
}

main() {
    [ "$(id -u)" -eq 0 ] || not_run 'it takes root'
    local tool
    for tool in debootstrap systemd-nspawn nsenter ssh-keygen strip jq; do
        command -v "$tool" >/dev/null || not_run "$tool is not installed"
    done
    build
    make_root
    work=$(mktemp -d /var/tmp/tailnas-lab.XXXXXX)
    leader=
    nspawn=
    trap ended EXIT
    root=$work/root
    cp -a --reflink=auto "$CACHE/root" "$root"
    furnish
    boot
    inside /lab/inside.sh
}

build() {
    program=${LAB_PROGRAM:-}
    demo=${LAB_DEMO:-}
    if [ -z "$program" ]; then
        rustc --print target-libdir --target "$TARGET" | xargs test -d || not_run "rustup target add $TARGET"
        command -v musl-gcc >/dev/null || not_run 'musl-gcc is not installed (musl-tools)'
        cargo build --quiet --target "$TARGET" --bin tailnas
        program=${CARGO_TARGET_DIR:-target}/$TARGET/debug/tailnas
    fi
    if [ -z "$demo" ]; then
        cargo build --quiet --example demo
        demo=${CARGO_TARGET_DIR:-target}/debug/examples/demo
    fi
}

# A Debian 13, made once.
make_root() {
    [ ! -d "$CACHE/root" ] || return 0
    mkdir -p "$CACHE"
    local mirror
    # Where this machine has its own packages from.
    mirror=$(apt-get indextargets --format "\$(SITE)" 2>/dev/null | grep -m 1 '/debian/\?$' || true)
    [ -n "$mirror" ] || not_run 'this machine has no Debian mirror in its apt configuration'
    echo "debootstrap from this machine's mirror, a minute"
    debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,ca-certificates,curl,openssh-client,procps \
        trixie "$CACHE/root.new" "$mirror" >"$CACHE/debootstrap.log" 2>&1 || {
        rm -rf "$CACHE/root.new"
        not_run "debootstrap failed: $(tail -n 1 "$CACHE/debootstrap.log")"
    }
    mv "$CACHE/root.new" "$CACHE/root"
}

# Two releases, the simulated neighbourhood, and what is done inside.
furnish() {
    local version next
    version=$("$program" version | cut -d ' ' -f 2)
    next=${version%.*}.$((${version##*.} + 1))
    [ ${#next} -eq ${#version} ] || next=${version%?}0
    mkdir "$root/lab"
    strip -o "$work/program" "$program"
    program=$work/program
    ssh-keygen -q -t ed25519 -N '' -C '' -f "$work/key"
    packaging/release.sh --key "$work/key" --binary "$program" "$root/lab/release" >/dev/null
    # The next release is the same program under another number.
    sed "s/${version//./\\.}/$next/g" "$program" >"$work/next"
    chmod +x "$work/next"
    packaging/release.sh --key "$work/key" --binary "$work/next" --version "$next" "$root/lab/next" >/dev/null
    strip -o "$root/lab/demo" "$demo"
    install -m 0755 tests/lab/inside.sh "$root/lab/inside.sh"
    printf '%s\n%s\n' "$version" "$next" >"$root/lab/versions"
}

boot() {
    SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 systemd-nspawn --quiet -D "$root" --boot --register=no --keep-unit \
        --private-network --hostname=lab --console=read-only >"$work/console" 2>&1 &
    nspawn=$!
    local state=''
    for _ in $(seq 300); do
        kill -0 "$nspawn" 2>/dev/null || not_run "systemd-nspawn ended: $(tail -n 3 "$work/console")"
        leader=$(pgrep -P "$nspawn" | head -n 1 || true)
        if [ -n "$leader" ]; then
            state=$(inside systemctl is-system-running 2>/dev/null || true)
            case $state in running | degraded) return 0 ;; esac
        fi
        sleep 0.2
    done
    not_run "the container did not boot within a minute (${state:-no systemd}): $(tail -n 3 "$work/console")"
}

inside() {
    nsenter -t "$leader" -a env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 "$@"
}

ended() {
    local status=$?
    trap - EXIT
    if [ -n "$leader" ] && kill -0 "$leader" 2>/dev/null; then
        inside systemctl poweroff >/dev/null 2>&1 || true
        for _ in $(seq 100); do
            kill -0 "$nspawn" 2>/dev/null || break
            sleep 0.2
        done
    fi
    if [ -n "$nspawn" ]; then kill "$nspawn" 2>/dev/null || true; fi
    rm -rf --one-file-system "$work"
    exit "$status"
}

main
