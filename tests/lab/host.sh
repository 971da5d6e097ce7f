# shellcheck shell=bash
# Shared by what boots the containers of the lab: a Debian 13, two releases of tailnas, and why it may not be possible.

readonly CACHE=${LAB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tailnas-lab}
readonly TARGET=x86_64-unknown-linux-musl

not_run() {
    printf '\n*** NOT RUN: %s\n*** Whether the installed service works was not tested on this machine.\n' "$*"
    if [ "${if_possible:-}" = --if-possible ]; then exit 0; fi
    exit 69
}

build() {
    program=${LAB_PROGRAM:-}
    demo=${LAB_DEMO:-}
    if [ -z "$program" ]; then
        rustc --print target-libdir --target "$TARGET" | xargs test -d || not_run "rustup target add $TARGET"
        command -v musl-gcc >/dev/null || not_run 'musl-gcc is not installed (musl-tools)'
        cargo build --quiet --release --target "$TARGET" --bin tailnas
        program=${CARGO_TARGET_DIR:-target}/$TARGET/release/tailnas
    fi
    # The sandbox lets it execute nothing else, a library neither.
    if readelf -l "$program" | grep -q INTERP; then not_run "$program is not static (rustup target add $TARGET, musl-tools)"; fi
    if [ -z "$demo" ]; then
        cargo build --quiet --example demo
        demo=${CARGO_TARGET_DIR:-target}/debug/examples/demo
    fi
}

# A Debian 13, made once.
make_root() {
    [ ! -d "$CACHE/root" ] || return 0
    mkdir -p "$CACHE"
    # What somebody broke off.
    rm -rf "$CACHE/root.new"
    local mirror
    # Where this machine has its own packages from.
    mirror=$(apt-get indextargets --format "\$(SITE)" 2>/dev/null | grep -m 1 '/debian/\?$' || true)
    [ -n "$mirror" ] || not_run 'this machine has no Debian mirror in its apt configuration'
    echo "debootstrap from this machine's mirror, a minute"
    timeout 600 debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,ca-certificates,curl,iproute2,jq,openssh-client,procps \
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
    mkdir "${root:?}/lab"
    strip -o "${work:?}/program" "$program"
    program=$work/program
    ssh-keygen -q -t ed25519 -N '' -C '' -f "$work/key"
    packaging/release.sh --key "$work/key" --binary "$program" "$root/lab/release" >/dev/null
    # The next release is the same program under another number.
    sed "s/${version//./\\.}/$next/g" "$program" >"$work/next"
    chmod +x "$work/next"
    packaging/release.sh --key "$work/key" --binary "$work/next" --version "$next" "$root/lab/next" >/dev/null
    strip -o "$root/lab/demo" "$demo"
    install -m 0755 "$program" "$root/lab/tailnas"
    install -m 0755 tests/lab/*.sh "$root/lab/"
    printf '%s\n%s\n' "$version" "$next" >"$root/lab/versions"
}

