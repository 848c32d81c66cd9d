# A postmaster killed while one of its backends is attached: a new one must not start until that backend is gone, and then it recovers.
. ./cluster.sh

start() {
    pg_ctl -D "$data" -l "$1" -w -t 60 start >>pg_ctl.out 2>&1
}
# Waits for something that must come; the whole run has a deadline.
until_true() {
    until "$@"; do sleep 0.05; done
}
gone() {
    case $(ps -o stat= -p "$1") in '' | Z*) ;; *) false ;; esac
}

start server.log
psql -XAtq -c 'create table numbers as select generate_series(1, 1000) as number'
postmaster=$(head -n 1 "$data/postmaster.pid")
# A stopped backend does not notice that its postmaster is gone.
psql -XAtq -c "set application_name = 'sleeper'; select pg_sleep(300)" >sleeper.out 2>&1 &
client=$!
ask="select pid from pg_stat_activity where application_name = 'sleeper' and wait_event = 'PgSleep'"
backend=
while [ -z "$backend" ]; do backend=$(psql -XAtq -c "$ask"); done
trap 'kill -KILL "$backend" "$postmaster" 2>/dev/null || true; pg_ctl -D "$data" -m immediate stop >>pg_ctl.out 2>&1 || true' EXIT
kill -STOP "$backend"
children=$(ps -o pid= --ppid "$postmaster")
kill -KILL "$postmaster"
until_true gone "$postmaster"
for child in $children; do
    [ "$child" = "$backend" ] || until_true gone "$child"
done

if start refused.log; then
    echo "a second postmaster started beside an old backend"
    exit 1
fi
echo "refused: $(grep -o 'pre-existing shared memory block.*' refused.log)"
kill -KILL "$backend"
until_true gone "$backend"
wait "$client" || true
start recovered.log
echo "recovered: $(grep -o 'database system was not properly shut down' recovered.log)"
echo "rows: $(psql -XAtq -c 'select count(*) from numbers')"
trap - EXIT
pg_ctl -D "$data" -w -t 60 -m fast stop
