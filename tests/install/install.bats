#!/usr/bin/env bats
# install.sh, on machines that are thrown away. Nothing outside of the test's folder is touched.

load machine.bash

setup_file() {
    make_releases
}

setup() {
    [ "$(id -u)" -eq 0 ] || export NOT_ROOT=yes
    new_machine
    before=$(everything)
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
    before=$(everything)
    installer
    succeeds
    [[ $output == *'installed already, to the letter'* ]]
    diff <(echo "$before") <(everything)
    ! grep -q restart "$CALLS"
}

@test "a file that somebody changed is put right" {
    installer
    echo changed >>"$M/local/lib/systemd/system/tailnas.service"
    installer
    succeeds
    ! grep -q changed "$M/local/lib/systemd/system/tailnas.service"
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
    answer id 'case $1 in -u) echo 1000 ;; *) false ;; esac'
    installer
    refused 'this takes root'
}

@test "a systemd that is too old" {
    answer systemctl 'echo "systemd 252 (252.38-1~deb12u1)"'
    installer
    refused 'tailnas needs systemd 254 or later'
}

@test "another processor" {
    answer uname 'echo aarch64'
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
    answer dpkg-query 'echo "install ok installed"'
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
    ! grep -q ^curl "$CALLS"
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
    answer curl 'exit 22'
    run on_machine sh "$M/release/install.sh" --no-setup </dev/null
    refused 'could not be fetched'
}

@test "the script itself, cut anywhere, does nothing" {
    size=$(stat -c %s "$M/release/install.sh")
    for ((at = 0; at < size - 2; at += 61)); do
        head -c "$at" "$M/release/install.sh" >"$M/cut.sh"
        run on_machine sh "$M/cut.sh" --from "$M/release" --no-setup </dev/null
        diff <(echo "$before") <(everything)
    done
    for ((at = size - 20; at < size - 2; at++)); do
        head -c "$at" "$M/release/install.sh" >"$M/cut.sh"
        run on_machine sh "$M/cut.sh" --from "$M/release" --no-setup </dev/null
        diff <(echo "$before") <(everything)
    done
    [ ! -s "$CALLS" ]
}

@test "--dry-run says what it would do and does nothing" {
    installer --dry-run
    succeeds
    [[ $output == *'would write: /usr/local/bin/tailnas'* ]]
    diff <(echo "$before") <(everything)
    ! grep -qE 'daemon-reload|restart|sysusers' "$CALLS"
}

@test "no folder is left behind in /tmp" {
    export TMPDIR=$M/tmp
    mkdir "$TMPDIR"
    installer
    [ -z "$(ls -A "$TMPDIR")" ]
    echo more >>"$M/release/tailnas-1.0.0-x86_64.tar.gz"
    installer
    [ -z "$(ls -A "$TMPDIR")" ]
}

@test "a failure at any file puts everything back" {
    count=$(tar -tzf "$M/release/tailnas-1.0.0-x86_64.tar.gz" | grep -cv '/$')
    ln -s "$BATS_TEST_DIRNAME/fake" "$M/fakes/install"
    for ((at = 1; at <= count + 1; at += 3)); do
        : >"$CALLS"
        answer install "[ \$(grep -c '^install ' \"\$CALLS\") -ne $at ] || exit 1; exec /usr/bin/install \"\$@\""
        installer
        refused 'everything is as it was'
    done
}

@test "a failure of systemd-sysusers puts everything back" {
    answer systemd-sysusers 'exit 1'
    installer
    refused 'everything is as it was'
}

@test "a failure of daemon-reload puts everything back, and the user is gone too" {
    answer systemctl 'case $1 in --version) echo "systemd 257" ;; daemon-reload) exit 1 ;; *) false ;; esac'
    installer
    refused 'everything is as it was'
    [ ! -e "$ANSWERS/user" ]
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
    ! grep -q restart "$CALLS"
}

@test "a version that does not start: the one before comes back and runs" {
    installer
    touch "$ANSWERS/active" "$ANSWERS/restart-fails"
    before=$(everything)
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
    before=$(everything)
    installer_of 1.1.0 --upgrade
    refused 'does not accept /etc/tailnas/config.toml'
    ! grep -q restart "$CALLS"
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
    before=$(everything)
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
    [ "$status" -eq 1 ]
    [[ $output == *'Mend that and run: tailnas setup'* ]]
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
    answer tailscale 'case $* in "serve status") echo "|-- proxy unix:/run/tailnas/tailnas.sock" ;; esac'
    installer --uninstall --yes
    succeeds
    grep -qx 'tailscale serve --https=443 off' "$CALLS"
}

@test "--uninstall asks, and without a terminal does nothing" {
    installer
    before=$(everything)
    run on_machine setsid sh "$M/release/install.sh" --uninstall </dev/null
    refused 'there is no terminal to ask on'
}

@test "--uninstall --dry-run changes nothing" {
    installer
    before=$(everything)
    installer --uninstall --dry-run
    succeeds
    [[ $output == *'would run: rm -f /usr/local/bin/tailnas'* ]]
    diff <(echo "$before") <(everything)
}

@test "--uninstall that fails half way goes on from there" {
    installer
    answer userdel 'exit 8'
    installer --uninstall --yes
    [ "$status" -ne 0 ]
    [[ $output == *'not all gone yet'* ]]
    answer userdel 'rm -f "$ANSWERS/user"'
    installer --uninstall --yes
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
    run shellcheck -x install.sh packaging/*.sh packaging/deb/p* deploy/*.sh tests/install/*.sh tests/install/fake tests/lab/*.sh \
        tests/lab/proxmox/*
    succeeds
    ! grep -rn 'shellcheck disable' install.sh ct packaging tests/install/*.sh tests/install/*.bash tests/lab
}
