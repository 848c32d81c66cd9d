#!/bin/sh
# PostgreSQL with System V shared memory on the userspace backend against the kernel's: `sh benches/pgbench.sh [PAIRS [SECONDS]]`, after `make`.
#
# Two servers, one on each, answer pgbench in turn: PAIRS times (7) for SECONDS (5), with its own transactions, and with look-ups alone.
# Prints each pair, and the median of the ratios: more than 1 is in favour of the userspace backend. Needs PostgreSQL's programs and its user.
# Where that is allowed it all runs on one CPU at real-time priority, so that other work of the machine stays out of the numbers.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
library=${CARGO_TARGET_DIR:-$(dirname "$here")/target}/release/libshmgate.so
library=${SHMGATE_LIB:-$library}
pairs=${1-7}
seconds=${2-5}
[ -e "$library" ] || { echo "pgbench: $library is missing; build it with: make" >&2; exit 1; }
PATH=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | tail -1):$PATH
for program in initdb pg_ctl pgbench; do
    command -v "$program" >/dev/null || { echo "pgbench: $program is missing; install PostgreSQL" >&2; exit 1; }
done
unset LD_PRELOAD SHMGATE_BACKEND SHMGATE_NAMESPACE SHMGATE_LOG SHMGATE_POLICY SHMGATE_SESSION

work=$(mktemp -d /dev/shm/shmgate-pgbench.XXXXXX)
as_user=
if [ "$(id -u)" = 0 ]; then
    # PostgreSQL's server refuses root.
    as_user="setpriv --reuid=postgres --regid=postgres --clear-groups"
    chown postgres: "$work"
fi
cpu=$(taskset -cp $$ | sed 's/.*[ ,-]//')
if taskset -c "$cpu" chrt -r 1 true 2>/dev/null; then
    as_user="taskset -c $cpu chrt -r 1 $as_user"
else
    echo "pgbench: without real-time priority; the numbers are those of a machine at rest only" >&2
fi
clean_up() {
    for backend in kernel userspace; do
        $as_user pg_ctl -D "$work/$backend" -m immediate -w stop >/dev/null 2>&1 || true
    done
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

cp "$library" "$work/libshmgate.so"
chmod 755 "$work/libshmgate.so"
cd "$work"
for backend in kernel userspace; do
    $as_user initdb -D "$work/$backend" -A trust -U postgres --no-sync --no-locale -E UTF8 >/dev/null
    cat >>"$work/$backend/postgresql.conf" <<CONF
listen_addresses = ''
unix_socket_directories = '$work/$backend'
shared_memory_type = sysv
dynamic_shared_memory_type = sysv
shared_buffers = 128MB
fsync = off
autovacuum = off
CONF
    # Of the two only one is gated.
    gate=
    [ $backend = kernel ] || gate="env LD_PRELOAD=$work/libshmgate.so SHMGATE_BACKEND=userspace SHMGATE_NAMESPACE=$work/namespace"
    $as_user $gate pg_ctl -D "$work/$backend" -l "$work/$backend/log" -w -t 60 start >/dev/null
    $as_user pgbench -h "$work/$backend" -U postgres -i -s 5 -q postgres >/dev/null 2>&1
done

ls "$work"/namespace/segment.* >/dev/null # the gated one's shared memory

# Transactions a second: backend, and pgbench's options.
tps() {
    backend=$1
    shift
    $as_user pgbench -h "$work/$backend" -U postgres -n -c 2 -j 1 -T "$seconds" "$@" postgres 2>/dev/null |
        sed -n 's/^tps = \([0-9.]*\).*/\1/p'
}

for kind in "transactions -b tpcb-like" "look-ups -S"; do
    name=${kind%% *}
    options=${kind#* }
    : >ratios
    pair=1
    while [ "$pair" -le "$pairs" ]; do
        # Whoever is first may have it better: in turn.
        if [ $((pair % 2)) = 1 ]; then
            kernel=$(tps kernel $options); userspace=$(tps userspace $options)
        else
            userspace=$(tps userspace $options); kernel=$(tps kernel $options)
        fi
        echo "$kernel $userspace" | awk -v name="$name" '{ printf "%s: kernel %.0f/s, userspace %.0f/s, ratio %.3f\n", name, $1, $2, $2 / $1 }' | tee -a ratios
        pair=$((pair + 1))
    done
    sed 's/.*ratio //' ratios | sort -n | awk -v name="$name" '{ all[NR] = $1 } END {
        half = int((NR + 1) / 2); printf "%s: median ratio %.3f\n", name, NR % 2 ? all[half] : (all[half] + all[half + 1]) / 2 }'
done
