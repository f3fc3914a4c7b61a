#!/bin/bash
# One step of a campaign on a lent GPU: runs or continues it, and after SECONDS ends it on a whole block.
#
#   step.sh SECONDS OUT CAMPAIGN.yaml [ARGUMENT OF `teebench run`]...
#
# The campaign runs in a session of its own. With KEEP=1 it is left running when the step ends, so that a limit on one
# command's time costs no boot. Without KEEP the step stops it: at the end of a block when the longest block seen would not
# fit once more, or at SECONDS. The same command continues it, on this machine or on another one that was given OUT; of a
# block that was cut, whose servers are gone, every run is made again. OUT must outlast the step.
set -euo pipefail
seconds=$1 out=$2 campaign=$3
shift 3
name=$(python3 -c 'import sys, yaml; print(list(yaml.safe_load_all(open(sys.argv[1])))[-1]["metadata"]["name"])' "$campaign")
mkdir -p "$out"
console=$out/$name.console
pidfile=$out/$name.pid
end=$((SECONDS + seconds))

runs_of_a_block=$(teebench plan "$campaign" -o json | python3 -c 'import json, sys; print(len(json.load(sys.stdin)["blocks"][0]["runs"]))')
ended() { { find "$out/$name/runs" -name SHA256SUMS 2>/dev/null || true; } | wc -l; }
alive() { [ -f "$pidfile" ] && kill -0 "$(cat "$pidfile")" 2>/dev/null; }

if ! alive; then
    echo "=== $(date -u +%FT%TZ) start" >>"$console"
    setsid teebench run "$campaign" --out "$out" "$@" >>"$console" 2>&1 </dev/null &
    echo $! >"$pidfile"
fi
first=$(ended)
block_began=$SECONDS longest=0 blocks=0 booting=yes
while alive && [ $SECONDS -lt $end ]; do
    since=$(($(ended) - first))
    # The first run is not timed, as it waits for the servers to start; the others of its block stand for it.
    if [ -n "$booting" ] && [ $since -gt 0 ]; then booting='' block_began=$SECONDS; fi
    whole=$((since / runs_of_a_block))
    if [ $whole -gt $blocks ]; then
        took=$((SECONDS - block_began))
        if [ $blocks -eq 0 ] && [ "$runs_of_a_block" -gt 1 ]; then took=$((took * runs_of_a_block / (runs_of_a_block - 1))); fi
        [ $took -gt $longest ] && longest=$took
        block_began=$SECONDS blocks=$whole
        if [ -z "${KEEP:-}" ] && [ $((SECONDS + longest)) -gt $end ]; then break; fi
    fi
    sleep 1
done
if [ -z "${KEEP:-}" ] && alive; then
    kill -INT "$(cat "$pidfile")"
    while alive; do sleep 0.2; done
fi
tail -n 40 "$console"
echo "step: $(ended) attempts stored, $(alive && echo running || echo ended)"
