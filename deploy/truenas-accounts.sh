#!/bin/sh
# Makes the accounts of tailnas on a TrueNAS, 25.04 or later: for its own shell, as root. `tailnas setup` does the
# same when it is told an administrator. It may be run again: what is there as it would be made stays.
# Written by: tailnas setup --by-hand
set -eu

# The $1 whose $2 is $3, or nothing.
there() {
    answer=$(midclt call "$1.query" '[["'"$2"'","=","'"$3"'"]]') || exit
    printf '%s\n' "$answer" | jq -c '.[0] // empty'
}

# The account $1 with the roles $2 and no others: a group, its privilege, a user of that group alone who has no password,
# and an API key, which is printed.
account() {
    group=$(there group group "$1")
    privilege=$(there privilege name "$1")
    user=$(there user username "$1")
    odd=$(jq -nr --argjson group "${group:-null}" --argjson privilege "${privilege:-null}" \
        --argjson user "${user:-null}" --argjson roles "$2" '
        if $group and ($group.builtin or $group.users - [$user.id] != []
            or ($privilege == null and ($group.roles // []) != [])) then "group"
        elif $privilege and ([$privilege.local_groups[].gid] != [$group.gid] or $privilege.ds_groups != []
            or ($privilege.roles | sort) != ($roles | sort) or $privilege.web_shell) then "privilege"
        elif $user and ($user.group.id != $group.id or $user.groups != [] or $user.builtin
            or ($user.password_disabled | not) or $user.sudo_commands + $user.sudo_commands_nopasswd != []) then "user"
        else empty end')
    if [ -n "$odd" ]; then
        echo "There is a $odd $1 that is not what this would make, so nothing was made for $1: it may be somebody" >&2
        echo "else's. Look at it under Credentials, delete or rename it if it may go, and run this again." >&2
        exit 1
    fi
    if [ -z "$group" ]; then
        midclt call group.create '{"name":"'"$1"'","smb":false}' >/dev/null
        group=$(there group group "$1")
    fi
    if [ -z "$privilege" ]; then
        gid=$(printf '%s\n' "$group" | jq .gid)
        midclt call privilege.create '{"local_groups":['"$gid"'],"name":"'"$1"'","roles":'"$2"',"web_shell":false}' >/dev/null
    fi
    if [ -z "$user" ]; then
        id=$(printf '%s\n' "$group" | jq .id)
        midclt call user.create '{"full_name":"tailnas","group":'"$id"',"password_disabled":true,"shell":"/usr/sbin/nologin","smb":false,"username":"'"$1"'"}' >/dev/null
    fi
    if [ -n "$(there api_key name "$1")" ]; then
        echo "$1 is there, with an API key $1, which the NAS does not show again. For a new one, delete that under" >&2
        echo "Credentials > Users > API Keys, and run this again." >&2
    else
        echo "The API key of $1, shown this once:" >&2
        midclt call api_key.create '{"name":"'"$1"'","username":"'"$1"'"}' | jq -r .key
    fi
}

# The account that looks.
account tailnas-reader '["READONLY_ADMIN"]'

# The account that changes things, with the roles that the tools of this version need for it. Leave it out, and
# nothing can be changed; leave roles out, and the tools that need them say so.
case $(midclt call system.version) in
*-25.*) roles='["ALERT_LIST_WRITE","APPS_WRITE","BOOT_ENV_WRITE","CLOUD_SYNC_WRITE","DATASET_DELETE","DATASET_WRITE","DIRECTORY_SERVICE_WRITE","POOL_SCRUB_WRITE","POOL_WRITE","REPLICATION_TASK_WRITE","SERVICE_WRITE","SHARING_NFS_WRITE","SHARING_SMB_WRITE","SNAPSHOT_DELETE","SNAPSHOT_TASK_WRITE","SNAPSHOT_WRITE","SYSTEM_UPDATE_WRITE","VIRT_INSTANCE_WRITE","VM_WRITE"]' ;;
*) roles='["ALERT_LIST_WRITE","APPS_WRITE","BOOT_ENV_WRITE","CLOUD_SYNC_WRITE","CONTAINER_WRITE","DATASET_DELETE","DATASET_WRITE","DIRECTORY_SERVICE_WRITE","POOL_SCRUB_WRITE","POOL_WRITE","REPLICATION_TASK_WRITE","SERVICE_WRITE","SHARING_NFS_WRITE","SHARING_SMB_WRITE","SNAPSHOT_DELETE","SNAPSHOT_TASK_WRITE","SNAPSHOT_WRITE","SYSTEM_UPDATE_WRITE","VM_WRITE"]' ;;
esac
account tailnas-writer "$roles"

# Only when it is asked for: the account that restarts the NAS, a full administrator, for TrueNAS lets nobody less
# do that. sh truenas-accounts.sh maintenance
[ "${1:-}" = maintenance ] || exit 0
account tailnas-maintenance '["FULL_ADMIN"]'
