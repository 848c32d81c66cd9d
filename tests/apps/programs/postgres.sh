# A PostgreSQL cluster from its first to its last moment, below the working directory: initdb, server, pgbench over
# a unix socket, a query that parallel workers answer through dynamic shared memory, an ordinary stop.
. ./cluster.sh

pg_ctl -D "$data" -l server.log -w -t 60 start >pg_ctl.out
trap 'pg_ctl -D "$data" -m immediate stop >>pg_ctl.out 2>&1 || true' EXIT
pgbench -i -s 1 -q 2>pgbench-init.out
pgbench -c 2 -j 2 -t 50 2>pgbench.err
psql -XAtq <<SQL
show shared_memory_type;
show dynamic_shared_memory_type;
select sum(abalance) = (select sum(delta) from pgbench_history) from pgbench_accounts;
set max_parallel_workers_per_gather = 2;
set parallel_setup_cost = 0;
set parallel_tuple_cost = 0;
set min_parallel_table_scan_size = 0;
explain (analyze, costs off, timing off) select count(*) from pgbench_accounts;
select count(*) from pgbench_accounts;
SQL
trap - EXIT
pg_ctl -D "$data" -w -t 60 -m fast stop
