#!/bin/sh
# Runs a command on the machine in the folder $1: in a mount namespace that whoever calls this has made.
set -e
mount --bind "$1/etc" /etc
mount --bind "$1/local" /usr/local
mount --bind "$1/log" /var/log
mount --bind "$1/lib" /var/lib
# Last: mount makes itself a folder there.
mount --bind "$1/run" /run
PATH=$1/fakes:$PATH
export PATH
shift
exec "$@"
