#!/bin/bash
# Makes a bare GPU machine ready: unpacks what was brought (parts of one archive with site/, bin/ and m/), and compiles it.
#
#   set-up.sh PARTS TARGET
#
# PARTS holds part.* of an xz archive: site/ has vLLM 0.25.1 and those of its needs that the machine lacks, unpacked wheels
# (`pip download --no-deps`, protobuf left out); bin/vllm starts it. TARGET/bin belongs on the PATH.
set -euo pipefail
parts=$1 target=$2
mkdir -p "$target"
cat "$parts"/part.* | xz -dc -T0 | tar x -C "$target"
cat >"$target/bin/vllm" <<EOF
#!/bin/sh
export PYTHONPATH=$target/site VLLM_USE_FLASHINFER_SAMPLER=0 HF_HUB_OFFLINE=1 VLLM_NO_USAGE_STATS=1 OMP_NUM_THREADS=1
exec python3 -m vllm.entrypoints.cli.main "\$@"
EOF
chmod +x "$target/bin/vllm"
python3 -m compileall -q -j 0 "$target/site" >/dev/null 2>&1 || true
