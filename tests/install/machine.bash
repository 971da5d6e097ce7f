# A machine for each test: the real tools and the real paths, in a mount namespace where /etc, /run, /usr/local,
# /var/log and /var/lib are the test's own; and in front on PATH fakes of whatever would reach systemd or the network.

readonly SOURCE=$BATS_TEST_DIRNAME/../..
# `run !`, and functions of bats that shellcheck knows.
bats_require_minimum_version 1.5.0

# Two releases, 1.0.0 and 1.1.0, made as real ones are; of a program that is a few lines of shell.
make_releases() {
    ssh-keygen -q -t ed25519 -N '' -C '' -f "$BATS_FILE_TMPDIR/key"
    ssh-keygen -q -t ed25519 -N '' -C '' -f "$BATS_FILE_TMPDIR/other-key"
    local version
    for version in 1.0.0 1.1.0; do
        program "$version" >"$BATS_FILE_TMPDIR/tailnas-$version"
        chmod +x "$BATS_FILE_TMPDIR/tailnas-$version"
        "$SOURCE/packaging/release.sh" --key "$BATS_FILE_TMPDIR/key" --binary "$BATS_FILE_TMPDIR/tailnas-$version" \
            --version "$version" --url "https://releases.example/v$version" "$BATS_FILE_TMPDIR/$version" >/dev/null
    done
}

program() {
    cat <<TEXT
#!/bin/sh
case \$1 in
    version) echo 'tailnas $1' ;;
    check) ! grep -q "not for $1" "\$3" ;;
    *) echo "tailnas \$*" >>"\$CALLS"; ! [ -e "\$ANSWERS/setup-fails" ] ;;
esac
TEXT
}

new_machine() {
    M=$BATS_TEST_TMPDIR/machine
    export CALLS=$M/calls ANSWERS=$M/answers
    mkdir -p "$M"/{answers,fakes,etc,run,local/bin,log,lib,release}
    : >"$CALLS"
    cp -a /etc/passwd /etc/group /etc/nsswitch.conf /etc/alternatives "$M/etc/"
    local name
    for name in systemctl systemd-sysusers journalctl userdel id curl tailscale df uname dpkg-query chown; do
        ln -s "$BATS_TEST_DIRNAME/fake" "$M/fakes/$name"
    done
    answer systemctl <<'SH'
case $1 in
    --version) echo "systemd 257 (257.9-1)" ;;
    is-active) [ -e "$ANSWERS/active" ] ;;
    restart) [ ! -e "$ANSWERS/restart-fails" ] || { rm "$ANSWERS/restart-fails"; exit 1; } ;;
esac
SH
    answer id <<'SH'
case $1 in -u) echo 0 ;; *) [ -e "$ANSWERS/user" ] ;; esac
SH
    answer systemd-sysusers <<'SH'
: >"$ANSWERS/user"
SH
    answer userdel <<'SH'
rm -f "$ANSWERS/user"
SH
    answer df <<'SH'
printf "Filesystem 1024-blocks Used Available Capacity Mounted\nx 1 1 %s 1%% /\n" "${ROOM:-9999999}"
SH
    answer uname <<<'echo x86_64'
    answer dpkg-query <<<'exit 1'
    answer chown <<<':'
    answer curl <<'SH'
for last; do :; done
while [ "$1" != -o ]; do shift; done
cp "$ANSWERS/published/${last##*/}" "$2"
SH
    answer tailscale <<<':'
    cp "$BATS_FILE_TMPDIR/1.0.0/"* "$M/release/"
}

# What the fake $1 does, from standard input.
answer() {
    cat >"$ANSWERS/$1"
}

# A fake more.
fake() {
    ln -sf "$BATS_TEST_DIRNAME/fake" "$M/fakes/$1"
    answer "$1"
}

# While the command that matches $1 runs, the first time, whoever called it gets these signals. It succeeds even so.
signals_at() {
    rm -f "$ANSWERS/signalled"
    printf '%s\n' "$1" >"$ANSWERS/signal-at"
    shift
    printf '%s\n' "$@" >"$ANSWERS/signals"
}

# No command like this was called. A `!` before grep would do that only as the last command of a test.
never_called() {
    if grep -E -- "$1" "$CALLS"; then
        echo 'was called, and must not be'
        return 1
    fi
}

# Runs a command on the machine. A signal that whoever runs these tests ignores, such as nohup does, is not ignored there.
on_machine() {
    env --default-signal=HUP,INT,QUIT,PIPE,TERM \
        unshare ${NOT_ROOT:+-r} --mount -- "$BATS_TEST_DIRNAME/on-machine.sh" "$M" "$@"
}

# The installer of the release that lies on the machine.
installer() {
    run on_machine sh "$M/release/install.sh" --from "$M/release" --no-setup "$@" </dev/null
}

# The same of version $1.
installer_of() {
    local version=$1
    shift
    run on_machine sh "$BATS_FILE_TMPDIR/$version/install.sh" --from "$BATS_FILE_TMPDIR/$version" --no-setup "$@" </dev/null
}

# Everything on the machine, with what is in it.
everything() {
    (cd "$M" && find etc run local log lib -not -name tailnas-install.lock | sort \
        && find etc local log lib -type f -exec sha256sum {} + | sort)
}

# Notes what is on the machine, for `refused` and `unchanged`.
remember() {
    before=$(everything)
}

unchanged() {
    diff <(echo "$before") <(everything)
}

installed() {
    on_machine /usr/local/bin/tailnas version
}

succeeds() {
    exits_with 0
}

exits_with() {
    [ "${status:?}" -eq "$1" ] || { echo "status $status: ${output:-}"; return 1; }
}

# The last command failed and said this.
fails() {
    [ "${status:?}" -ne 0 ] || { echo "it succeeded: ${output:-}"; return 1; }
    says "$1"
}

says() {
    [[ ${output:-} == *"$1"* ]] || { echo "it did not say \"$1\" but: ${output:-}"; return 1; }
}

never_says() {
    if [[ ${output:-} == *"$1"* ]]; then
        echo "it said \"$1\": $output"
        return 1
    fi
}

# The last command failed, said this, and the machine is as it was.
refused() {
    fails "$1" && unchanged
}

# Signs the release on the machine again, with the key $1, for the purpose $2.
sign_again() {
    rm -f "$M/release/SHA256SUMS.sig"
    ssh-keygen -q -Y sign -f "$1" -n "${2:-tailnas-release}" "$M/release/SHA256SUMS"
}

# Lets installer and SHA256SUMS of the release on the machine agree with its archive, as if it had been made like this.
pin_again() {
    local archive=$M/release/tailnas-1.0.0-x86_64.tar.gz hash
    hash=$(sha256sum "$archive" | cut -d ' ' -f 1)
    sed -i "s/^SHA256=.*/SHA256='$hash'/" "$M/release/install.sh"
    sed -i "s/^[0-9a-f]*\(  tailnas-1.0.0-x86_64.tar.gz\)$/$hash\1/" "$M/release/SHA256SUMS"
    sign_again "$BATS_FILE_TMPDIR/key"
}
