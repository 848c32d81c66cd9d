# ipcmk makes segments, ipcs shows them, ipcrm removes them by id, by key, and all at once. One is left behind.
set -eu
make() {
    ipcmk -M "$1" -p "$2" | sed 's/.*: //'
}
key_of() {
    ipcs -m | awk -v shmid="$1" '$2 == shmid { print $1 }'
}

first=$(make 8192 0640)
second=$(make 10000 0600)
echo "two: $(ipcs -m | grep -c ^0x)"
ipcs -m -i "$first" | grep -o 'mode=[0-7]*'
ipcs -m -i "$first" | grep -o '^bytes=[0-9]*'
ipcs -m -u | grep 'segments allocated'
ipcs -m -l | grep 'min seg size'
ipcrm -m "$first"
ipcrm -M "$(key_of "$second")"
echo "none: $(ipcs -m | grep -c ^0x || true)"
{ ipcrm -m "$first" 2>&1 || echo "again: $?"; } | sed "s/($first)/(the first)/"
make 4096 0600 >/dev/null
make 4096 0600 >/dev/null
ipcrm --all=shm
echo "none: $(ipcs -m | grep -c ^0x || true)"
make 12288 0604 >/dev/null
