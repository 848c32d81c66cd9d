#!/bin/sh
# The main job, end to end: watch, limit, and see what is left behind. Run by `make demo`.
# usage: demo.sh SHMGATE DIRECTORY-OF-THE-EXAMPLES
set -eu
exec 2>&1 # in order with what the programs print

here=$(cd "$(dirname "$0")" && pwd)
shmgate=$1
cd "$2"

# An IPC namespace of its own, where the system lets us: the demo then touches nobody's segments.
if [ "${SHMGATE_DEMO_ISOLATED:-}" != 1 ]; then
    export SHMGATE_DEMO_ISOLATED=1
    for namespace in "unshare --ipc" "unshare --user --map-current-user --ipc"; do
        if $namespace true 2>/dev/null; then
            exec $namespace sh "$here/demo.sh" "$shmgate" "$PWD"
        fi
    done
fi

session=$(mktemp -d)/session
trap 'rm -rf "${session%/session}"; for id in $left; do ipcrm -m "$id" 2>/dev/null || true; done' EXIT
left=

say() {
    printf '\n$ %s\n' "$*"
}

say "shmgate run --log - -- sh -c './server & ./client; wait'"
"$shmgate" run --log - -- sh -c './server & ./client; wait'

say "shmgate run --max-bytes 3M --session SESSION -- sh -c './server 5 & ./client; wait'"
"$shmgate" run --max-bytes 3M --session "$session" -- sh -c './server 5 & ./client; wait'

say "shmgate log SESSION | grep denied"
"$shmgate" log "$session" | grep denied

left=$("$shmgate" log "$session" | sed -n 's/.*IPC_PRIVATE.* = \([0-9][0-9]*\) <.*/\1/p')
say "ipcs -m"
ipcs -m

printf '\n(The demo removes its session and what it left behind.)\n'
