#!/bin/bash
# What is done in the container that ct/tailnas.sh has made.
set -euo pipefail
# shellcheck source=tests/lab/functions.sh
. /lab/functions.sh

step 'in the container'
check 'the service is active' is_active
check 'a call is answered by the NAS' answered system_info
check 'a change is made' answered snapshot_create '{"dataset":"tank/photos","name":"lab"}'
check 'a key that was pushed is gone again' [ ! -e /root/tailnas-release ]

step 'sandbox, as it was found at the start'
journalctl -u tailnas.service --no-pager -o cat -g 'enforced' | sort -u >/lab/sandbox
cat /lab/sandbox
check 'all of it but BPF is enforced' all_but_bpf_is_enforced /lab/sandbox
check 'and that BPF is not, is told' grep -q 'NOT enforced.*SocketBindDeny' /lab/sandbox

step 'a restart'
check 'it comes back' systemctl restart tailnas.service
check 'and serves' answered whoami

[ "$failed" -eq 0 ]
