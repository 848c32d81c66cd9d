# An X server that keeps its screen in a segment of its own, and clients that hand it their pictures through others.
set -eu
mkfifo display
Xvfb -displayfd 3 -screen 0 1024x768x24 -shmem -nolisten tcp -noreset 3>display 2>xvfb.err &
server=$!
trap 'kill "$server" 2>/dev/null || true' EXIT
# Xvfb writes the number of the display that it took when it is ready to be asked; if it dies, this reads nothing.
read -r number <display
export DISPLAY=":$number"
x11perf -shmput100 -repeat 1 -time 1 -sync
x11perf -shmput500 -repeat 1 -time 1
trap - EXIT
kill "$server"
wait "$server"
