#!/usr/bin/env bats
# What a release is made of, how it is published, and what dpkg runs of it.

load machine.bash

setup_file() {
    make_releases
    mkdir "$BATS_FILE_TMPDIR"/{tar,deb}
    tar -xzf "$BATS_FILE_TMPDIR/1.0.0/tailnas-1.0.0-x86_64.tar.gz" -C "$BATS_FILE_TMPDIR/tar" --strip-components 2
    dpkg-deb -x "$BATS_FILE_TMPDIR/1.0.0/tailnas_1.0.0_amd64.deb" "$BATS_FILE_TMPDIR/deb"
}

setup() {
    [ "$(id -u)" -eq 0 ] || export NOT_ROOT=yes
    new_machine
    remember
}

# What it is made of

# The relative links of all Markdown files below the folder $1, as FILE: TARGET.
links() {
    (cd "$1" && find . -name '*.md' -print0 | xargs -0 grep -oHE '\]\([^)]+\)' | sed -E 's/^([^:]*):\]\(([^)#]*).*/\1: \2/' \
        | grep -vE ': (https?:.*|mailto:.*)?$')
}

@test "whatever the documents of a release point to is in the release" {
    local root documents count=0 file target
    for root in tar/usr/local deb/usr; do
        documents=$BATS_FILE_TMPDIR/$root/share/doc/tailnas
        while IFS=' ' read -r file target; do
            count=$((count + 1))
            [ -e "$documents/$(dirname "${file%:}")/$target" ] || { echo "$file $target"; return 1; }
        done < <(links "$documents")
    done
    # It did look.
    [ "$count" -ge 100 ]
}

@test "what the units point to is in the release" {
    local kind page
    for kind in tar deb; do
        page=$(grep -rhoE 'file://[^ ]+' "$BATS_FILE_TMPDIR/$kind" --include=tailnas.service | sort -u)
        [ -f "$BATS_FILE_TMPDIR/$kind${page#file://}" ]
    done
}

@test "a version that is not three numbers makes no release" {
    run "$SOURCE/packaging/release.sh" --key "$BATS_FILE_TMPDIR/key" --binary "$BATS_FILE_TMPDIR/tailnas-1.0.0" \
        --version 1.0.0-rc1 "$M/odd"
    fails 'no version of a release'
    [ ! -e "$M/odd" ]
}

@test "what docs/RELEASING.md says that anybody can check" {
    cd "$M/release"
    sed -n '/^What anybody can check/,/^```$/p' "$SOURCE/docs/RELEASING.md" | sed "1,/^\`\`\`sh/d; /^\`\`\`/d" >"$M/check"
    [ "$(wc -l <"$M/check")" -ge 3 ]
    run sh -e "$M/check"
    succeeds
    says 'install.sh: OK'
    echo more >>install.sh
    run sh -e "$M/check"
    fails 'install.sh: FAILED'
    cp "$BATS_FILE_TMPDIR/1.1.0/SHA256SUMS" .
    run sh -e "$M/check"
    fails 'incorrect signature'
}

# How it is published

publish() {
    run on_machine "$SOURCE/packaging/publish.sh" --key "${KEY:-$BATS_FILE_TMPDIR/key.pub}" "$M/release" "${1:-$M/site}"
}

# It was not published, for this reason.
not_published() {
    fails "$1"
    says 'nothing was published'
    [ -z "$(ls -A "$M/site")" ]
}

@test "published into a folder, it is installed from there" {
    mkdir "$M/site"
    publish "file://$M/site"
    succeeds
    [ "$(ls -A "$M/site")" = v1.0.0 ]
    diff -r "$M/release" "$M/site/v1.0.0"
    says 'curl -fsS https://releases.example/v1.0.0/SHA256SUMS'
    # From where install.sh looks by itself, which is this folder.
    answer curl <<'SH'
for last; do :; done
while [ "$1" != -o ]; do shift; done
cp "${last#https://releases.example/}" "$2"
SH
    cd "$M/site"
    run on_machine sh "$M/site/v1.0.0/install.sh" --no-setup </dev/null
    succeeds
    [ "$(installed)" = 'tailnas 1.0.0' ]
}

@test "published once, it is not published again" {
    mkdir "$M/site"
    publish
    succeeds
    echo '# later' >>"$M/site/v1.0.0/install.sh"
    cp "$M/site/v1.0.0/install.sh" "$M/published"
    publish
    fails 'is there already'
    cmp "$M/published" "$M/site/v1.0.0/install.sh"
    [ "$(ls -A "$M/site")" = v1.0.0 ]
}

@test "published over ssh" {
    mkdir "$M/site"
    fake ssh <<'SH'
[ "$1" = releases@host.example ] && exec sh -c "$2"
exit 255
SH
    publish "releases@host.example:$M/site"
    succeeds
    diff -r "$M/release" "$M/site/v1.0.0"
}

@test "a copy that breaks off, or somebody who was faster: nothing is left" {
    mkdir "$M/site"
    fake ssh <<'SH'
case $2 in mkdir*) sh -c "$2"; exit 1 ;; *) exec sh -c "$2" ;; esac
SH
    publish "host:$M/site"
    not_published 'could not be copied'
    answer ssh <<'SH'
case $2 in *'mv -T'*) eval "mkdir -p ${2##* }/theirs" ;; esac
exec sh -c "$2"
SH
    publish "host:$M/site"
    fails 'could not be put in its place'
    [ "$(cd "$M/site" && find . -mindepth 1 | sort | paste -sd ' ')" = './v1.0.0 ./v1.0.0/theirs' ]
}

@test "what is not as it was signed is not published" {
    mkdir "$M/site"
    echo more >>"$M/release/tailnas_1.0.0_amd64.deb"
    publish
    not_published 'is not what was signed'
    cp "$BATS_FILE_TMPDIR/1.0.0/"*.deb "$M/release/"
    echo more >"$M/release/more"
    publish
    not_published '> more'
    rm "$M/release/more" "$M/release/tailnas.sh"
    publish
    not_published '< tailnas.sh'
    cp "$BATS_FILE_TMPDIR/1.0.0/tailnas.sh" "$M/release/"
    KEY=$BATS_FILE_TMPDIR/other-key.pub publish
    not_published 'not signed by this key'
    rm "$M/release/SHA256SUMS.sig"
    publish
    not_published 'not signed by this key'
    cp "$BATS_FILE_TMPDIR/1.0.0/SHA256SUMS.sig" "$M/release/"
    publish "$M/nowhere"
    fails 'there is no folder'
    publish "$M/site;reboot"
    fails 'is neither a folder'
    publish
    succeeds
}

# Writes the list of the release anew, and signs it.
list_again() {
    (cd "$M/release" && rm SHA256SUMS* && sha256sum -- * >"$M/sums" && mv "$M/sums" SHA256SUMS)
    sign_again "$BATS_FILE_TMPDIR/key"
}

@test "installers that are pinned to something else are not published" {
    local line script name
    mkdir "$M/site"
    for line in 'install.sh BASE_URL' 'install.sh VERSION' 'install.sh SHA256' 'install.sh RELEASE_KEY' 'tailnas.sh VERSION' \
        'tailnas.sh INSTALLER_SHA256' 'tailnas.sh BASE_URL'; do
        read -r script name <<<"$line"
        cp "$BATS_FILE_TMPDIR/1.0.0/"{install,tailnas}.sh "$M/release/"
        sed -i "s|^$name='.*'|$name='https://elsewhere.example'|" "$M/release/$script"
        # The hash of the installer is another one then; that is not what is asked here.
        [ "$script" = tailnas.sh ] || sed -i "s|^INSTALLER_SHA256=.*|INSTALLER_SHA256='$(sha256sum "$M/release/install.sh" \
            | cut -d ' ' -f 1)'|" "$M/release/tailnas.sh"
        list_again
        publish
        not_published "$script "
        says elsewhere.example
    done
}

# What dpkg runs

# The script $1 of the package, as dpkg calls it.
dpkg_runs() {
    local script=$1
    shift
    run on_machine "$SOURCE/packaging/deb/$script" "$@" </dev/null
}

# With systemd, and a tailnas of the package in state $1.
booted() {
    mkdir -p "$M/run/systemd/system" "$M/etc/tailnas"
    : >"$M/etc/tailnas/config.toml"
    echo "$1" >"$ANSWERS/state"
    answer systemctl <<'SH'
case $1 in
    show) cat "$ANSWERS/state" ;;
    is-enabled) [ ! -e "$ANSWERS/disabled" ] ;;
    restart) [ ! -e "$ANSWERS/restart-fails" ] ;;
esac
SH
    fake tailnas <<'SH'
[ ! -e "$ANSWERS/check-fails" ] || { echo 'config.toml:1: nas is missing'; exit 78; }
SH
}

owned() {
    mkdir -p "$M/etc/"{tailnas,credstore} "$M/lib/tailnas" "$M/log/tailnas"
    echo config >"$M/etc/tailnas/config.toml"
    echo key >"$M/etc/credstore/tailnas.audit-signing-key"
    echo passkey >"$M/lib/tailnas/passkeys.json"
    echo record >"$M/log/tailnas/audit.jsonl"
    : >"$ANSWERS/user"
}

@test "purge takes everything away but the audit log" {
    owned
    dpkg_runs postrm purge
    succeeds
    [ "$(cd "$M" && find etc lib log -name '*tailnas*')" = log/tailnas ]
    [ -s "$M/log/tailnas/audit.jsonl" ]
    [ ! -e "$ANSWERS/user" ]
}

@test "purge of a package that was removed before install.sh installed takes nothing away" {
    installer
    succeeds
    owned
    mkdir -p "$M/run/tailnas"
    : >"$M/run/tailnas/tailnas.sock"
    : >"$CALLS"
    remember
    dpkg_runs postrm purge
    succeeds
    says 'left as they are'
    unchanged
    [ -e "$ANSWERS/user" ]
    [ ! -s "$CALLS" ]
}

@test "an upgrade of the package asks the new version about the configuration, and restarts it" {
    booted active
    dpkg_runs postinst configure 0.9.0
    succeeds
    grep -A 9 '^tailnas check --config /etc/tailnas/config.toml' "$CALLS" | grep -qx 'systemctl restart tailnas.service'
}

@test "a configuration that the new version does not take: what runs goes on, and both ways are told" {
    booted active
    : >"$ANSWERS/check-fails"
    dpkg_runs postinst configure 0.9.0
    fails 'nas is missing'
    says 'goes on until it is stopped'
    says 'dpkg --configure tailnas'
    says 'apt install --allow-downgrades ./tailnas_0.9.0_amd64.deb'
    never_called '^systemctl (re)?(start|stop)'
}

@test "a new version that does not start: the way back is told, and starts the one before" {
    booted active
    : >"$ANSWERS/restart-fails"
    dpkg_runs postinst configure 0.9.0
    fails 'clients are not served'
    says './tailnas_0.9.0_amd64.deb'
    # And then that one is installed.
    rm "$ANSWERS/restart-fails"
    echo failed >"$ANSWERS/state"
    : >"$CALLS"
    dpkg_runs postinst configure 1.0.0
    succeeds
    grep -qx 'systemctl restart tailnas.service' "$CALLS"
}

@test "a package beside nothing that runs starts nothing" {
    booted inactive
    : >"$ANSWERS/check-fails"
    dpkg_runs postinst configure ''
    succeeds
    says 'tailnas setup'
    # Nor does one that failed once and was disabled since, such as by a removal.
    echo failed >"$ANSWERS/state"
    : >"$ANSWERS/disabled"
    dpkg_runs postinst configure 0.9.0
    succeeds
    never_called '^systemctl (re)?start'
}

@test "a removal stops it, also where systemd will not have it disabled or cannot be told" {
    booted active
    answer systemctl <<'SH'
case $1 in disable | daemon-reload) exit 1 ;; esac
SH
    dpkg_runs prerm remove
    succeeds
    grep -qx 'systemctl stop tailnas.socket tailnas.service' "$CALLS"
    dpkg_runs postrm remove
    succeeds
}

@test "a removal that cannot stop it is none" {
    booted active
    answer systemctl <<'SH'
case $1 in stop) exit 1 ;; esac
SH
    dpkg_runs prerm remove
    exits_with 1
}
