#!/usr/bin/env bash
# ct/tailnas.sh in earnest: it makes a real unprivileged LXC container, with a `pct` that passes what Proxmox would do on to
# lxc-*. Takes root, lxc and debootstrap.
#
#   tests/lab/lxc.sh [--if-possible]    as tests/lab/run.sh
#
# What of Proxmox is not in it: AppArmor, its storages and templates, its firewall, and its pct itself; a container of it has
# a network, and this one has loopback alone. Tailscale's packages are not fetched: apt-get and tailscale inside do nothing.
set -euo pipefail
cd "$(dirname "$0")/../.."

if_possible=${1:-}
# shellcheck source=tests/lab/host.sh
. tests/lab/host.sh

# Mounts and control groups of its own, so that nothing of this stays on the machine.
if [ -z "${LAB_ALONE:-}" ]; then
    [ "$(id -u)" -eq 0 ] || not_run 'it takes root'
    LAB_ALONE=yes exec unshare --mount --propagation private "$0" "$@"
fi

main() {
    local tool
    for tool in debootstrap lxc-start lxc-attach lxc-usernsexec ssh-keygen strip jq; do
        command -v "$tool" >/dev/null || not_run "$tool is not installed"
    done
    build
    make_root
    work=$(mktemp -d /var/tmp/tailnas-lab.XXXXXX)
    chmod 0755 "$work"
    trap ended EXIT
    root=$work/root
    cp -a --reflink=auto "$CACHE/root" "$root"
    furnish
    template
    ours_alone
    export LAB=$work PATH=$PWD/tests/lab/proxmox:$PATH
    : >"$work/answers"

    # shellcheck source=tests/lab/functions.sh
    . tests/lab/functions.sh
    step 'ct/tailnas.sh, unattended'
    local made=yes
    host_script var_answers="$work/answers" || made=no
    [ ! -e "$work/impossible" ] || not_run "no unprivileged LXC container boots here: $(cat "$work/impossible")"
    check 'it comes to its end' [ "$made" = yes ]
    check 'the container is unprivileged' [ "$(pct exec 104 -- cat /proc/self/uid_map | tr -s ' ')" = ' 0 100000 65536' ]
    check 'and one of LXC' [ "$(pct exec 104 -- systemd-detect-virt)" = lxc ]
    pct exec 104 -- bash /lab/inside-lxc.sh || failed=$((failed + 1))

    step 'run again inside'
    check 'it upgrades' pct exec 104 -- env var_release=/lab/next bash /lab/next/tailnas.sh
    check 'and the service is active' [ "$(pct exec 104 -- systemctl is-active tailnas.service)" = active ]
    pct stop 104
    pct destroy 104 --purge

    step 'a setup that fails'
    check 'the script fails' refused_for_a_wrong_key
    check 'and takes the container away again' [ ! -e "$work/ct/104" ]
    verdict
}

host_script() {
    env var_release="$root/lab/release" "$@" bash "$root/lab/release/tailnas.sh" </dev/null
}

refused_for_a_wrong_key() {
    printf '1-%064d\n' 0 >"$work/wrong.key"
    ! host_script var_answers="$work/answers" var_reader_key_file="$work/wrong.key"
}

# What Proxmox would call debian-13-standard, with the neighbourhood in it.
template() {
    printf '#!/bin/sh\nexit 0\n' >"$root/usr/local/bin/apt-get"
    chmod +x "$root/usr/local/bin/apt-get"
    printf '127.0.0.1 localhost deb.debian.org\n' >"$root/etc/hosts"
    tar -C "$root" --exclude='./dev/*' --numeric-owner -cf "$work/template.tar" .
}

ours_alone() {
    # Root may map these; for the time of this script alone.
    echo root:100000:65536 >"$work/ids"
    local file
    for file in /etc/subuid /etc/subgid; do
        [ -f "$file" ] || not_run "there is no $file (package uidmap)"
        mount --bind "$work/ids" "$file"
    done
    mount -t cgroup2 none /sys/fs/cgroup || not_run 'there is no control group (version 2) to give to a container'
    group=/sys/fs/cgroup/tailnas-lab-$$
    mkdir "$group"
    echo $$ >"$group/cgroup.procs"
}

ended() {
    local status=$?
    trap - EXIT
    if [ -d "$work/ct/104" ]; then pct stop 104 2>/dev/null || true; fi
    if [ -n "${group:-}" ]; then
        echo $$ >/sys/fs/cgroup/cgroup.procs
        find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || true
    fi
    rm -rf --one-file-system "$work"
    exit "$status"
}

main
