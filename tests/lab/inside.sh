#!/bin/bash
# What is done in the booted Debian of run.sh.
set -Eeuo pipefail
# shellcheck source=tests/lab/functions.sh
. /lab/functions.sh
{ read -r VERSION; read -r NEXT; } </lab/versions
trap '[ "$BASH_SUBSHELL" -gt 0 ] || journalctl -u tailnas.service -n 20 --no-pager -o cat' ERR

inventory() {
    find / -xdev \( -path /proc -o -path /sys -o -path /run -o -path /tmp -o -path /var/tmp -o -path /lab \
        -o -path /var/log/journal -o -path /var/lib/systemd \) -prune -o -print | sort
}

neighbourhood
before=$(inventory)

step 'install.sh, from a folder, unattended'
answer_pin
check 'it comes to its end' sh /lab/release/install.sh --from /lab/release --answers "$NEAR/answers"
systemctl status tailnas.service --no-pager -n 0 | tee /lab/status || true
check 'the service is active' is_active
check 'and says how it is' grep -q 'Status: "NAS homenas' /lab/status
check 'a second time it changes nothing' bash -c \
    'sh /lab/release/install.sh --from /lab/release --no-setup | grep "installed already, to the letter"'
check 'a call is answered by the NAS' answered system_info
check 'a change is made' answered snapshot_create '{"dataset":"tank/photos","name":"lab"}'

step 'the tools, in the sandbox'
check 'each that needs no arguments answers' each_tool_answers

step 'journal'
check 'our fields are fields there' bash -c \
    "journalctl -u tailnas.service -o json --no-pager | grep -q '\"F_URL\":\"$URL\"'"
check 'no key is in it' bash -c \
    "! journalctl --no-pager -o json | grep -qFf <(cat $NEAR/reader.key $NEAR/writer.key $NEAR/token)"

step 'sandbox, as it was found at the start'
journalctl -u tailnas.service --no-pager -o cat -g 'enforced' | sort -u >/lab/sandbox
cat /lab/sandbox
check 'all of it but BPF is enforced' all_but_bpf_is_enforced /lab/sandbox
systemd-analyze security tailnas.service --no-pager | tail -n 1

step 'the sandbox, one setting after the other switched off'
mkdir -p /etc/systemd/system/tailnas.service.d
tried() { journalctl _SYSTEMD_INVOCATION_ID="$(property InvocationID)" --no-pager -o cat; }
# Wants the rows of setting $1 to say that it is off, once $2 is in force.
is_told_to_be_off() {
    local said=''
    printf '[Service]\n%b\n' "$2" >/etc/systemd/system/tailnas.service.d/zzzzz-off.conf
    systemctl daemon-reload
    restart
    for _ in $(seq 50); do
        said=$(tried)
        [[ $said != *' enforced, '*' unknown'* ]] || break
        sleep 0.2
    done
    if grep "^✗ NOT enforced .* $1 *\$" <<<"$said" && ! grep -E "^(✓|·).* $1 *\$" <<<"$said"; then return 0; fi
    printf '%s\n' "$said"
    return 1
}
while read -r setting off; do
    check "without $setting" is_told_to_be_off "$setting" "$off"
done <<'TEXT'
ProtectSystem ProtectSystem=no
ProtectHome ProtectHome=no
NoExecPaths NoExecPaths=\nExecPaths=
ProtectProc ProtectProc=default
PrivateDevices PrivateDevices=no
SystemCallFilter SystemCallFilter=
RestrictNamespaces RestrictNamespaces=no
RestrictSUIDSGID RestrictSUIDSGID=no
RestrictAddressFamilies RestrictAddressFamilies=AF_NETLINK
CapabilityBoundingSet CapabilityBoundingSet=~
LimitCORE LimitCORE=infinity
TEXT
rm -r /etc/systemd/system/tailnas.service.d
systemctl daemon-reload
restart
# And with nothing but the user: what its rights alone forbid is not taken for the sandbox.
systemd-run --quiet --pipe --wait --collect --uid=tailnas tailnas doctor --sandbox >/lab/no-sandbox </dev/null || true
check 'without any, nothing is said to be enforced' no_line_matches \
    '^✓ enforced .* (ProtectSystem|ProtectHome|NoExecPaths|ProtectProc|PrivateDevices|SystemCallFilter|NoNewPrivileges|Restrict[A-Za-z]*|CapabilityBoundingSet) *$' /lab/no-sandbox
check 'but that it is another user' [ "$(grep -c '^✓ enforced .* User *$' /lab/no-sandbox)" = 2 ]

step 'a generator that takes the sandbox away, as some container images have it'
mkdir -p /run/systemd/system/service.d
printf '[Service]\nProcSubset=all\nProtectProc=default\nProtectControlGroups=no\nProtectKernelTunables=no\nNoNewPrivileges=no\nLoadCredential=\n' \
    >/run/systemd/system/service.d/zzz-lxc-service.conf
systemctl daemon-reload
restart
check 'our drop-in wins' [ "$(property NoNewPrivileges) $(property ProtectProc) $(property ProtectKernelTunables)" = 'yes invisible yes' ]
check 'the keys still arrive' answered system_info
rm -r /run/systemd/system/service.d
systemctl daemon-reload
restart

step 'restarts under load'
# Four callers, within the budget of one person; two of them make changes.
load() {
    local number
    for number in $(seq 40); do
        case $1 in
            1 | 2) call whoami || true ;;
            *) call snapshot_create "{\"dataset\":\"tank/photos\",\"name\":\"load-$1-$number\"}" || true ;;
        esac
        sleep 0.2
    done >"/lab/load-$1" 2>&1
}
# Sequence number and hash of each record that an answer acknowledged.
acknowledged() { cat "$@" | grep '^{' | jq -r '.result._meta["tailnas.dev/audit"] | select(.seq) | "\(.seq) \(.hash)"' | sort; }
recorded() { tailnas audit export --json | jq -r '"\(.seq) \(.hash)"' | sort; }

for worker in 1 2 3 4; do load $worker & done
for _ in 1 2 3; do
    sleep 2
    restart
done
wait
grep -hx '[0-9][0-9][0-9]' /lab/load-? | sort | uniq -c
check 'every one of 160 requests was answered with 200' [ "$(cat /lab/load-? | grep -cx 200)" = 160 ]
acknowledged /lab/load-1 /lab/load-2 >/lab/reads
acknowledged /lab/load-3 /lab/load-4 >/lab/changes
recorded >/lab/records
echo "   acknowledged: $(wc -l </lab/reads) of 80 reads, $(wc -l </lab/changes) of 80 changes"
check 'every read' [ "$(wc -l </lab/reads)" = 80 ]
# A change that meets a NAS which is not connected again yet is refused, and says so.
check 'changes too' [ "$(wc -l </lab/changes)" -ge 40 ]
check 'what was acknowledged is in the log' [ -z "$(comm -23 <(sort /lab/reads /lab/changes) /lab/records)" ]
check 'whose chain holds' tailnas audit verify

step 'tailscaled is restarted, and its folder in /run is another one'
systemctl stop tailscaled.socket tailscaled.service
rm -r /run/tailscale
systemctl start tailscaled.socket
check 'it is found again' answered whoami

step 'clients that come straight to a tailnet address'
# This machine has both ends: the address it is reached at, and that of alice's phone.
ip address add 100.64.0.1/32 dev lo
ip address add 100.64.0.7/32 dev lo
mkdir -p /etc/systemd/system/tailnas.socket.d
# Two sockets, as setup writes them.
printf '[Socket]\nListenStream=\nListenStream=100.64.0.1:443\nListenStream=[fd7a:115c:a1e0::1]:443\nFreeBind=yes\n' \
    >/etc/systemd/system/tailnas.socket.d/listen.conf
ip address add fd7a:115c:a1e0::1/128 dev lo nodad
direct() {
    curl -sS --max-time 20 -k --interface 100.64.0.7 --connect-to ::100.64.0.1:443 -w '\n%{http_code}\n' "$URL" \
        -H "Authorization: Bearer $(cat $NEAR/token)" -H 'Content-Type: application/json' \
        -H 'Accept: application/json, text/event-stream' -d "$(request tools/call "$(tool whoami)")"
}
other_listener() {
    systemctl reset-failed tailnas.service tailnas.socket
    systemctl stop tailnas.service tailnas.socket
    systemctl daemon-reload
    systemctl start tailnas.socket tailnas.service
}
check 'the socket is another one' other_listener
# Whose resource this is, everybody may ask.
by_ipv6() {
    curl -sS --max-time 20 -k --connect-to '::[fd7a:115c:a1e0::1]:443' \
        "${URL%/mcp}/.well-known/oauth-protected-resource/mcp" | grep -F "\"$URL\""
}
check 'it is there under its second address too' by_ipv6
for _ in $(seq 40); do direct || true; done >/lab/direct 2>&1 &
for _ in 1 2 3; do
    sleep 0.5
    restart
done
wait
grep -E '^(curl|[0-9]{3}$)' /lab/direct | sort | uniq -c
check 'each of 40 calls was answered while it was restarted' [ "$(grep -c structuredContent /lab/direct) $(grep -cx 200 /lab/direct)" = '40 40' ]
rm -r /etc/systemd/system/tailnas.socket.d
check 'and the first again' other_listener
check 'where it serves' answered whoami

step 'start and memory'
# How many per cent of the next two seconds the processors of this machine have nothing to do.
idle() {
    { head -n 1 /proc/stat; sleep 2; head -n 1 /proc/stat; } | awk '{
        all = 0; for (i = 2; i <= NF; i++) all += $i
        of_all = all - all_before; of_idle = $5 + $6 - idle_before
        all_before = all; idle_before = $5 + $6
    } END { print int(100 * of_idle / of_all) }'
}
idle_before=$(idle)
for _ in 1 2 3 4 5; do
    restart
    # All of it: with what tries the sandbox before the daemon is run.
    echo $((($(property ActiveEnterTimestampMonotonic) - $(property InactiveExitTimestampMonotonic)) / 1000))
done >/lab/ready
idle_after=$(idle)
median=$(sort -n /lab/ready | sed -n 3p)
echo "   from the start of the unit to READY, by systemd: $(paste -sd ' ' /lab/ready) ms, median $median ms"
if [ "$idle_before" -ge 90 ] && [ "$idle_after" -ge 90 ]; then
    check 'READY within 150 ms, in the median' [ "$median" -lt 150 ]
else
    echo "   not judged: this machine has other work, it is idle for $idle_before % before and $idle_after % after"
fi
# People with a client each, who keep their connection and call once a second.
tools=(system_info pools_list datasets_list snapshots_list disks_list shares_list apps_list alerts_list)
client() {
    curl -sS --rate 60/m --max-time 60 --unix-socket "$SOCKET" -o /dev/null -w '%{http_code}\n' "http://localhost/mcp#[1-20]" \
        "${SERVED[@]}" -H "X-Forwarded-For: 100.64.1.$1" -H "Authorization: Bearer $(cat "$NEAR/token-$1")" \
        -d "$(request tools/call "$(tool "${tools[$1 % 8]}")")"
}
for number in $(seq 64); do client "$number" & done >/lab/crowd 2>&1
wait
resident() { awk -v field="$1:" '$1 == field { print $2 }' "/proc/$(property MainPID)/status"; }
echo "   64 clients, $(grep -cx 200 /lab/crowd) calls; resident: $(resident VmHWM) KiB at most, $(resident VmRSS) KiB now; MemoryPeak: $(property MemoryPeak)"
check 'all were answered' [ "$(grep -cx 200 /lab/crowd)" = $((64 * 20)) ]
check 'within 48 MB' [ "$(resident VmHWM)" -lt $((48 * 1000 * 1000 / 1024)) ]

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
restart
another_runs() {
    for _ in $(seq 120); do
        if [ "$(property MainPID)" != "$1" ] && is_active; then return 0; fi
        sleep 0.5
    done
    return 1
}
hung=$(property MainPID)
kill -STOP "$hung"
check 'it was ended, and another one runs' another_runs "$hung"
check 'and serves' answered whoami

step 'watchdog: it lives, and what reads from the NAS and answers is stuck'
hung=$(property MainPID)
# As a debugger holds them: every thread that runs tasks, and not the one that tells systemd that we live.
mapfile -t stuck < <(grep -l '^tokio' "/proc/$hung"/task/*/comm | cut -d / -f 5)
# ptrace(PTRACE_ATTACH, …) on x86_64, and __WALL: the end of each is to be seen too, or the process has none.
perl -e 'alarm 120; for (@ARGV) { syscall(101, 16, int $_, 0, 0) == 0 or die "$_: $!" } 1 while waitpid(-1, 0x40000000) > 0' \
    "${stuck[@]}" &
check 'it was ended, and another one runs' another_runs "$hung"
check 'for that reason' has_logged 'the watchdog is not told that we live'
wait
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
restart
check 'is handed over in clear' answered system_info
mv /lab/reader-key /etc/credstore/tailnas.nas-reader-key
rm -r /etc/systemd/system/tailnas.service.d /etc/credstore.encrypted/tailnas.nas-reader-key
systemctl daemon-reload
restart

step 'what root does to the log while the daemon is stopped'
# The socket too: with it, the next client would start the daemon in the middle of it.
stopped() { systemctl stop tailnas.socket tailnas.service; }
started() { systemctl reset-failed tailnas.service && systemctl start tailnas.socket tailnas.service; }
is_the_daemons() { [ -z "$(find /var/log/tailnas /var/lib/tailnas ! -user tailnas)" ] || { ls -lR /var/log/tailnas /var/lib/tailnas; return 1; }; }
# Into a second file, so that there is a first one that may go.
cp /etc/tailnas/config.toml /lab/config.toml
sed -i 's/^dir = .*/&\nrotate_at = "64 KiB"/' /etc/tailnas/config.toml
restart
check 'it serves, with short files' answered whoami
log_files() { find /var/log/tailnas -name '*.jsonl' | wc -l; }
for _ in $(seq 50); do
    [ "$(log_files)" -lt 2 ] || break
    sleep 0.2
done
echo "   $(log_files) files"
stopped
check 'no client starts it meanwhile' bash -c \
    "! curl -sS --max-time 5 --unix-socket $SOCKET http://localhost/mcp >/dev/null 2>&1 && [ \"\$(systemctl is-active tailnas.service)\" != active ]"
check 'the old files are pruned' bash -c 'tailnas audit prune --before 18446744073709551615 | grep -q "is deleted"'
check 'everything there is the daemons' is_the_daemons
check 'it starts again' started
check 'and serves' answered whoami
stopped
NEW_PUBLIC=$(tailnas audit keygen /lab/next.key)
check 'the key is changed' tailnas audit rotate-key /lab/next.key --key /etc/credstore/tailnas.audit-signing-key
install -m 0600 /lab/next.key /etc/credstore/tailnas.audit-signing-key
check 'everything there is the daemons' is_the_daemons
check 'it starts with the new key' started
check 'and serves' answered whoami
check 'the log agrees with the new key' tailnas audit verify --vkey "$NEW_PUBLIC"
cp /lab/config.toml /etc/tailnas/config.toml
restart

step 'a configuration that no start survives'
echo '[[[' >>/etc/tailnas/config.toml
check 'the restart fails' bash -c '! systemctl restart tailnas.service 2>/dev/null'
check 'with 78, which is not tried again' [ "$(property ExecMainStatus) $(property ActiveState)" = '78 failed' ]
cp /lab/config.toml /etc/tailnas/config.toml
systemctl reset-failed
check 'mended, it starts' restart

step 'upgrade and back'
check "to $NEXT" sh /lab/next/install.sh --from /lab/next --upgrade
check 'which runs' [ "$(tailnas version)" = "tailnas $NEXT" ]
check 'and serves' answered whoami
check "not back to $VERSION by mistake" bash -c '! sh /lab/release/install.sh --from /lab/release --no-setup 2>/dev/null'
check "back to $VERSION" sh /lab/release/install.sh --from /lab/release --downgrade
check 'which serves' answered whoami

step 'files that are not what they should be'
# Copies the next release, lets somebody do something to it, and expects the installer to say this.
not_installed() {
    local reason=$1 said
    shift
    rm -rf /lab/odd
    cp -r /lab/next /lab/odd
    (cd /lab/odd && "$@")
    if said=$(sh /lab/odd/install.sh --from /lab/odd --upgrade 2>&1); then return 1; fi
    [[ $said == *"$reason"*'nothing was changed on this machine'* ]] || { echo "$said"; return 1; }
    [ "$(tailnas version)" = "tailnas $VERSION" ] && is_active
}
tampered() { printf X | dd of="tailnas-$NEXT-x86_64.tar.gz" bs=1 seek=9999 conv=notrunc status=none; }
cut_off() { truncate -s 99999 "tailnas-$NEXT-x86_64.tar.gz"; }
signed_by_another() {
    ssh-keygen -q -t ed25519 -N '' -f another
    rm SHA256SUMS.sig
    ssh-keygen -q -Y sign -f another -n tailnas-release SHA256SUMS
}
another_version() {
    cp /lab/release/SHA256SUMS* .
    cp "/lab/release/tailnas-$VERSION-x86_64.tar.gz" "tailnas-$NEXT-x86_64.tar.gz"
}
check 'a tampered archive' not_installed 'is damaged or not ours' tampered
check 'half an archive' not_installed 'is damaged or not ours' cut_off
check 'one that nobody signed' not_installed 'there is no SHA256SUMS.sig' rm SHA256SUMS.sig
check 'one that another has signed' not_installed 'is not that of the release key' signed_by_another
check 'another version' not_installed 'and this script was made for' another_version

step 'a package beside it'
refused() { ! dpkg -i /lab/release/*.deb >/lab/dpkg 2>&1 && grep -q 'was installed by install.sh' /lab/dpkg; }
check 'is refused' refused
check 'and it still serves' answered whoami
dpkg --purge tailnas >/dev/null 2>&1 || true

# Besides what dpkg and apt remember of a package.
left() { comm -13 <(echo "$before") <(inventory) | grep -vE '^/var/(log/(tailnas|apt|dpkg\.log)|lib/(dpkg|apt)|cache)' || true; }
gone() {
    [ -z "$(left)" ] || { left; return 1; }
    ! id tailnas 2>/dev/null && [ ! -e /run/tailnas ] && [ "$(systemctl show -P LoadState tailnas.service)" = not-found ]
}

step 'uninstall'
check 'it comes to its end' sh /lab/release/install.sh --uninstall --yes
check 'the audit log is still there' [ -s "$(echo /var/log/tailnas/*.jsonl | cut -d ' ' -f 1)" ]
check 'and nothing else is' gone

step 'as a Debian package'
# It lies elsewhere now.
hash -r
mv /var/log/tailnas /lab/log-of-before
with_apt() { apt-get -qq -y --no-install-recommends "$@" </dev/null >>/lab/apt.log 2>&1 || { tail -n 20 /lab/apt.log; return 1; }; }
check 'apt installs it' with_apt install "/lab/release/tailnas_${VERSION}_amd64.deb"
set_up() { tailnas setup --answers "$NEAR/answers" >/lab/setup || { cat /lab/setup; return 1; }; }
check 'setup starts it' set_up
check 'a call is answered by the NAS' answered system_info
check 'install.sh leaves it alone' bash -c \
    'sh /lab/next/install.sh --from /lab/next --no-setup 2>&1 | grep -q "installed as a package"'
check "apt upgrades it to $NEXT" with_apt install "/lab/next/tailnas_${NEXT}_amd64.deb"
check 'which runs' [ "$(tailnas version) $(property ActiveState)" = "tailnas $NEXT active" ]
check 'and serves' answered system_info
check 'apt removes it' with_apt remove tailnas
check 'it has stopped, and the keys are still there' bash -c \
    '[ ! -e /run/tailnas ] && [ -e /etc/tailnas/config.toml ] && [ -s /etc/credstore/tailnas.audit-signing-key ]'
check 'apt installs it again' with_apt install "/lab/release/tailnas_${VERSION}_amd64.deb"
check 'setup goes on with what is there' set_up
check 'in the same log' bash -c 'tailnas audit verify | grep -q clean'
check 'which serves' answered system_info
check 'apt purges it' with_apt purge tailnas
check 'the audit log is still there' [ -s "$(echo /var/log/tailnas/*.jsonl | cut -d ' ' -f 1)" ]
check 'and nothing else is' gone

verdict
