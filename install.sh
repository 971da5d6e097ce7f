#!/bin/sh
# Installs tailnas on a Linux with systemd, from the release that this script belongs to.
#
#   sh install.sh              install or upgrade, then set up
#   sh install.sh --dry-run    fetch and check everything, say what would be done, change nothing
#   sh install.sh --uninstall  take everything away again, except for the audit log
#   sh install.sh --help       the rest
#
# Look at it before you run it as root. What it installs is pinned in the next lines: by version, by SHA-256, and by
# the key that must have signed the release. It reads no secret and takes none, neither as an argument nor from the
# environment; `tailnas setup` asks for them on the terminal or reads them from files.
set -eu

# Written by packaging/release.sh. Empty in the source tree, from which nothing can be installed.
VERSION=''
SHA256=''
RELEASE_KEY=''
BASE_URL=''

PREFIX=/usr/local
SHARE=$PREFIX/share/tailnas
CONFIG=/etc/tailnas/config.toml
LOGS=/var/log/tailnas
# Who signed, and what for, as ssh-keygen(1) -Y has it.
SIGNER=release@tailnas
NAMESPACE=tailnas-release
# What the program, its copy of before and the unpacked archive take, with room to spare.
NEEDED_KIB=131072

work=
changing=no
was_active=no
made_user=no
dry=no

usage() {
    cat <<'TEXT'
Usage: sh install.sh [OPTION]...

  --from PLACE     take the release from this folder or https:// address, not from where it is published
  --answers FILE   set up unattended, with the answers in FILE (tailnas setup --help says which there are)
  --no-setup       install, and leave the setting up for later
  --upgrade        only if tailnas is installed already; does not set up
  --downgrade      go back to the version of this script, which is older than the installed one
  --uninstall      stop the service and take everything away, except for the audit log
  --yes            with --uninstall: do not ask
  --dry-run        fetch and check, say what would be done, change nothing
  --help           this
TEXT
}

say() { printf '%s\n' "$*"; }

# What happened; what it means for this machine is said by the trap.
die() {
    printf 'install.sh: %s\n' "$*" >&2
    exit 1
}

# Runs a command that changes the machine, or says that it would.
change() {
    if [ "$dry" = yes ]; then
        say "would run: $*"
    else
        "$@"
    fi
}

main() {
    mode=install
    from=
    answers=
    setup=yes
    sure=no
    while [ $# -gt 0 ]; do
        case $1 in
            --from | --answers)
                [ $# -ge 2 ] || die "$1 needs a value"
                case $1 in
                    --from) from=$2 ;;
                    --answers) answers=$2 ;;
                esac
                shift
                ;;
            --no-setup) setup=no ;;
            --upgrade | --downgrade | --uninstall) mode=${1#--} ;;
            --yes) sure=yes ;;
            --dry-run) dry=yes ;;
            --help | -h)
                usage
                exit 0
                ;;
            *)
                usage >&2
                die "there is no option $1. Nothing was changed"
                ;;
        esac
        shift
    done

    umask 022
    trap 'ended $?' EXIT
    trap 'ended_by 129' HUP
    trap 'ended_by 130' INT
    trap 'ended_by 131' QUIT
    trap 'ended_by 141' PIPE
    trap 'ended_by 143' TERM
    check_machine
    if [ "$mode" = uninstall ]; then
        uninstall
    else
        install_release
    fi
}

ended_by() {
    trap '' HUP INT QUIT PIPE TERM
    exit "$1"
}

# Says what an end means for this machine, and puts back what was changed before it. Nothing keeps it from that: no second
# signal, and no terminal that is gone and cannot be written to.
ended() {
    set +e
    trap '' HUP INT QUIT PIPE TERM
    trap - EXIT
    case "$changing $1" in
        yes*)
            printf 'install.sh: it failed half way; putting everything back as it was.\n' >&2
            put_back
            ;;
        'no 0' | finished*) ;;
        no*) printf 'install.sh: nothing was changed on this machine.\n' >&2 ;;
        'uninstall 0') ;;
        uninstall*) printf 'install.sh: it is not all gone yet. Mend that and run it again; it goes on from there.\n' >&2 ;;
    esac
    [ -z "$work" ] || rm -rf "$work"
    exit "$1"
}

check_machine() {
    [ "$dry" = yes ] || [ "$(id -u)" -eq 0 ] || die 'this takes root. Run it again as root, or with --dry-run'
    for tool in systemctl systemd-sysusers sha256sum ssh-keygen tar install flock df awk; do
        command -v "$tool" >/dev/null 2>&1 || case $tool in
            ssh-keygen) die 'ssh-keygen is missing, which checks the signature. Run: apt install openssh-client' ;;
            *) die "$tool is missing" ;;
        esac
    done
    systemd=$(systemctl --version | awk 'NR == 1 { print $2 }')
    case $systemd in
        '' | *[!0-9]*) die 'systemctl does not say which version it is' ;;
    esac
    [ "$systemd" -ge 254 ] || die "tailnas needs systemd 254 or later (Debian 13 has 257), and this is $systemd"
    if [ "$dry" = no ]; then
        exec 9>/run/tailnas-install.lock
        flock -n 9 || die 'another install.sh is running. Wait for its end'
    fi
}

install_release() {
    for pinned in "$VERSION" "$SHA256" "$RELEASE_KEY"; do
        [ -n "$pinned" ] || die 'this is the installer of the source tree, which belongs to no release, so there is
nothing to install. Take the one of a release; docs/RELEASING.md says how one is made'
    done
    [ "$(uname -m)" = x86_64 ] || die "there is no release for $(uname -m), only for x86_64"
    if command -v dpkg-query >/dev/null 2>&1 && dpkg-query -W -f '${Status}' tailnas 2>/dev/null | grep -q ' installed$'
    then
        die 'tailnas is installed as a package. Upgrade it as one (apt install ./tailnas_*.deb), or run: apt remove tailnas
which keeps configuration, keys and audit log, and this script goes on with them'
    fi
    [ -z "$answers" ] || [ -r "$answers" ] || die "$answers cannot be read"

    before=$(installed_version)
    case $mode in
        upgrade) [ -n "$before" ] || die 'tailnas is not installed, so there is nothing to upgrade' ;;
        *) if [ -n "$before" ] && [ "$before" != "$VERSION" ] && [ "$mode" != downgrade ] && is_older "$VERSION" "$before"
        then
            die "version $before is installed, which is newer than $VERSION. To go back, say --downgrade"
        fi ;;
    esac

    work=$(mktemp -d "${TMPDIR:-/tmp}/tailnas-install.XXXXXX")
    has_room "$work"
    [ ! -d "$PREFIX" ] || has_room "$PREFIX"
    archive=tailnas-$VERSION-x86_64.tar.gz
    for file in SHA256SUMS SHA256SUMS.sig "$archive"; do
        fetch "$file"
    done
    check_signature
    check_archive
    unpack

    if [ "$before" = "$VERSION" ] && nothing_differs; then
        say "tailnas $VERSION is installed already, to the letter."
        # What fails from here on is the setting up, which changes things and says itself which.
        changing=finished
    else
        put_in_place
    fi
    set_up
}

installed_version() {
    [ -x "$PREFIX/bin/tailnas" ] || return 0
    "$PREFIX/bin/tailnas" version 2>/dev/null | awk 'NR == 1 { print $2 }'
}

# Whether version $1 comes before $2.
is_older() {
    [ "$1" != "$2" ] && [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]
}

has_room() {
    room=$(df -Pk "$1" | awk 'NR == 2 { print $4 }')
    [ "${room:-0}" -ge "$NEEDED_KIB" ] || die "there are ${room:-0} KiB free at $1, and $NEEDED_KIB are needed"
}

fetch() {
    place=${from:-$BASE_URL}
    case $place in
        '') die 'this release says no place to fetch it from. Say --from' ;;
        https://*)
            command -v curl >/dev/null 2>&1 || die 'curl is missing. Run: apt install curl'
            curl --proto '=https' --proto-redir '=https' --tlsv1.2 -fsSL --retry 2 --max-filesize 134217728 \
                -o "$work/$1" "$place/$1" || die "$place/$1 could not be fetched"
            ;;
        *://*) die "$place: only https:// and folders" ;;
        *)
            [ -f "$place/$1" ] || die "there is no $1 in $place"
            cp "$place/$1" "$work/$1"
            ;;
    esac
}

# Before anything of the release is looked at any closer.
check_signature() {
    printf '%s namespaces="%s" %s\n' "$SIGNER" "$NAMESPACE" "$RELEASE_KEY" >"$work/signers"
    ssh-keygen -Y verify -q -f "$work/signers" -I "$SIGNER" -n "$NAMESPACE" -s "$work/SHA256SUMS.sig" \
        <"$work/SHA256SUMS" >/dev/null 2>&1 \
        || die "the signature of SHA256SUMS is not that of the release key. Do not use these files; tell the maintainers"
}

check_archive() {
    signed=$(awk -v file="$archive" '$2 == file || $2 == "*" file { print $1 }' "$work/SHA256SUMS")
    [ "$signed" = "$SHA256" ] \
        || die "SHA256SUMS has ${signed:-no hash} for $archive, and this script was made for $SHA256"
    actual=$(sha256sum "$work/$archive" | awk '{ print $1 }')
    [ "$actual" = "$SHA256" ] || die "$archive is damaged or not ours: its SHA-256 is $actual, and must be $SHA256"
}

unpack() {
    # It is signed; and even so: only plain files and folders, below its own name.
    tar -tzf "$work/$archive" >"$work/names" || die "$archive cannot be read"
    if grep -qvE "^tailnas-$VERSION/[A-Za-z0-9._/-]*\$" "$work/names" || grep -q '\.\.' "$work/names" \
        || tar -tvzf "$work/$archive" | grep -qv '^[-d]'
    then
        die "$archive holds names or kinds of files that a release does not have"
    fi
    tar -xzf "$work/$archive" -C "$work" --no-same-owner
    new=$work/tailnas-$VERSION/files
    says=$("$new$PREFIX/bin/tailnas" version) \
        || die "the program of the release does not run on this machine. If $work may not hold programs (mounted noexec),
run this again as: TMPDIR=/var/tmp sh install.sh"
    [ "$says" = "tailnas $VERSION" ] || die "the program of the release says that it is \"$says\", not $VERSION"
    (cd "$new" && find . -type f | sed 's/^\.//' | sort) >"$work/files"
    [ -s "$work/files" ] || die "$archive is empty"
    if grep -qv "^$PREFIX/" "$work/files"; then die "$archive has files outside of $PREFIX"; fi
}

nothing_differs() {
    [ -f "$SHARE/files" ] || return 1
    cmp -s "$work/files" "$SHARE/files" || return 1
    while read -r file; do
        cmp -s "$new$file" "$file" || return 1
    done <"$work/files"
}

put_in_place() {
    if [ -n "$before" ]; then say "Replacing tailnas $before with $VERSION."; else say "Installing tailnas $VERSION."; fi
    if [ -f "$CONFIG" ] && ! "$new$PREFIX/bin/tailnas" check --config "$CONFIG" >"$work/check" 2>&1; then
        cat "$work/check" >&2
        die "tailnas $VERSION does not accept $CONFIG. Mend it, and run this again"
    fi
    if [ "$dry" = yes ]; then
        sed 's/^/would write: /' "$work/files"
        say 'would make the user tailnas and tell systemd'
        return 0
    fi
    if systemctl is-active --quiet tailnas.service; then was_active=yes; fi
    : >"$work/written"
    : >"$work/folders"
    changing=yes
    # First, a list of all that this run may leave, which is not the list of any release: should it be killed, --uninstall
    # takes that away, and the next run begins anew instead of finding everything there.
    make_folder "$SHARE"
    keep "$SHARE/files"
    {
        say '# not finished'
        cat "$work/files"
        [ ! -e "$work/old$SHARE/files" ] || cat "$work/old$SHARE/files"
    } >"$work/list"
    put "$work/list" "$SHARE/files" 0644
    while read -r file; do
        make_folder "$(dirname "$file")"
        keep "$file"
        mode_of_file=0644
        [ "$file" != "$PREFIX/bin/tailnas" ] || mode_of_file=0755
        put "$new$file" "$file" "$mode_of_file"
    done <"$work/files"
    # What the version before had and this one has not.
    while read -r file; do
        if is_ours "$file" && [ -e "$file" ] && ! grep -qxF "$file" "$work/files"; then
            keep "$file"
            rm -f "$file"
        fi
    done <"$work/list"
    if ! id tailnas >/dev/null 2>&1; then
        made_user=yes
        systemd-sysusers "$PREFIX/lib/sysusers.d/tailnas.conf"
    fi
    systemctl daemon-reload
    if [ "$was_active" = yes ]; then
        # The socket is systemd's and stays: nobody is refused meanwhile. This waits for the daemon's READY.
        systemctl restart tailnas.service || {
            journalctl -u tailnas.service -n 15 --no-pager -o cat >&2 || true
            die "tailnas $VERSION did not start"
        }
    fi
    put "$work/files" "$SHARE/files" 0644
    changing=finished
    say "tailnas $VERSION is installed."
}

# Makes a folder and those above it, and remembers which were not there.
make_folder() {
    [ ! -d "$1" ] || return 0
    make_folder "$(dirname "$1")"
    say "$1" >>"$work/folders"
    mkdir -m 0755 "$1"
}

# Remembers a file as it is, or that it is not there, before it is changed.
keep() {
    if [ -e "$1" ]; then
        mkdir -p "$work/old$(dirname "$1")"
        cp -p "$1" "$work/old$1"
    fi
    say "$1" >>"$work/written"
}

# Puts the file $1 in the place $2 with the mode $3, whole or not at all.
put() {
    install -m "$3" "$1" "$2.new"
    mv -f "$2.new" "$2"
}

# Everything here goes on whatever fails: it is the way back.
put_back() {
    undone=
    while read -r file; do
        rm -f "$file.new"
        if [ -e "$work/old$file" ]; then
            if ! cp -p "$work/old$file" "$file.new" || ! mv -f "$file.new" "$file"; then
                rm -f "$file.new"
                undone="$undone
  $file"
            fi
        else
            rm -f "$file" || undone="$undone
  $file"
        fi
    done <"$work/written"
    sort -r "$work/folders" | while read -r folder; do rmdir "$folder" 2>/dev/null; done
    if [ "$made_user" = yes ] && id tailnas >/dev/null 2>&1; then
        userdel tailnas || undone="$undone
  userdel tailnas"
    fi
    systemctl daemon-reload || undone="$undone
  systemctl daemon-reload"
    runs=yes
    if [ "$was_active" = yes ]; then
        systemctl reset-failed tailnas.service 2>/dev/null
        systemctl restart tailnas.service || runs=no
    fi
    if [ -n "$undone" ]; then
        printf 'install.sh: NOT everything is as it was. This could not be put back:%s\n' "$undone" >&2
        if [ -d "$work/old" ]; then
            printf 'The files of before are in %s/old. Mend what is said above, then run:\n' "$work" >&2
            printf '  cp -a %s/old/. / && systemctl daemon-reload && systemctl try-restart tailnas\n' "$work" >&2
            work=
        fi
    elif [ "$runs" = no ]; then
        printf 'install.sh: every file is as it was.\n' >&2
    else
        [ "$was_active" = no ] || printf 'install.sh: version %s runs again.\n' "$before" >&2
        printf 'install.sh: everything is as it was.\n' >&2
    fi
    if [ "$runs" = no ]; then
        printf 'install.sh: tailnas does not run, and clients are not served. See why: journalctl -u tailnas -n 50\n' >&2
        printf 'Mend that, then run: systemctl restart tailnas\n' >&2
    fi
}

set_up() {
    [ "$mode" = install ] && [ "$setup" = yes ] || return 0
    if [ "$dry" = yes ]; then
        say 'would run: tailnas setup'
    elif [ -n "$answers" ]; then
        "$PREFIX/bin/tailnas" setup --answers "$answers" \
            || set_up_later 'It is installed; the setting up did not come to its end, for the reason above.'
    elif [ -f "$CONFIG" ]; then
        say "It is set up by $CONFIG. To change that: tailnas setup"
    elif [ -t 1 ] && (: </dev/tty) 2>/dev/null; then
        "$PREFIX/bin/tailnas" setup </dev/tty \
            || set_up_later 'It is installed; the setting up did not come to its end, for the reason above.'
    else
        say 'Set it up now: tailnas setup'
    fi
}

# Setting up goes on where it ended, so what is installed stays.
set_up_later() {
    printf 'install.sh: %s Mend that and run: tailnas setup\n' "$1" >&2
    exit 1
}

is_ours() {
    case $1 in
        *..*) return 1 ;;
        "$PREFIX"/*tailnas*) return 0 ;;
        *) return 1 ;;
    esac
}

uninstall() {
    if [ ! -f "$SHARE/files" ]; then
        die "tailnas was not installed by this script: there is no $SHARE/files"
    fi
    say "This stops tailnas and deletes the program, its units, /etc/tailnas with the configuration, the keys
/etc/credstore/tailnas.*, /var/lib/tailnas with passkeys and plans, and the user tailnas. It keeps the audit log,
$LOGS. With the key that signs the log gone, a later installation cannot go on with it: move the
folder away before you install again."
    if [ "$dry" = no ] && [ "$sure" = no ]; then
        (: </dev/tty) 2>/dev/null || die 'there is no terminal to ask on. Say --yes'
        printf 'Type yes to go on: '
        read -r answer </dev/tty
        [ "$answer" = yes ] || die 'not confirmed'
    fi
    changing=uninstall
    if command -v tailscale >/dev/null 2>&1 \
        && tailscale serve status 2>/dev/null | grep -qF 'unix:/run/tailnas/tailnas.sock'
    then
        change tailscale serve --https=443 off || say 'tailscale serve could not be told; run: tailscale serve reset'
    fi
    if [ -e "$PREFIX/lib/systemd/system/tailnas.service" ]; then
        change systemctl disable --now tailnas.socket tailnas.service
    fi
    while read -r file; do
        case $file in
            # Last, as a whole: this script may be run from there again.
            "$SHARE"/*) continue ;;
        esac
        if is_ours "$file"; then change rm -f "$file" "$file.new"; fi
    done <"$SHARE/files"
    change rm -rf "$PREFIX/share/doc/tailnas" "$PREFIX/lib/systemd/system/tailnas.service.d" /etc/tailnas \
        /etc/systemd/system/tailnas.service.d /etc/systemd/system/tailnas.socket.d /run/tailnas /var/lib/tailnas
    for key in /etc/credstore/tailnas.* /etc/credstore.encrypted/tailnas.*; do
        if [ -e "$key" ]; then change rm -f "$key"; fi
    done
    change systemctl daemon-reload
    # The number of a user that is gone may be given to another.
    if [ -d "$LOGS" ]; then change chown -R root:root "$LOGS"; fi
    if id tailnas >/dev/null 2>&1; then change userdel tailnas; fi
    for folder in lib/systemd/system lib/systemd lib/sysusers.d share/man/man5 share/man/man8 share/doc; do
        [ "$dry" = yes ] || rmdir "$PREFIX/$folder" 2>/dev/null || true
    done
    # Last, because it says what there is to take away.
    change rm -rf "$SHARE"
    if [ "$dry" = yes ]; then
        changing=no
        say 'Nothing was changed.'
        return 0
    fi
    say "tailnas is gone."
    if [ -d "$LOGS" ]; then say "The audit log is still in $LOGS. It is yours to keep or to delete."; fi
}

# All of the script has arrived by the time this line has.
{ main "$@"; }
