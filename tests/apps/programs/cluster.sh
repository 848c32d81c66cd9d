# What the PostgreSQL programs begin with: a new cluster below the working directory, reached over a unix socket.
set -eu
data=$PWD/data
export PGHOST="$PWD" PGUSER=postgres PGDATABASE=postgres

initdb -D "$data" -A trust -U postgres --no-sync --no-locale -E UTF8 >initdb.out
cat >>"$data/postgresql.conf" <<CONF
listen_addresses = ''
unix_socket_directories = '$PWD'
shared_memory_type = sysv
dynamic_shared_memory_type = sysv
shared_buffers = 16MB
fsync = off
CONF
