#!/bin/bash
# What is done in the booted Debian of run.sh.
set -euo pipefail
# shellcheck source=tests/lab/functions.sh
. /lab/functions.sh
{ read -r VERSION; read -r NEXT; } </lab/versions

inventory() {
    find / -xdev \( -path /proc -o -path /sys -o -path /run -o -path /tmp -o -path /var/tmp -o -path /lab \
        -o -path /var/log/journal -o -path /var/lib/systemd \) -prune -o -print | sort
}

neighbourhood
before=$(inventory)

step 'install.sh, from a folder, unattended'
answer_pin
check 'it comes to its end' sh /lab/release/install.sh --from /lab/release --answers "$NEAR/answers"
systemctl status tailnas.service --no-pager -n 3 || true
check 'the service is active' is_active
check 'a second time it changes nothing' bash -c \
    'sh /lab/release/install.sh --from /lab/release --no-setup | grep "installed already, to the letter"'
check 'a call is answered by the NAS' answered system_info
check 'a change is made' answered snapshot_create '{"dataset":"tank/photos","name":"lab"}'

step 'journal'
check 'our fields are fields there' bash -c \
    "journalctl -u tailnas.service -o json --no-pager | grep -q '\"F_URL\":\"$URL\"'"
check 'no key is in it' bash -c \
    "! journalctl --no-pager -o json | grep -qFf <(cat $NEAR/reader.key $NEAR/writer.key $NEAR/token)"

step 'sandbox, as it was found at the start'
journalctl -u tailnas.service --no-pager -o cat -g 'enforced' | sort -u >/lab/sandbox
cat /lab/sandbox
# Address filters are BPF, which a container without a control group of its own cannot have.
check 'all of it but BPF is enforced' no_line_matches 'NOT enforced .*(Protect|Private|NoExec|User|SystemCall|RestrictA|RestrictS|Capability|NoNew|LimitCORE)' /lab/sandbox
systemd-analyze security tailnas.service --no-pager | tail -n 1

step 'a generator that takes the sandbox away, as some container images have it'
mkdir -p /run/systemd/system/service.d
printf '[Service]\nProcSubset=all\nProtectProc=default\nProtectControlGroups=no\nProtectKernelTunables=no\nNoNewPrivileges=no\nLoadCredential=\n' \
    >/run/systemd/system/service.d/zzz-lxc-service.conf
systemctl daemon-reload
systemctl restart tailnas.service
check 'our drop-in wins' [ "$(property NoNewPrivileges) $(property ProtectProc) $(property ProtectKernelTunables)" = 'yes invisible yes' ]
check 'the keys still arrive' answered system_info
rm -r /run/systemd/system/service.d
systemctl daemon-reload
systemctl restart tailnas.service

step 'restarts under load'
# Four callers, within the budget of one person.
for worker in 1 2 3 4; do
    for _ in $(seq 40); do
        call whoami 2>&1 | tail -n 1
        sleep 0.2
    done >"/lab/load-$worker" &
done
for _ in 1 2 3; do
    sleep 2
    systemctl restart tailnas.service
done
wait %1 %2 %3 %4 2>/dev/null || wait
sort /lab/load-? | uniq -c
check 'every one of 160 calls was answered with 200' [ "$(cat /lab/load-? | grep -cx 200)" = 160 ]
check 'and no one is missing from the log' [ "$(tailnas audit export --json | grep -c '"tool":"whoami"')" -ge 160 ]
check 'whose chain holds' tailnas audit verify
ready=$((($(property ActiveEnterTimestampMonotonic) - $(property ExecMainStartTimestampMonotonic)) / 1000))
echo "   from start to READY: $ready ms; resident: $(awk '/VmRSS/ { print $2 }' "/proc/$(property MainPID)/status") KiB"

step 'tailscaled is restarted, and its folder in /run is another one'
systemctl stop tailscaled.socket tailscaled.service
rm -r /run/tailscale
systemctl start tailscaled.socket
check 'it is found again' answered whoami

step 'reload'
cp /etc/tailnas/config.toml /lab/config.toml
echo '[[[' >>/etc/tailnas/config.toml
systemctl reload tailnas.service || true
check 'a broken configuration is told' has_logged 'the old one goes on'
check 'and changes nothing' answered whoami
cp /lab/config.toml /etc/tailnas/config.toml
check 'a good one is taken' systemctl reload tailnas.service
check 'and it serves' answered whoami

step 'watchdog: the daemon hangs'
mkdir -p /etc/systemd/system/tailnas.service.d
printf '[Service]\nWatchdogSec=4s\nTimeoutAbortSec=1s\n' >/etc/systemd/system/tailnas.service.d/10-lab.conf
systemctl daemon-reload
systemctl restart tailnas.service
hung=$(property MainPID)
kill -STOP "$hung"
for _ in $(seq 60); do
    if [ "$(property MainPID)" != "$hung" ] && is_active; then break; fi
    sleep 0.5
done
check 'it was ended, and another one runs' [ "$(property MainPID)" != "$hung" ]
check 'and serves' answered whoami
rm -r /etc/systemd/system/tailnas.service.d
systemctl daemon-reload

step 'a key that lies encrypted'
systemd-creds encrypt --with-key=host --name=nas-reader-key /etc/credstore/tailnas.nas-reader-key \
    /etc/credstore.encrypted/tailnas.nas-reader-key
mv /etc/credstore/tailnas.nas-reader-key /lab/reader-key
mkdir -p /etc/systemd/system/tailnas.service.d
printf '[Service]\nLoadCredentialEncrypted=nas-reader-key:tailnas.nas-reader-key\n' \
    >/etc/systemd/system/tailnas.service.d/zzzzz-encrypted.conf
systemctl daemon-reload
systemctl restart tailnas.service
check 'is handed over in clear' answered system_info
mv /lab/reader-key /etc/credstore/tailnas.nas-reader-key
rm -r /etc/systemd/system/tailnas.service.d /etc/credstore.encrypted/tailnas.nas-reader-key
systemctl daemon-reload
systemctl restart tailnas.service

step 'a configuration that no start survives'
echo '[[[' >>/etc/tailnas/config.toml
check 'the restart fails' bash -c '! systemctl restart tailnas.service 2>/dev/null'
check 'with 78, which is not tried again' [ "$(property ExecMainStatus) $(property ActiveState)" = '78 failed' ]
cp /lab/config.toml /etc/tailnas/config.toml
systemctl reset-failed
check 'mended, it starts' systemctl restart tailnas.service

step 'upgrade and back'
check "to $NEXT" sh /lab/next/install.sh --from /lab/next --upgrade
check 'which runs' [ "$(tailnas version)" = "tailnas $NEXT" ]
check 'and serves' answered whoami
check "not back to $VERSION by mistake" bash -c '! sh /lab/release/install.sh --from /lab/release --no-setup 2>/dev/null'
check "back to $VERSION" sh /lab/release/install.sh --from /lab/release --downgrade
check 'which serves' answered whoami

step 'files that are not what they should be'
cp -r /lab/next /lab/tampered
printf X | dd of="$(echo /lab/tampered/*.tar.gz)" bs=1 seek=9999 conv=notrunc status=none
check 'are not installed' bash -c '! sh /lab/tampered/install.sh --from /lab/tampered --upgrade'
check 'and nothing has changed' [ "$(tailnas version)" = "tailnas $VERSION" ]

step 'uninstall'
check 'it comes to its end' sh /lab/release/install.sh --uninstall --yes
check 'the audit log is still there' [ -s "$(echo /var/log/tailnas/*.jsonl | cut -d ' ' -f 1)" ]
left=$(comm -13 <(echo "$before") <(inventory) | grep -v '^/var/log/tailnas' || true)
check 'and nothing else is' [ -z "$left" ]
[ -z "$left" ] || printf '%s\n' "$left"

verdict
