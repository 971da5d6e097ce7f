# shellcheck shell=bash
# Shared by what is done inside the containers of the lab. Nothing is simulated but the neighbourhood in /lab/demo.

readonly URL=https://nas-mcp.tail1234.ts.net/mcp
readonly SOCKET=/run/tailnas/tailnas.sock
readonly NEAR=/srv/neighbourhood
# What every request has, behind `tailscale serve`.
readonly SERVED=(
    -H 'X-Forwarded-Host: nas-mcp.tail1234.ts.net' -H 'X-Forwarded-Proto: https'
    -H 'Content-Type: application/json' -H 'Accept: application/json, text/event-stream'
)
failed=0

step() { printf '\n== %s\n' "$*"; }

check() {
    local claim=$1
    shift
    if "$@"; then
        printf '   ok    %s\n' "$claim"
    else
        printf '   FAIL  %s\n' "$claim"
        failed=$((failed + 1))
    fi
}

# One request, as `tailscale serve` passes it on from alice's phone. Prints the answer, and the HTTP status in a line of its own.
rpc() {
    curl -sS --max-time 20 --unix-socket "$SOCKET" -w '\n%{http_code}\n' "http://localhost/mcp" "${SERVED[@]}" \
        -H 'X-Forwarded-For: 100.64.0.7' -H "Authorization: Bearer $(cat $NEAR/token)" -d "$(request "$@")"
}

request() { printf '{"jsonrpc":"2.0","id":1,"method":"%s","params":%s}' "$1" "$2"; }

tool() { printf '{"name":"%s","arguments":%s}' "$1" "${2:-{\}}"; }

call() { rpc tools/call "$(tool "$@")"; }

answered() {
    local answer
    for _ in $(seq 50); do
        answer=$(call "$@" 2>&1) || true
        if [[ $answer == *structuredContent* && $answer != *'"isError":true'* && $answer == *$'\n200' ]]; then return 0; fi
        sleep 0.2
    done
    printf '%s\n' "$answer"
    return 1
}

# Every tool that this person has and that needs no arguments.
each_tool_answers() {
    local name names
    names=$(rpc tools/list '{}' | head -n 1 | jq -r '.result.tools[] | select((.inputSchema.required // []) == []).name')
    echo "   $(wc -w <<<"$names") tools"
    [ "$(wc -w <<<"$names")" -ge 30 ] || return 1
    for name in $names; do answered "$name" || return 1; done
}

# systemd starts nothing six times in ten seconds, whoever asks for it; so it forgets the times before.
restart() {
    systemctl reset-failed tailnas.service
    systemctl restart tailnas.service
}

property() { systemctl show -p "$1" --value tailnas.service; }

has_logged() { journalctl -u tailnas.service --no-pager -o cat | grep -F -- "$1" >/dev/null; }

neighbourhood() {
    mkdir -p $NEAR
    cat >/etc/systemd/system/neighbourhood.service <<TEXT
[Service]
Type=notify
ExecStart=/lab/demo neighbourhood $NEAR $URL
TEXT
    # tailscaled, as far as its unit goes: its folder in /run comes and goes with it.
    cat >/etc/systemd/system/tailscaled.socket <<TEXT
[Socket]
ListenStream=/run/tailscale/tailscaled.sock
TEXT
    cat >/etc/systemd/system/tailscaled.service <<TEXT
[Service]
ExecStart=/usr/lib/systemd/systemd-socket-proxyd $NEAR/tailscaled.sock
TEXT
    printf '#!/bin/sh\necho "$*" >>/lab/tailscale-calls\n' >/usr/bin/tailscale
    chmod +x /usr/bin/tailscale
    systemctl daemon-reload
    systemctl start neighbourhood.service tailscaled.socket
}

is_active() { [ "$(property ActiveState)" = active ]; }
no_line_matches() { ! grep -E "$1" "$2"; }

# What the service found at its start. Address filters are BPF, which a container without a control group of its own cannot
# have.
all_but_bpf_is_enforced() {
    [ "$(grep -c '^✓ enforced' "$1")" -ge 17 ] &&
        ! grep -E '^(✗|·) ' "$1" | grep -vE '(SocketBindDeny|IPAddressDeny)$'
}

# What setup is to answer, besides what the neighbourhood has written.
answer_pin() {
    echo "nas-pin = $(/lab/tailnas doctor --pin --config $NEAR/config.toml)" >>$NEAR/answers
}

verdict() {
    printf '\n'
    if [ "$failed" -eq 0 ]; then
        echo 'All of it was so.'
    else
        echo "$failed claims did not hold."
        return 1
    fi
}
