#!/bin/bash
# The foreign routers that the campaign compares with, before its servers: waits for the servers, starts both, and stays.
#
#   peers.sh FIRST_PORT SERVERS SMG_PORT VLLM_ROUTER_PORT LOGS
#
# FIRST_PORT is that of `teebench run --first-port`; smg 1.13.0 and vllm-router 0.1.16 of PyPI are on the PATH. The campaign
# finds them by `--router smg=http://127.0.0.1:SMG_PORT --router vllm-router=http://127.0.0.1:VLLM_ROUTER_PORT`. They begin
# anew when a server was away, as a campaign that is continued starts its servers anew.
set -uo pipefail
first=$1 servers=$2 smg_port=$3 vllm_router_port=$4 logs=$5
mkdir -p "$logs"
urls=()
for ((port = first; port < first + servers; port++)); do urls+=("http://127.0.0.1:$port"); done
up() { for url in "${urls[@]}"; do curl -fsS -m 2 -o /dev/null "$url/health" 2>/dev/null || return 1; done; }
running=()
stop() { [ ${#running[@]} -eq 0 ] || kill "${running[@]}" 2>/dev/null; running=(); wait; }
trap 'stop; exit' INT TERM

while true; do
    until up; do sleep 0.5; done
    common=(--host 127.0.0.1 --policy cache_aware --log-level error --worker-urls "${urls[@]}")
    smg launch --port "$smg_port" --prometheus-port $((smg_port + 1)) "${common[@]}" >>"$logs/smg.log" 2>&1 &
    running+=($!)
    vllm-router --port "$vllm_router_port" --prometheus-port $((vllm_router_port + 1)) "${common[@]}" \
        >>"$logs/vllm-router.log" 2>&1 &
    running+=($!)
    # A server that is busy may answer late; three misses in a row mean that it is gone.
    misses=0
    while [ $misses -lt 3 ]; do
        sleep 5 &
        wait $!
        if up; then misses=0; else misses=$((misses + 1)); fi
    done
    stop
done
