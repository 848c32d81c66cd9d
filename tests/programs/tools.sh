# ipcs, lsipc, ipcmk and ipcrm, with ids, pids and times that differ from run to run put aside.
table() {
    echo "== $*"
    column=$1
    shift
    "$@" 2>&1 | sed -E 's/([A-Z][a-z]{2} )?[A-Z][a-z]{2} [ 0-9][0-9] [0-9:]{8}( 20[0-9]{2})?/TIME/g; s/\b[0-9]{2}:[0-9]{2}\b/TIME/g' |
        awk -v c="$column" -v a="$A" -v b="$B" -v d="$C" -v holder="$HOLDER" '{
            if (c && $c == a) $c = "A"; else if (c && $c == b) $c = "B"; else if (c && $c == d) $c = "C"
            for (i = 1; i <= NF; i++) sub("^((c|l)pid=)?" holder "$", "HOLDER", $i)
            $1 = $1
            print
        }'
}
table 2 ipcs -m
table 0 ipcs -m -l
table 0 ipcs -m -u
table 1 ipcs -m -p
table 1 ipcs -m -t
table 1 ipcs -m -c
table 2 lsipc -m
table 2 lsipc -m -c -t
table 0 lsipc -m -g
for id in "$A" "$B" "$C"; do
    table 0 ipcs -m -i "$id" | grep -v '^==' | sed -E 's/shmid=.*/shmid/'
    table 0 lsipc -m -i "$id" | grep -v '^==' | sed 's/^ID:.*/ID/'
done
ipcs -m -i 123456789 2>&1
echo "unknown id: $?"
ipcrm -m 123456789 2>&1
echo "unknown id: $?"
made=$(ipcmk -M 12288 -p 0600 | sed 's/.*: //')
table 0 ipcs -m -i "$made" | grep -E '^(bytes|mode)' | sed 's/cpid=[0-9]*//'
ipcrm -m "$made"
ipcrm -m "$made" 2>&1 | sed 's/(.*)//'
ipcrm -M 0x5e000053
echo "by key: $?"
table 2 ipcs -m
ipcrm --all=shm
echo "all: $?"
table 2 ipcs -m
