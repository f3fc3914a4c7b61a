# Saying what happens and how long it takes, and waiting with a deadline.
# shellcheck shell=bash

# step TITLE COMMAND...: runs the command and prints its time.
step() {
  local title=$1 begun=${EPOCHREALTIME/[.,]/} took
  shift
  "$@"
  took=$(((${EPOCHREALTIME/[.,]/} - begun) / 1000))
  printf '%-52s %4d.%d s\n' "$title" $((took / 1000)) $((took % 1000 / 100)) >&2
}

# wait_until SECONDS WHAT COMMAND...: tries the command until it succeeds; gives up with what it said last.
wait_until() {
  local deadline=$((SECONDS + $1)) what=$2 last
  shift 2
  until last=$("$@" 2>&1); do
    ((SECONDS < deadline)) || die "gave up waiting for $what; last seen: $last"
    sleep 0.1
  done
}
