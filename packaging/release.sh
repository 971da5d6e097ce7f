#!/usr/bin/env bash
# Makes a release in a folder: the archive, the Debian package, the list of what is in the program, SHA256SUMS, its
# signature, and the installer that is pinned to all of it. docs/RELEASING.md says what goes before and after.
#
#   packaging/release.sh --key FILE [--url URL] [--binary FILE] [--version VERSION] FOLDER
set -euo pipefail
cd "$(dirname "$0")/.."

readonly TARGET=x86_64-unknown-linux-musl

usage() {
    sed -n '2,5s/^# \{0,1\}//p' "$0" >&2
    cat >&2 <<'TEXT'
  --key FILE       the private SSH key that signs; FILE.pub beside it
  --url URL        where the folder will be published, https://…; without it the installer needs --from
  --binary FILE    this program instead of one built now
  --version V      what that program says it is, where it is not the version of Cargo.toml
TEXT
    exit 64
}

main() {
    local key='' url='' binary='' version='' out=''
    while [ $# -gt 0 ]; do
        case $1 in
            --key | --url | --binary | --version)
                [ $# -ge 2 ] || usage
                printf -v "${1#--}" '%s' "$2"
                shift
                ;;
            -*) usage ;;
            *) out=$1 ;;
        esac
        shift
    done
    if [ -z "$key" ] || [ -z "$out" ]; then usage; fi
    [ -f "$key.pub" ] || fail "there is no $key.pub"
    [ ! -e "$out" ] || fail "$out exists already; a release is made once"
    version=${version:-$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)}

    # Nothing behind a hyphen: whether 1.0.0-rc1 comes before 1.0.0 is not the same for apt, sort and Cargo.
    [[ $version =~ ^[0-9]+\.[0-9]+\.[0-9]+$ ]] || fail "$version is no version of a release: three numbers"

    if [ -z "$binary" ]; then
        cargo build --profile dist --locked --target "$TARGET" --bin tailnas
        binary=${CARGO_TARGET_DIR:-target}/$TARGET/dist/tailnas
    fi
    [ "$("$binary" version)" = "tailnas $version" ] || fail "$binary is $("$binary" version), not tailnas $version"
    # One program for every distribution, and nothing else that the sandbox must let it execute.
    if readelf -l "$binary" | grep -q 'INTERP'; then fail "$binary is not static"; fi

    SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
    export SOURCE_DATE_EPOCH
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    mkdir -p "$out"
    make_archive
    make_package
    packaging/sbom.sh "$version" >"$out/tailnas-$version.cdx.json"
    make_installers
    cut -d ' ' -f 1,2 "$key.pub" >"$out/release.pub"
    (cd "$out" && sha256sum -- *) >"$work/SHA256SUMS"
    mv "$work/SHA256SUMS" "$out/SHA256SUMS"
    ssh-keygen -q -Y sign -f "$key" -n tailnas-release "$out/SHA256SUMS"
    (cd "$out" && ls -l)
}

fail() {
    printf 'release.sh: %s\n' "$*" >&2
    exit 1
}

# The tree of a release below $1, with the prefix $2.
stage() {
    local root=$1 prefix=$2 file
    install -D -m 0755 "$binary" "$root$prefix/bin/tailnas"
    for file in tailnas.service tailnas.socket tailnas.service.d/zzzz-tailnas.conf; do
        install -D -m 0644 "systemd/$file" "$root$prefix/lib/systemd/system/$file"
    done
    install -D -m 0644 systemd/tailnas.sysusers "$root$prefix/lib/sysusers.d/tailnas.conf"
    install -D -m 0644 packaging/man/tailnas.8 "$root$prefix/share/man/man8/tailnas.8"
    mkdir -p "$root$prefix/share/man/man5"
    awk -f packaging/config-man.awk docs/CONFIG.md >"$root$prefix/share/man/man5/tailnas.toml.5"
    # In the folders that they have in the source, so that what they point to is there.
    git ls-files -z -- README.md CHANGELOG.md CONTRIBUTING.md SECURITY.md 'LICENSE*' docs deploy systemd >"$work/documents"
    while IFS= read -rd '' file; do
        install -D -m 0644 "$file" "$root$prefix/share/doc/tailnas/$file"
    done <"$work/documents"
    # The unit names its page.
    sed -i "s|file:///usr/local/|file://$prefix/|" "$root$prefix/lib/systemd/system/tailnas.service" \
        "$root$prefix/share/doc/tailnas/systemd/tailnas.service"
}

archive_of() {
    tar --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner -C "$1" -cf - "$2" | gzip -9n
}

make_archive() {
    local name=tailnas-$version
    stage "$work/$name/files" /usr/local
    # What --uninstall is done with later, by somebody who has nothing else left.
    install -D -m 0644 install.sh "$work/$name/files/usr/local/share/tailnas/install.sh"
    archive_of "$work" "$name" >"$out/$name-x86_64.tar.gz"
}

make_package() {
    local root=$work/package
    stage "$root" /usr
    mkdir -p "$root/DEBIAN"
    sed -e "s/@VERSION@/$version/" -e "s/@SIZE@/$(du -sk "$root" | cut -f 1)/" packaging/deb/control >"$root/DEBIAN/control"
    install -m 0755 packaging/deb/preinst packaging/deb/postinst packaging/deb/prerm packaging/deb/postrm "$root/DEBIAN/"
    find "$root" -newermt "@$SOURCE_DATE_EPOCH" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
    dpkg-deb --root-owner-group -Zzstd --build "$root" "$out/tailnas_${version}_amd64.deb" >/dev/null
}

# The installers, each with what it must find written into it.
make_installers() {
    stamp install.sh VERSION "$version" SHA256 "$(hash_of "$out/tailnas-$version-x86_64.tar.gz")" \
        RELEASE_KEY "$(cut -d ' ' -f 1,2 "$key.pub")" BASE_URL "$url"
    stamp ct/tailnas.sh VERSION "$version" INSTALLER_SHA256 "$(hash_of "$out/install.sh")" BASE_URL "$url"
}

hash_of() {
    sha256sum "$1" | cut -d ' ' -f 1
}

# Writes the script $1 into the release, with the values for its empty variables.
stamp() {
    local script=$1 to=$out/${1##*/}
    cp "$script" "$to"
    shift
    while [ $# -gt 0 ]; do
        grep -qx "$1=''" "$to" || fail "$script has no place for $1"
        sed -i "s|^$1=''\$|$1='$2'|" "$to"
        shift 2
    done
    chmod 0755 "$to"
}

main "$@"
