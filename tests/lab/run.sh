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

if_possible=${1:-}
# shellcheck source=tests/lab/host.sh
. tests/lab/host.sh

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
