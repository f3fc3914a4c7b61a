#!/bin/bash
# Packs the results of a step into parts of at most 15 MiB: pack.sh OUT TO. One thread at the lowest priority, as a campaign
# may be running.
set -euo pipefail
out=$1 to=$2
tar c --exclude='*.pid' -C "$out" . | nice -n 19 gzip -3 | split -b 15M - "$to/results.tgz."
