#!/bin/sh
# Makes the accounts of tailnas on a TrueNAS, 25.04 or later: for its own shell, as root. `tailnas setup` does the
# same when it is told an administrator. Written by: tailnas setup --by-hand
set -eu

# The account that looks. The last line prints its API key, once.
group=$(midclt call group.create '{"name":"tailnas-reader","smb":false}')
gid=$(midclt call group.get_instance "$group" | jq .gid)
midclt call privilege.create '{"local_groups":['"$gid"'],"name":"tailnas-reader","roles":["READONLY_ADMIN"],"web_shell":false}' >/dev/null
midclt call user.create '{"full_name":"tailnas","group":'"$group"',"password_disabled":true,"shell":"/usr/sbin/nologin","smb":false,"username":"tailnas-reader"}' >/dev/null
midclt call api_key.create '{"name":"tailnas-reader","username":"tailnas-reader"}' | jq -r .key

# The account that changes things, with the roles that the tools of this version need for it. Leave it out, and
# nothing can be changed; leave roles out, and the tools that need them say so.
case $(midclt call system.version) in
*-25.*) roles='["ALERT_LIST_WRITE","APPS_WRITE","BOOT_ENV_WRITE","CLOUD_SYNC_WRITE","DATASET_DELETE","DATASET_WRITE","DIRECTORY_SERVICE_WRITE","POOL_SCRUB_WRITE","POOL_WRITE","REPLICATION_TASK_WRITE","SERVICE_WRITE","SHARING_NFS_WRITE","SHARING_SMB_WRITE","SNAPSHOT_DELETE","SNAPSHOT_TASK_WRITE","SNAPSHOT_WRITE","SYSTEM_UPDATE_WRITE","VIRT_INSTANCE_WRITE","VM_WRITE"]' ;;
*) roles='["ALERT_LIST_WRITE","APPS_WRITE","BOOT_ENV_WRITE","CLOUD_SYNC_WRITE","CONTAINER_WRITE","DATASET_DELETE","DATASET_WRITE","DIRECTORY_SERVICE_WRITE","POOL_SCRUB_WRITE","POOL_WRITE","REPLICATION_TASK_WRITE","SERVICE_WRITE","SHARING_NFS_WRITE","SHARING_SMB_WRITE","SNAPSHOT_DELETE","SNAPSHOT_TASK_WRITE","SNAPSHOT_WRITE","SYSTEM_UPDATE_WRITE","VM_WRITE"]' ;;
esac
group=$(midclt call group.create '{"name":"tailnas-writer","smb":false}')
gid=$(midclt call group.get_instance "$group" | jq .gid)
midclt call privilege.create '{"local_groups":['"$gid"'],"name":"tailnas-writer","roles":'"$roles"',"web_shell":false}' >/dev/null
midclt call user.create '{"full_name":"tailnas","group":'"$group"',"password_disabled":true,"shell":"/usr/sbin/nologin","smb":false,"username":"tailnas-writer"}' >/dev/null
midclt call api_key.create '{"name":"tailnas-writer","username":"tailnas-writer"}' | jq -r .key
