#!/usr/bin/env bats
# install.sh, on machines that are thrown away. Nothing outside of the test's folder is touched.

load machine.bash

setup_file() {
    make_releases
}

setup() {
    [ "$(id -u)" -eq 0 ] || export NOT_ROOT=yes
    new_machine
    remember
}

@test "installs the program, its units and its user" {
    installer
    succeeds
    [ "$(installed)" = 'tailnas 1.0.0' ]
    [ -f "$M/local/lib/systemd/system/tailnas.service" ]
    [ -f "$M/local/lib/systemd/system/tailnas.socket" ]
    [ -f "$M/local/lib/systemd/system/tailnas.service.d/zzzz-tailnas.conf" ]
    [ -e "$ANSWERS/user" ]
    grep -qx 'systemctl daemon-reload' "$CALLS"
}

@test "a second time it changes nothing and restarts nothing" {
    installer
    succeeds
    touch "$ANSWERS/active"
    : >"$CALLS"
    remember
    installer
    succeeds
    [[ $output == *'installed already, to the letter'* ]]
    unchanged
    never_called restart
}

@test "a file that somebody changed is put right" {
    installer
    echo changed >>"$M/local/lib/systemd/system/tailnas.service"
    installer
    succeeds
    run ! grep changed "$M/local/lib/systemd/system/tailnas.service"
}

@test "the installer of the source tree installs nothing" {
    run on_machine sh "$SOURCE/install.sh" --from "$M/release" </dev/null
    refused 'belongs to no release'
}

@test "a key with two slashes in a row, as one in sixty has them" {
    until grep -q // "$M/key.pub" 2>/dev/null; do
        rm -f "$M/key"
        ssh-keygen -q -t ed25519 -N '' -C '' -f "$M/key"
    done
    sign_again "$M/key"
    sed -i "s|^RELEASE_KEY=.*|RELEASE_KEY='$(cut -d ' ' -f 1,2 "$M/key.pub")'|" "$M/release/install.sh"
    installer
    succeeds
    [ "$(installed)" = 'tailnas 1.0.0' ]
}

@test "an archive with one byte changed" {
    printf 'X' | dd of="$M/release/tailnas-1.0.0-x86_64.tar.gz" bs=1 seek=2000 conv=notrunc status=none
    installer
    refused 'damaged or not ours'
}

@test "an archive that is cut, at many places" {
    archive=$M/release/tailnas-1.0.0-x86_64.tar.gz
    size=$(stat -c %s "$archive")
    for part in 0 1 10 25 50 75 90 99; do
        head -c $((size * part / 100)) "$BATS_FILE_TMPDIR/1.0.0/${archive##*/}" >"$archive"
        installer
        refused 'damaged or not ours'
    done
}

@test "an archive and a list that agree with each other, but not with the signature" {
    archive=$M/release/tailnas-1.0.0-x86_64.tar.gz
    echo more >>"$archive"
    hash=$(sha256sum "$archive" | cut -d ' ' -f 1)
    sed -i "s/^[0-9a-f]*\(  tailnas-1.0.0-x86_64.tar.gz\)$/$hash\1/" "$M/release/SHA256SUMS"
    installer
    refused 'the signature of SHA256SUMS is not that of the release key'
}

@test "an archive and a list that are signed, but are not those of this script" {
    echo more >>"$M/release/tailnas-1.0.0-x86_64.tar.gz"
    hash=$(sha256sum "$M/release/tailnas-1.0.0-x86_64.tar.gz" | cut -d ' ' -f 1)
    sed -i "s/^[0-9a-f]*\(  tailnas-1.0.0-x86_64.tar.gz\)$/$hash\1/" "$M/release/SHA256SUMS"
    sign_again "$BATS_FILE_TMPDIR/key"
    installer
    refused 'and this script was made for'
}

@test "a release without a signature" {
    rm "$M/release/SHA256SUMS.sig"
    installer
    refused 'there is no SHA256SUMS.sig'
}

@test "a signature that is empty" {
    : >"$M/release/SHA256SUMS.sig"
    installer
    refused 'not that of the release key'
}

@test "a release that somebody else signed" {
    sign_again "$BATS_FILE_TMPDIR/other-key"
    installer
    refused 'not that of the release key'
}

@test "a release that was signed for another purpose" {
    sign_again "$BATS_FILE_TMPDIR/key" git
    installer
    refused 'not that of the release key'
}

@test "the files of another version" {
    rm "$M/release/"tailnas*
    cp "$BATS_FILE_TMPDIR/1.1.0/"tailnas* "$BATS_FILE_TMPDIR/1.1.0/"SHA256SUMS* "$M/release/"
    installer
    refused 'there is no tailnas-1.0.0-x86_64.tar.gz'
}

@test "a program that is of another version than it is said to be" {
    mkdir "$M/x"
    tar -xzf "$M/release/tailnas-1.0.0-x86_64.tar.gz" -C "$M/x"
    cp "$BATS_FILE_TMPDIR/tailnas-1.1.0" "$M/x/tailnas-1.0.0/files/usr/local/bin/tailnas"
    tar -czf "$M/release/tailnas-1.0.0-x86_64.tar.gz" -C "$M/x" tailnas-1.0.0
    pin_again
    installer
    refused 'says that it is "tailnas 1.1.0", not 1.0.0'
}

@test "an archive with a link in it" {
    mkdir "$M/x"
    tar -xzf "$M/release/tailnas-1.0.0-x86_64.tar.gz" -C "$M/x"
    ln -s /etc "$M/x/tailnas-1.0.0/files/usr/local/etc"
    tar -czf "$M/release/tailnas-1.0.0-x86_64.tar.gz" -C "$M/x" tailnas-1.0.0
    pin_again
    installer
    refused 'names or kinds of files that a release does not have'
}

@test "an archive that would write beside its folder" {
    mkdir -p "$M/x/tailnas-1.0.0/files"
    echo evil >"$M/x/evil"
    tar -czPf "$M/release/tailnas-1.0.0-x86_64.tar.gz" -C "$M/x/tailnas-1.0.0" ../evil
    pin_again
    installer
    refused 'names or kinds of files that a release does not have'
}

@test "an archive with files for /etc" {
    mkdir "$M/x"
    tar -xzf "$M/release/tailnas-1.0.0-x86_64.tar.gz" -C "$M/x"
    mkdir -p "$M/x/tailnas-1.0.0/files/etc"
    echo evil >"$M/x/tailnas-1.0.0/files/etc/passwd"
    tar -czf "$M/release/tailnas-1.0.0-x86_64.tar.gz" -C "$M/x" tailnas-1.0.0
    pin_again
    installer
    refused 'has files outside of /usr/local'
}

@test "no room" {
    ROOM=1000 installer
    refused '1000 KiB free'
}

@test "not root" {
    answer id <<'SH'
case $1 in -u) echo 1000 ;; *) false ;; esac
SH
    installer
    refused 'this takes root'
}

@test "a systemd that is too old" {
    answer systemctl <<<'echo "systemd 252 (252.38-1~deb12u1)"'
    installer
    refused 'tailnas needs systemd 254 or later'
}

@test "another processor" {
    answer uname <<<'echo aarch64'
    installer
    refused 'no release for aarch64'
}

@test "no ssh-keygen" {
    ln -s "$BATS_TEST_DIRNAME/fake" "$M/fakes/flock"
    mkdir "$M/few"
    for tool in sh systemctl systemd-sysusers sha256sum tar install flock df awk id uname rm cat; do
        ln -s "$(PATH=$M/fakes:$PATH command -v $tool)" "$M/few/$tool"
    done
    run on_machine env PATH="$M/few" sh "$M/release/install.sh" --from "$M/release" </dev/null
    refused 'apt install openssh-client'
}

@test "another installation that is running" {
    exec 8>"$M/run/tailnas-install.lock"
    flock 8
    installer
    exec 8>&-
    refused 'another install.sh is running'
}

@test "installed as a Debian package" {
    answer dpkg-query <<<'echo "install ok installed"'
    installer
    refused 'installed as a package'
}

@test "an option that does not exist, such as one for a secret" {
    installer --api-key hunter2
    refused 'there is no option --api-key'
}

@test "an option without its value" {
    run on_machine sh "$M/release/install.sh" --from </dev/null
    refused '--from needs a value'
}

@test "answers that cannot be read" {
    installer --answers "$M/nothing"
    refused 'cannot be read'
}

@test "fetches over https alone" {
    run on_machine sh "$M/release/install.sh" --from http://releases.example/v1.0.0 </dev/null
    refused 'only https:// and folders'
    never_called '^curl '
}

@test "fetches from where the release is published" {
    mkdir "$ANSWERS/published"
    cp "$M/release/"* "$ANSWERS/published/"
    run on_machine sh "$M/release/install.sh" --no-setup </dev/null
    succeeds
    [ "$(installed)" = 'tailnas 1.0.0' ]
    grep -q '^curl --proto =https .* https://releases.example/v1.0.0/SHA256SUMS$' "$CALLS"
}

@test "what cannot be fetched" {
    answer curl <<<'exit 22'
    run on_machine sh "$M/release/install.sh" --no-setup </dev/null
    refused 'could not be fetched'
}

@test "the script itself, cut anywhere, does nothing" {
    size=$(stat -c %s "$M/release/install.sh")
    for ((at = 0; at < size - 2; at += 61)); do
        head -c "$at" "$M/release/install.sh" >"$M/cut.sh"
        on_machine sh "$M/cut.sh" --from "$M/release" --no-setup </dev/null >/dev/null 2>&1 || true
        unchanged
    done
    for ((at = size - 20; at < size - 2; at++)); do
        head -c "$at" "$M/release/install.sh" >"$M/cut.sh"
        on_machine sh "$M/cut.sh" --from "$M/release" --no-setup </dev/null >/dev/null 2>&1 || true
        unchanged
    done
    [ ! -s "$CALLS" ]
}

@test "--dry-run says what it would do and does nothing" {
    installer --dry-run
    succeeds
    [[ $output == *'would write: /usr/local/bin/tailnas'* ]]
    unchanged
    never_called 'daemon-reload|restart|sysusers'
}

@test "no folder is left behind in /tmp" {
    mkdir "$M/tmp"
    TMPDIR=$M/tmp installer
    succeeds
    [ -z "$(ls -A "$M/tmp")" ]
    echo more >>"$M/release/tailnas-1.0.0-x86_64.tar.gz"
    TMPDIR=$M/tmp installer
    fails 'damaged or not ours'
    [ -z "$(ls -A "$M/tmp")" ]
}

@test "a failure at any file puts everything back" {
    # Each of them, and the list of them, at the beginning and at the end.
    count=$(($(tar -tzf "$M/release/tailnas-1.0.0-x86_64.tar.gz" | grep -cv '/$') + 2))
    fake install </dev/null
    for at in 1 2 3 $(seq 4 9 $((count - 2))) $((count - 1)) "$count"; do
        : >"$CALLS"
        answer install <<SH
[ \$(grep -c '^install ' "\$CALLS") -ne $at ] || exit 1
exec /usr/bin/install "\$@"
SH
        installer
        refused 'everything is as it was'
    done
}

@test "a failure of systemd-sysusers puts everything back" {
    answer systemd-sysusers <<<'exit 1'
    installer
    refused 'everything is as it was'
}

@test "a failure of daemon-reload puts everything back, and the user is gone too" {
    answer systemctl <<'SH'
case $1 in
    --version) echo "systemd 257" ;;
    daemon-reload) [ -e "$ANSWERS/tried" ] || { : >"$ANSWERS/tried"; exit 1; } ;;
    *) false ;;
esac
SH
    installer
    refused 'everything is as it was'
    [ ! -e "$ANSWERS/user" ]
}

# Where a signal may come: while one of these runs.
readonly STEPS=('^install -m 0644 .*/list ' '^install -m 0755 .*/tailnas.new$' '^systemd-sysusers ' '^systemctl daemon-reload'
    '^systemctl restart ')

real_install() {
    fake install <<'SH'
exec /usr/bin/install "$@"
SH
}

@test "ended by a signal at any step, it puts everything back" {
    local step signal
    real_install
    for step in "${STEPS[@]:0:4}"; do
        for signal in HUP INT QUIT PIPE TERM; do
            signals_at "$step" "$signal"
            installer
            [ -e "$ANSWERS/signalled" ]
            refused 'everything is as it was'
            exits_with $((128 + $(kill -l "$signal")))
            [ ! -e "$ANSWERS/user" ]
        done
    done
}

@test "an upgrade that is ended at any step puts the version before back, and it runs" {
    local step
    real_install
    installer
    touch "$ANSWERS/active"
    remember
    for step in "${STEPS[@]:0:2}" "${STEPS[@]:3}"; do
        signals_at "$step" HUP
        installer_of 1.1.0 --upgrade
        [ -e "$ANSWERS/signalled" ]
        refused 'version 1.0.0 runs again'
        [ "$(installed)" = 'tailnas 1.0.0' ]
    done
}

@test "two signals at once, as when a session ends" {
    local step
    real_install
    for step in "${STEPS[@]:0:4}"; do
        signals_at "$step" TERM HUP
        installer
        refused 'everything is as it was'
    done
}

@test "more signals while it puts everything back" {
    # rm is first used there, again and again.
    fake rm <<'SH'
for signal in HUP INT QUIT PIPE TERM; do kill -$signal $PPID; done
exec /usr/bin/rm "$@"
SH
    answer systemd-sysusers <<<'exit 1'
    installer
    grep -q '^rm ' "$CALLS"
    refused 'everything is as it was'
}

# What the installer says goes to this descriptor.
with_stderr() {
    on_machine sh "$M/release/install.sh" --from "$M/release" --no-setup </dev/null 2>&"$1"
}

@test "a terminal that is gone, or a log on a full disk, keeps it from nothing" {
    local out=$M/out
    signals_at '^systemd-sysusers ' HUP
    exec 7>/dev/full
    run with_stderr 7
    [ -e "$ANSWERS/signalled" ]
    exits_with 129
    unchanged
    # A pipe that nobody reads any more, such as the `tee` that Ctrl-C has ended too.
    mkfifo "$out"
    : <"$out" &
    exec 7>"$out"
    wait $!
    signals_at '^systemd-sysusers ' HUP
    run with_stderr 7
    exec 7>&-
    [ -e "$ANSWERS/signalled" ]
    exits_with 129
    unchanged
}

@test "what cannot be put back is named, and the files of before are kept" {
    mkdir "$M/tmp"
    installer
    touch "$ANSWERS/active"
    # From the restart on, there is no room for a copy of the program.
    answer systemctl <<'SH'
case $1 in
    --version) echo "systemd 257" ;;
    restart) [ -e "$ANSWERS/full" ] || { : >"$ANSWERS/full"; exit 1; } ;;
esac
SH
    fake cp <<'SH'
case "$* $(ls "$ANSWERS")" in *bin/tailnas.new*full*) echo "cp: no space left on device" >&2; exit 1 ;; esac
exec /usr/bin/cp "$@"
SH
    TMPDIR=$M/tmp installer_of 1.1.0 --upgrade
    fails 'NOT everything is as it was'
    says $'put back:\n  /usr/local/bin/tailnas\n'
    never_says 'runs again'
    never_says ': everything is as it was'
    # What it says is right: with room again, this puts the rest back.
    rm "$M/fakes/cp"
    kept=$(echo "$M"/tmp/tailnas-install.*)
    on_machine cp -a "$kept/old/." /
    [ "$(installed)" = 'tailnas 1.0.0' ]
}

# The installer of version $1, killed at the step $2.
killed_at() {
    signals_at "$2" KILL
    installer_of "$1"
    [ -e "$ANSWERS/signalled" ]
    exits_with 137
    : >"$CALLS"
}

@test "an installation that was killed is made good by the next" {
    local step
    real_install
    for step in "${STEPS[@]:0:4}"; do
        killed_at 1.0.0 "$step"
        installer
        succeeds
        [ "$(installed)" = 'tailnas 1.0.0' ]
        [ -e "$ANSWERS/user" ]
        grep -qx 'systemctl daemon-reload' "$CALLS"
        installer
        says 'installed already, to the letter'
        installer --uninstall --yes
        succeeds
    done
}

@test "an installation that was killed may be taken away" {
    local step
    real_install
    for step in "${STEPS[@]:1:3}"; do
        killed_at 1.0.0 "$step"
        installer --uninstall --yes
        succeeds
        [ -z "$(find "$M/local" -type f)" ]
    done
}

@test "an upgrade that was killed is made good by the next" {
    local step
    real_install
    installer
    touch "$ANSWERS/active"
    for step in "${STEPS[@]:0:2}" "${STEPS[@]:3}"; do
        killed_at 1.1.0 "$step"
        installer_of 1.1.0 --upgrade
        succeeds
        says 'tailnas 1.1.0 is installed.'
        grep -qx 'systemctl restart tailnas.service' "$CALLS"
        [ "$(installed)" = 'tailnas 1.1.0' ]
        installer --downgrade
        succeeds
    done
}

@test "an upgrade restarts the service where it runs" {
    installer
    touch "$ANSWERS/active"
    installer_of 1.1.0 --upgrade
    succeeds
    [ "$(installed)" = 'tailnas 1.1.0' ]
    grep -qx 'systemctl restart tailnas.service' "$CALLS"
}

@test "an upgrade leaves a service that is stopped as it is" {
    installer
    installer_of 1.1.0 --upgrade
    succeeds
    never_called restart
}

@test "a version that does not start: the one before comes back and runs" {
    installer
    touch "$ANSWERS/active" "$ANSWERS/restart-fails"
    remember
    installer_of 1.1.0 --upgrade
    refused 'version 1.0.0 runs again'
    [ "$(installed)" = 'tailnas 1.0.0' ]
    [ "$(grep -c 'restart tailnas.service' "$CALLS")" = 2 ]
}

@test "a configuration that the new version does not take stops the upgrade before anything is touched" {
    installer
    mkdir "$M/etc/tailnas"
    echo '# not for 1.1.0' >"$M/etc/tailnas/config.toml"
    touch "$ANSWERS/active"
    remember
    installer_of 1.1.0 --upgrade
    refused 'does not accept /etc/tailnas/config.toml'
    never_called restart
}

@test "an upgrade takes away what the new version has no more" {
    installer
    echo old >"$M/local/share/doc/tailnas/OLD.md"
    echo /usr/local/share/doc/tailnas/OLD.md >>"$M/local/share/tailnas/files"
    installer_of 1.1.0 --upgrade
    succeeds
    [ ! -e "$M/local/share/doc/tailnas/OLD.md" ]
}

@test "an older version is not installed by mistake" {
    installer_of 1.1.0
    remember
    installer
    refused 'newer than 1.0.0'
    installer --downgrade
    succeeds
    [ "$(installed)" = 'tailnas 1.0.0' ]
}

@test "--upgrade where there is nothing" {
    installer --upgrade
    refused 'nothing to upgrade'
}

@test "answers go to setup by their file, and a failure of setup leaves it installed" {
    echo 'nas = wss://nas.example' >"$M/answers.txt"
    run on_machine sh "$M/release/install.sh" --from "$M/release" --answers "$M/answers.txt" </dev/null
    succeeds
    grep -qx "tailnas setup --answers $M/answers.txt" "$CALLS"
    touch "$ANSWERS/setup-fails"
    run on_machine sh "$M/release/install.sh" --from "$M/release" --answers "$M/answers.txt" </dev/null
    exits_with 1
    says 'Mend that and run: tailnas setup'
    # Setting up has changed this machine.
    never_says 'nothing was changed'
    [ "$(installed)" = 'tailnas 1.0.0' ]
}

@test "without a terminal it is not set up, and says so" {
    run on_machine setsid sh "$M/release/install.sh" --from "$M/release" </dev/null
    succeeds
    [[ $output == *'Set it up now: tailnas setup'* ]]
}

@test "--uninstall leaves the audit log and nothing else" {
    installer
    mkdir -p "$M/etc/tailnas" "$M/etc/credstore" "$M/log/tailnas" "$M/etc/systemd/system/tailnas.socket.d"
    echo secret >"$M/etc/credstore/tailnas.nas-reader-key"
    echo other >"$M/etc/credstore/other"
    echo record >"$M/log/tailnas/audit.jsonl"
    echo config >"$M/etc/tailnas/config.toml"
    installer --uninstall --yes
    succeeds
    [[ $output == *'audit log is still in /var/log/tailnas'* ]]
    [ "$(cd "$M" && find etc local log run -name '*tailnas*' -not -name '*.lock')" = log/tailnas ]
    [ "$(cat "$M/log/tailnas/audit.jsonl")" = record ]
    [ "$(cat "$M/etc/credstore/other")" = other ]
    [ -z "$(find "$M/local" -type f)" ]
    [ ! -e "$ANSWERS/user" ]
    grep -qx 'systemctl disable --now tailnas.socket tailnas.service' "$CALLS"
    grep -qx 'chown -R root:root /var/log/tailnas' "$CALLS"
}

@test "--uninstall takes the name off the tailnet, where it is ours" {
    installer
    answer tailscale <<'SH'
case $* in "serve status") echo "|-- proxy unix:/run/tailnas/tailnas.sock" ;; esac
SH
    installer --uninstall --yes
    succeeds
    grep -qx 'tailscale serve --https=443 off' "$CALLS"
}

@test "--uninstall asks, and without a terminal does nothing" {
    installer
    remember
    run on_machine setsid sh "$M/release/install.sh" --uninstall </dev/null
    refused 'there is no terminal to ask on'
}

@test "--uninstall --dry-run changes nothing" {
    installer
    remember
    installer --uninstall --dry-run
    succeeds
    [[ $output == *'would run: rm -f /usr/local/bin/tailnas'* ]]
    unchanged
}

@test "--uninstall that fails half way goes on from there" {
    installer
    answer userdel <<<'exit 8'
    # As it is said in docs/OPERATING.md: by the copy that is there, which has to be there for a second time.
    run on_machine sh /usr/local/share/tailnas/install.sh --uninstall --yes </dev/null
    fails 'not all gone yet'
    answer userdel <<'SH'
rm -f "$ANSWERS/user"
SH
    run on_machine sh /usr/local/share/tailnas/install.sh --uninstall --yes </dev/null
    succeeds
    [ -z "$(find "$M/local" -type f)" ]
}

@test "--uninstall where nothing is" {
    installer --uninstall --yes
    refused 'was not installed by this script'
}

@test "--uninstall deletes nothing that is not ours, whatever its list says" {
    installer
    echo precious >"$M/local/bin/precious"
    printf '%s\n' /usr/local/bin/precious /etc/passwd /usr/local/share/tailnas/../../bin/precious '/usr/local/*' \
        >>"$M/local/share/tailnas/files"
    installer --uninstall --yes
    succeeds
    [ "$(cat "$M/local/bin/precious")" = precious ]
    [ -s "$M/etc/passwd" ]
}

@test "shellcheck has nothing to say, with nothing disabled" {
    cd "$SOURCE"
    run shellcheck -x install.sh packaging/*.sh packaging/deb/p* deploy/*.sh tests/install/*.{sh,bash,bats} tests/install/fake \
        tests/lab/*.sh tests/lab/proxmox/* .ci/run
    succeeds
    # In two parts, or it would find itself.
    run ! grep -rn "shellcheck ""disable" install.sh ct packaging deploy tests/install tests/lab .ci
}
