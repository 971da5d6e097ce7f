#!/usr/bin/env bash
# Publishes a release that packaging/release.sh has made: looks at everything that whoever installs it will look at, and puts
# the folder below PLACE as vVERSION; whole or not at all, and never over another.
#
#   packaging/publish.sh --key FILE.pub FOLDER PLACE
set -euo pipefail

usage() {
    sed -n '2,5s/^# \{0,1\}//p' "$0" >&2
    cat >&2 <<'TEXT'
  --key FILE.pub   the public key of releases, as it was always published; not the one that lies in FOLDER
  PLACE            a folder that is there already: /FOLDER, file:///FOLDER, or HOST:/FOLDER by ssh
TEXT
    exit 64
}

fail() {
    printf 'publish.sh: %s\n' "$*" >&2
    exit 1
}

main() {
    if [ "${1:-}" != --key ] || [ $# -ne 4 ]; then usage; fi
    key=$(cut -d ' ' -f 1,2 "$2")
    folder=$3
    place=${4#file://}
    shell=(sh -c)
    if [[ $place =~ ^([A-Za-z0-9][A-Za-z0-9._@-]*):(/.*)$ ]]; then
        shell=(ssh "${BASH_REMATCH[1]}")
        place=${BASH_REMATCH[2]}
    fi
    # It becomes part of commands.
    [[ $place =~ ^/[A-Za-z0-9._/-]*$ ]] || fail "$4 is neither a folder, file:///FOLDER nor HOST:/FOLDER"

    work=$(mktemp -d)
    unfinished=
    trap ended EXIT
    check
    put
    printf 'It is published. See that it is there for others: curl -fsS %s/SHA256SUMS | cmp - %s/SHA256SUMS\n' "$url" "$folder"
}

ended() {
    local status=$?
    set +e
    [ -z "$unfinished" ] || at_place "rm -rf '$unfinished'"
    rm -rf "$work"
    if [ "$status" -ne 0 ]; then printf 'publish.sh: nothing was published.\n' >&2; fi
    exit "$status"
}

# Runs a command where it is published to.
at_place() {
    "${shell[@]}" "$1"
}

check() {
    local archives=("$folder"/tailnas-*-x86_64.tar.gz)
    if [ ${#archives[@]} -ne 1 ] || [ ! -f "${archives[0]}" ]; then fail "$folder is not the folder of one release"; fi
    version=${archives[0]##*/tailnas-}
    version=${version%-x86_64.tar.gz}

    printf 'release@tailnas namespaces="tailnas-release" %s\n' "$key" >"$work/signers"
    ssh-keygen -Y verify -q -f "$work/signers" -I release@tailnas -n tailnas-release -s "$folder/SHA256SUMS.sig" \
        <"$folder/SHA256SUMS" >/dev/null 2>&1 || fail 'SHA256SUMS is not signed by this key'
    (cd "$folder" && find . -mindepth 1 ! -name SHA256SUMS ! -name SHA256SUMS.sig -printf '%P\n' | sort) >"$work/there"
    sed 's/^[0-9a-f]*  //' "$folder/SHA256SUMS" | sort | diff - "$work/there" >"$work/odd" \
        || fail "what is in $folder is not what was signed (< signed, > there):
$(cat "$work/odd")"
    (cd "$folder" && sha256sum --strict --quiet -c SHA256SUMS >&2) || fail "a file of $folder is not what was signed"

    # What the installers will insist on.
    url=$(pinned install.sh BASE_URL)
    [[ $url == https://*/v$version ]] \
        || fail "install.sh was made for \"$url\", and has to be for https://…/v$version (release.sh --url)"
    is_pinned install.sh VERSION "$version"
    is_pinned install.sh SHA256 "$(hash_of "tailnas-$version-x86_64.tar.gz")"
    is_pinned install.sh RELEASE_KEY "$key"
    is_pinned tailnas.sh VERSION "$version"
    is_pinned tailnas.sh INSTALLER_SHA256 "$(hash_of install.sh)"
    is_pinned tailnas.sh BASE_URL "$url"
}

hash_of() {
    sha256sum "$folder/$1" | cut -d ' ' -f 1
}

# What $2 is set to in the script $1.
pinned() {
    sed -n "s/^$2='\(.*\)'\$/\1/p" "$folder/$1"
}

is_pinned() {
    [ "$(pinned "$1" "$2")" = "$3" ] || fail "$1 has \"$(pinned "$1" "$2")\" as $2, and has to have \"$3\""
}

put() {
    local to=$place/v$version
    at_place "test -d '$place'" || fail "there is no folder $place"
    at_place "! test -e '$to'" || fail "$to is there already; a release is published once"
    unfinished=$place/.v$version.$$
    tar -C "$folder" -cf - . | at_place "mkdir '$unfinished' && tar --no-same-owner -xf - -C '$unfinished'" \
        || fail "it could not be copied to $place"
    # -T: into the place itself, which fails where somebody else was faster.
    at_place "cd '$unfinished' && sha256sum --strict --quiet -c SHA256SUMS && chmod -R u=rwX,go=rX . && mv -T '$unfinished' '$to'" \
        || fail "it arrived in $place, and could not be put in its place"
    unfinished=
}

main "$@"
