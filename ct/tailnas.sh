#!/usr/bin/env bash
# On a Proxmox VE host (8.4 or 9): makes an unprivileged Debian 13 container with Tailscale and tailnas in it, walks through
# the setup, and ends on the URL for MCP clients. Inside that container: upgrades tailnas.
#
#   bash tailnas.sh                        asks what it must know
#   var_disk=8 var_brg=vmbr1 bash …        what `bash tailnas.sh --help` lists may be set before it
#   bash tailnas.sh --dry-run              says what it would do
#
# It fetches nothing that is not pinned: the installer by the hash below, the release by the installer, Tailscale's packages
# by the fingerprint of their key, the template by Proxmox's own signed list. A failure takes the container away again.
set -Eeuo pipefail

# Written by packaging/release.sh. Empty in the source tree.
VERSION=''
INSTALLER_SHA256=''
BASE_URL=''

readonly TAILSCALE_KEY=2596A99EAAB33821893C0A79458CA832957F5868
readonly TAILSCALE_REPOSITORY=https://pkgs.tailscale.com/stable/debian
readonly INSIDE=/root/tailnas-release
# What an answer of `tailnas setup` may name a file for.
readonly SECRETS=(reader_key writer_key maintenance_key admin_password)

work=
ctid=
# no, maybe, yes, kept, ready; or upgrade.
created=no
# What tells a container that this run has made from one that somebody else made at the same moment.
readonly MARK=tailnas-$$-$RANDOM$RANDOM
fetched=
logged_in=no
dry=no

usage() {
    cat <<'TEXT'
Usage: [var_NAME=VALUE …] bash tailnas.sh [--dry-run]

  var_ctid              its number                          [the next free one]
  var_hostname          its name, here and on the tailnet   [tailnas]
  var_cpu               cores                               [1]
  var_ram               memory in MiB                       [512]
  var_disk              disk in GiB                         [4]
  var_container_storage storage for the disk                [the first that takes containers]
  var_template_storage  storage for the template            [the first that takes templates]
  var_brg               bridge                              [vmbr0]
  var_net               "dhcp", or ADDRESS/BITS of IPv4     [dhcp]
  var_gateway           gateway, with an address            []
  var_release           a folder with the release, instead of fetching it
  var_authkey_file      a file with a Tailscale auth key, instead of a login in the browser
  var_answers           answers for `tailnas setup`; with them nothing is asked
  var_reader_key_file, var_writer_key_file, var_maintenance_key_file, var_admin_password_file
                        files on this host, for those answers: the NAS's API keys, or its administrator's password
TEXT
}

say() { printf '%s\n' "$*"; }

die() {
    printf 'tailnas.sh: %s\n' "$*" >&2
    exit 1
}

change() {
    if [ "$dry" = yes ]; then
        say "would run: $*"
    else
        "$@"
    fi
}

main() {
    case ${1:-} in
        '') ;;
        --dry-run) dry=yes ;;
        --help | -h)
            usage
            exit 0
            ;;
        *)
            usage >&2
            die "there is no option $1"
            ;;
    esac
    umask 077
    trap 'ended $?' EXIT
    trap 'ended_by 129' HUP
    trap 'ended_by 130' INT
    trap 'ended_by 131' QUIT
    trap 'ended_by 141' PIPE
    trap 'ended_by 143' TERM
    case "/$VERSION/$INSTALLER_SHA256/" in
        *//*) die 'this is the script of the source tree, which belongs to no release. Take the one of a release' ;;
    esac
    [ "$dry" = yes ] || [ "$(id -u)" -eq 0 ] || die 'this takes root'
    if command -v pct >/dev/null 2>&1; then
        make_container
    elif [ -x /usr/local/bin/tailnas ]; then
        upgrade_here
    else
        die 'this is neither a Proxmox VE host nor a container that this script has made. Elsewhere, use install.sh'
    fi
}

ended_by() {
    trap '' HUP INT QUIT PIPE TERM
    exit "$1"
}

# Says what an end means for this host, and takes away what was made. Nothing keeps it from that: no second signal, and no
# terminal that is gone and cannot be written to.
ended() {
    set +e
    trap '' HUP INT QUIT PIPE TERM
    trap - EXIT
    case "$1 $created" in
        0* | *' upgrade' | *' kept' | *' ready') ;;
        *' yes') take_away ;;
        *' maybe')
            if pct config "$ctid" 2>/dev/null | grep -qF "$MARK"; then
                take_away
            elif pct status "$ctid" >/dev/null 2>&1; then
                printf 'tailnas.sh: there is a container %s now. Whether this run began it cannot be told, so it was left alone.\n' "$ctid" >&2
                printf 'Look at it: pct config %s. If it is half a container: pct unlock %s; pct destroy %s --purge\n' \
                    "$ctid" "$ctid" "$ctid" >&2
            else
                nothing_stays
            fi
            ;;
        *) nothing_stays ;;
    esac
    [ -z "$work" ] || rm -rf "$work"
    exit "$1"
}

nothing_stays() {
    if [ -n "$fetched" ]; then
        printf 'tailnas.sh: no container was made. The template %s stays on %s.\n' "$fetched" "$template_storage" >&2
    else
        printf 'tailnas.sh: nothing was changed.\n' >&2
    fi
}

take_away() {
    printf 'tailnas.sh: it failed, so container %s is taken away again.\n' "$ctid" >&2
    # A node that stayed on the tailnet would keep the name, and the next try would have another name and URL.
    if [ "$logged_in" = yes ] && ! pct exec "$ctid" -- timeout 20 tailscale logout >/dev/null 2>&1; then
        printf 'tailnas.sh: it could not be logged out of the tailnet. If the admin console shows the machine %s, remove it there,\n' \
            "$hostname" >&2
        printf 'or the next one is called %s-1.\n' "$hostname" >&2
    fi
    pct stop "$ctid" >/dev/null 2>&1
    pct destroy "$ctid" --purge >/dev/null || printf 'tailnas.sh: it could not be: pct destroy %s --purge\n' "$ctid" >&2
}

upgrade_here() {
    work=$(mktemp -d)
    fetch_release
    created=upgrade
    change sh "$work/install.sh" --from "$work" --upgrade
}

make_container() {
    read_wishes
    check_host
    work=$(mktemp -d)
    fetch_release
    fetch_tailscale_key
    find_template
    say "Making container $ctid: Debian 13, unprivileged, $cpu core(s), $ram MiB, $disk GiB on $storage, $bridge ($net)."
    create
    install_inside
    log_in
    set_up
    created=ready
    say "Container $ctid is ready. Look at it: pct exec $ctid -- systemctl status tailnas"
}

# Nothing that somebody typed reaches a command before it has the form of what it should be.
read_wishes() {
    ctid=${var_ctid:-}
    hostname=${var_hostname:-tailnas}
    cpu=${var_cpu:-1}
    ram=${var_ram:-512}
    disk=${var_disk:-4}
    storage=${var_container_storage:-}
    template_storage=${var_template_storage:-}
    bridge=${var_brg:-vmbr0}
    net=${var_net:-dhcp}
    gateway=${var_gateway:-}
    form ctid "$ctid" '^([1-9][0-9]{2,8})?$'
    form hostname "$hostname" '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'
    form cpu "$cpu" '^[1-9][0-9]{0,2}$'
    form ram "$ram" '^[1-9][0-9]{1,6}$'
    form disk "$disk" '^[1-9][0-9]{0,4}$'
    form container_storage "$storage" '^([A-Za-z][A-Za-z0-9._-]*)?$'
    form template_storage "$template_storage" '^([A-Za-z][A-Za-z0-9._-]*)?$'
    form brg "$bridge" '^[A-Za-z][A-Za-z0-9_.-]{0,14}$'
    form net "$net" '^(dhcp|[0-9]{1,3}(\.[0-9]{1,3}){3}/[0-9]{1,2})$'
    form gateway "$gateway" '^([0-9]{1,3}(\.[0-9]{1,3}){3})?$'
    local file secret
    for file in "${var_authkey_file:-}" "${var_answers:-}"; do
        [ -z "$file" ] || [ -r "$file" ] || die "$file cannot be read"
    done
    for secret in "${SECRETS[@]}"; do
        file=var_${secret}_file
        [ -z "${!file:-}" ] || [ -r "${!file}" ] || die "${!file} cannot be read"
        [ -z "${!file:-}" ] || [ -n "${var_answers:-}" ] || die "var_${secret}_file goes with var_answers"
    done
}

form() {
    [[ $2 =~ $3 ]] || die "var_$1 cannot be \"$2\""
}

check_host() {
    local tool version
    for tool in pveam pvesm pvesh pveversion gpg curl sha256sum; do
        command -v "$tool" >/dev/null 2>&1 || die "$tool is missing"
    done
    version=$(pveversion | sed -n 's|^pve-manager/\([0-9]*\.[0-9]*\).*|\1|p')
    [ -n "$version" ] || die 'pveversion does not say which version this is'
    [ "$(printf '%s\n8.4\n' "$version" | sort -V | head -n 1)" = 8.4 ] || die "Proxmox VE 8.4 or later is needed, and this is $version"
    [ "$(uname -m)" = x86_64 ] || die "there is no release for $(uname -m)"
    ctid=${ctid:-$(pvesh get /cluster/nextid)}
    form ctid "$ctid" '^[1-9][0-9]{2,8}$'
    ! pct status "$ctid" >/dev/null 2>&1 || die "there is a container $ctid already. Set var_ctid"
    storage=${storage:-$(first_storage rootdir)}
    template_storage=${template_storage:-$(first_storage vztmpl)}
    [ -n "$storage" ] || die 'no storage takes containers. Set var_container_storage'
    [ -n "$template_storage" ] || die 'no storage takes templates. Set var_template_storage'
    local room
    room=$(pvesm status --storage "$storage" | awk 'NR == 2 { print $6 }')
    [ "${room:-0}" -ge $((disk * 1024 * 1024)) ] || die "$storage has ${room:-0} KiB free, and the container takes $disk GiB"
}

first_storage() {
    pvesm status --content "$1" | awk 'NR > 1 && $3 == "active" { print $1; exit }'
}

# The installer is pinned by its hash, and pins the rest.
fetch_release() {
    local file
    for file in install.sh SHA256SUMS SHA256SUMS.sig "tailnas-$VERSION-x86_64.tar.gz"; do
        if [ -n "${var_release:-}" ]; then
            [ -f "$var_release/$file" ] || die "there is no $file in $var_release"
            cp "$var_release/$file" "$work/$file"
        else
            [ -n "$BASE_URL" ] || die 'this release says no place to fetch it from. Set var_release'
            curl --proto '=https' --proto-redir '=https' --tlsv1.2 -fsSL --max-filesize 134217728 -o "$work/$file" \
                "$BASE_URL/$file" || die "$BASE_URL/$file could not be fetched"
        fi
    done
    local actual
    actual=$(sha256sum "$work/install.sh" | cut -d ' ' -f 1)
    [ "$actual" = "$INSTALLER_SHA256" ] || die "install.sh is not the one this script was made for: its SHA-256 is $actual"
}

fetch_tailscale_key() {
    local key=$work/tailscale.gpg fingerprints
    curl --proto '=https' --tlsv1.2 -fsSL --max-filesize 65536 -o "$key" "$TAILSCALE_REPOSITORY/trixie.noarmor.gpg" \
        || die "the key of Tailscale's packages could not be fetched"
    # The first is the primary key's; those of its parts follow it.
    fingerprints=$(gpg --show-keys --with-colons "$key" 2>/dev/null | awk -F : '$1 == "pub" { next_is = 1 } $1 == "fpr" && next_is { print $10; next_is = 0 }')
    [ "$fingerprints" = "$TAILSCALE_KEY" ] || die "the key of Tailscale's packages is not the one that is known: ${fingerprints:-none}"
}

find_template() {
    local name
    template=$(pveam list "$template_storage" | awk '$1 ~ /debian-13-standard_.*amd64/ { print $1 }' | sort -V | tail -n 1)
    if [ -z "$template" ]; then
        [ "$dry" = yes ] || pveam update >/dev/null
        name=$(pveam available --section system | awk '$2 ~ /^debian-13-standard_.*amd64/ { print $2 }' | sort -V | tail -n 1)
        [ -n "$name" ] || die 'Proxmox has no template of Debian 13'
        # pveam checks it against Proxmox's signed list.
        [ "$dry" = yes ] || fetched=$name
        change pveam download "$template_storage" "$name" || die "the template $name could not be fetched"
        template=$template_storage:vztmpl/$name
    fi
}

create() {
    local net0=name=eth0,bridge=$bridge,ip=$net
    [ -z "$gateway" ] || net0+=,gw=$gateway
    # A number that somebody else has just taken must not be destroyed; and a signal may come while it is being made.
    [ "$dry" = yes ] || created=maybe
    change pct create "$ctid" "$template" --unprivileged 1 --features nesting=1 --hostname "$hostname" --cores "$cpu" \
        --memory "$ram" --swap 0 --rootfs "$storage:$disk" --net0 "$net0" --dev0 /dev/net/tun --ostype debian --onboot 1 \
        --tags tailnas --description "made by tailnas.sh, run $MARK" || die 'the container could not be made'
    [ "$dry" = yes ] || created=yes
    change pct start "$ctid"
    wait_for_network
}

# A name server may come by DHCP, a while after the start.
wait_for_network() {
    [ "$dry" = no ] || return 0
    local try
    for try in {1..60}; do
        if pct exec "$ctid" -- getent hosts deb.debian.org >/dev/null; then return 0; fi
        [ "$try" = 60 ] || sleep 1
    done
    die "the container has no network after a minute. Are $bridge and $net right?"
}

install_inside() {
    local file
    change pct push "$ctid" "$work/tailscale.gpg" /usr/share/keyrings/tailscale-archive-keyring.gpg --perms 0644
    printf 'deb [signed-by=/usr/share/keyrings/tailscale-archive-keyring.gpg] %s trixie main\n' "$TAILSCALE_REPOSITORY" \
        >"$work/tailscale.list"
    change pct push "$ctid" "$work/tailscale.list" /etc/apt/sources.list.d/tailscale.list --perms 0644
    change pct exec "$ctid" -- env DEBIAN_FRONTEND=noninteractive sh -c \
        'apt-get -qq update && apt-get -qq -y install tailscale openssh-client ca-certificates curl >/dev/null'
    change pct exec "$ctid" -- mkdir -m 0700 "$INSIDE"
    for file in install.sh SHA256SUMS SHA256SUMS.sig "tailnas-$VERSION-x86_64.tar.gz"; do
        change pct push "$ctid" "$work/$file" "$INSIDE/$file" --perms 0600
    done
    change pct exec "$ctid" -- sh "$INSIDE/install.sh" --from "$INSIDE" --no-setup
}

# Logged in at the tailnet. A key goes in as a file that only root can read, and out again.
log_in() {
    local up=(tailscale up "--hostname=$hostname" --advertise-tags=tag:tailnas)
    if [ -n "${var_authkey_file:-}" ]; then
        change pct push "$ctid" "$var_authkey_file" "$INSIDE/authkey" --perms 0600
        up+=("--auth-key=file:$INSIDE/authkey")
    fi
    # It may be one of the tailnet before this has come to its end.
    [ "$dry" = yes ] || logged_in=yes
    change pct exec "$ctid" -- "${up[@]}"
    change pct exec "$ctid" -- rm -f "$INSIDE/authkey"
}

set_up() {
    if [ -z "${var_answers:-}" ]; then
        change pct exec "$ctid" -- rm -rf "$INSIDE"
        # From here on there is something to keep: setting up goes on where it ended.
        [ "$dry" = yes ] || created=kept
        change pct exec "$ctid" -- tailnas setup \
            || die "it is installed, and not set up. Go on with: pct exec $ctid -- tailnas setup"
        return 0
    fi
    cp "$var_answers" "$work/answers"
    local secret file
    for secret in "${SECRETS[@]}"; do
        file=var_${secret}_file
        if [ -n "${!file:-}" ]; then
            change pct push "$ctid" "${!file}" "$INSIDE/$secret" --perms 0600
            printf '\n%s-file = %s\n' "${secret//_/-}" "$INSIDE/$secret" >>"$work/answers"
        fi
    done
    change pct push "$ctid" "$work/answers" "$INSIDE/answers" --perms 0600
    change pct exec "$ctid" -- tailnas setup --answers "$INSIDE/answers"
    change pct exec "$ctid" -- rm -rf "$INSIDE"
}

# All of the script has arrived by the time this line has.
{ main "$@"; }
