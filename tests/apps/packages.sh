#!/bin/sh
# The Debian packages that tests/apps runs, and a browser for the report's page: root gets the missing ones installed, anybody else is told their names.
# An application whose package is missing is then skipped by name for an ordinary user, and a failure for root.
set -eu

# Any Chromium will do; this one is the smallest.
browser=chromium-headless-shell
for other in chromium chromium-browser google-chrome; do
    ! command -v "$other" >/dev/null || browser=
done

packages="$browser strace postgresql xvfb x11-apps python3-sysv-ipc perl php-cli stress-ng util-linux procps afl++ mpich"
policy=/usr/sbin/policy-rc.d
cluster=/etc/postgresql-common/createcluster.conf

missing=
for package in $packages; do
    status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -ne 0 ]; then
    echo "packages missing, their applications are skipped; as root: apt-get install$missing" >&2
    exit 0
fi

# A mirror may fail once, and another apt be at work.
patience="-o Acquire::Retries=5 -o DPkg::Lock::Timeout=600"

restore() {
    [ -z "${our_policy:-}" ] || rm -f "$policy"
    [ ! -e "$cluster.before-shmgate" ] || mv "$cluster.before-shmgate" "$cluster"
}
trap restore EXIT
trap 'exit 1' HUP INT TERM

install() {
    DEBIAN_FRONTEND=noninteractive apt-get $patience install -qq -y --no-install-recommends "$@" >/dev/null
}

# No package may start a service. policy-rc.d is Debian's way to say so; one that is there already is the
# administrator's, and stays.
if [ ! -e "$policy" ]; then
    our_policy=yes
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi

apt-get $patience update -qq
case $missing in
*postgresql*)
    # The server's package would make a cluster, and have it started at the next boot; the tests make their own.
    install postgresql-common
    cp -p "$cluster" "$cluster.before-shmgate"
    echo "create_main_cluster = false" >>"$cluster"
    ;;
esac
# shellcheck disable=SC2086 # a list of words
install $missing
