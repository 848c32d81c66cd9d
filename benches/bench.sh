#!/bin/sh
# Prints the performance table: `sh benches/bench.sh`, after `make`. Takes about three minutes; see docs/benchmarks.md.
#
# Where that is allowed, all of it runs in IPC, PID and mount namespaces of its own: whatever ends it, no process and no segment
# stays behind. And it runs on one CPU at real-time priority, so that other work of the machine stays out of the numbers.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$here")

if [ "${1-}" = inside ]; then
    # In the namespaces, with the mounts to ourselves: bpftrace finds the tracepoints there.
    [ -d /sys/kernel/tracing/events ] || mount -t tracefs nodev /sys/kernel/tracing 2>/dev/null || true
    shift
    exec "$@"
fi

target=${CARGO_TARGET_DIR:-$root/target}
library=$target/release/libshmgate.so
command=$target/release/shmgate
for file in "$library" "$command"; do
    [ -e "$file" ] || { echo "bench: $file is missing; build it with: make" >&2; exit 1; }
done

cargo build --quiet --release --manifest-path "$here/driver/Cargo.toml" --target-dir "$target/bench"

# None of the surroundings' own settings may gate what is measured plain.
unset LD_PRELOAD SHMGATE_BACKEND SHMGATE_LOG SHMGATE_LOG_FORMAT SHMGATE_POLICY SHMGATE_SESSION SHMGATE_DEEPBIND SHMGATE_CALLERS

child=
work=$(mktemp -d "${TMPDIR:-/tmp}/shmgate-bench.XXXXXX")
# Namespaces of the userspace backend are in memory.
memory=$(mktemp -d /dev/shm/shmgate-bench.XXXXXX)
ln -s "$memory" "$work/memory"
clean_up() {
    [ -z "$child" ] || kill -KILL "$child" 2>/dev/null || true
    # The namespaces' processes end with it, a moment later.
    rm -rf "$work" "$memory" 2>/dev/null || { sleep 1; rm -rf "$work" "$memory"; }
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

${CC:-cc} -O2 -std=c11 -Wall -Wextra -o "$work/calls" "$here/calls.c"
echo | ${CC:-cc} -shared -o "$work/empty.so" -x c -

set -- "$target/bench/release/shmgate-bench" "$library" "$command" "$here/audit.bt" "$work"
# The last CPU that we may use: the first one has most of the interrupts.
cpu=$(taskset -cp $$ 2>/dev/null | sed 's/.*[^0-9]//') || cpu=
[ -z "$cpu" ] || set -- taskset -c "$cpu" "$@"
if chrt -f 1 true 2>/dev/null; then set -- chrt -f 1 "$@"; fi
own='unshare --ipc --pid --mount --fork --kill-child --mount-proc'
if $own true 2>/dev/null; then set -- $own sh "$here/bench.sh" inside "$@"; fi

# In the background, since a shell looks at its signals only between commands or in `wait`.
"$@" </dev/null &
child=$!
status=0
wait "$child" || status=$?
child=
exit "$status"
