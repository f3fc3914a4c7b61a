# What `run` and `bench` share: where the cluster is, how images get there, how the chart is installed.
# shellcheck shell=bash

mode=${E2E_CLUSTER:-namespaces}
profile=${E2E_PROFILE:-release}
operator_namespace=teebench-system
target=$PWD/${CARGO_TARGET_DIR:-target}
[[ ${CARGO_TARGET_DIR:-} != /* ]] || target=$CARGO_TARGET_DIR
artefacts=$target/e2e
export TEEBENCH_CLUSTER=${TEEBENCH_CLUSTER:-teebench-e2e}

die() {
  printf 'e2e: %s\n' "$*" >&2
  exit 2
}

case $profile in
  debug | release) ;;
  *) die "E2E_PROFILE is \"$profile\": leave it unset, or use debug or release" ;;
esac
case $mode in
  namespaces)
    # `unshare` tries what counts: containers often have root without the right to make namespaces.
    if ! unshare --mount --net --pid --fork true 2>/dev/null; then
      die "this machine lets no namespaces be made (root with CAP_SYS_ADMIN makes them); use E2E_CLUSTER=kind or current"
    fi
    ;;
  kind | current) ;;
  *) die "E2E_CLUSTER is \"$mode\": leave it unset, or use kind or current" ;;
esac

prepare() { # ARGUMENTS: makes the place for archives, and sees to the end of the cluster
  keep=false
  [ "${1:-}" != --keep ] || keep=true
  work=$(mktemp -d)
  trap ending EXIT
}

ending() {
  local code=$?
  [ ! -s "$work/tpm/pid" ] || kill "$(<"$work/tpm/pid")" || code=1
  $keep || [ "$mode" = current ] || e2e/cluster/down || code=1
  rm -rf "$work"
  exit "$code"
}

step() { # TITLE COMMAND...
  local title=$1 begun=$SECONDS
  shift
  printf '%s ...\n' "$title" >&2
  "$@"
  printf '%s: %d s\n' "$title" $((SECONDS - begun)) >&2
}

# Runs a command where the cluster's addresses are reachable and kubectl and helm are found.
inside() {
  if [ "$mode" = current ]; then "$@"; else e2e/cluster/enter "$@"; fi
}

# Everything is built before the cluster's network is entered, from which no registry is reachable. Each of the two
# commands resolves the features of dependencies as `cargo build --release` and `cargo test --workspace` do, so that
# whoever has run those has compiled every dependency already.
build_programs() {
  # An integration test of the root package has its program built along, unoptimised.
  local under_test=(--test local_run)
  if [ "$profile" = release ]; then
    cargo build --quiet --release
    under_test=()
  fi
  # The tests' package has its own programs built along: the stand-ins and the bench.
  cargo test --quiet --workspace --features teebench-e2e/cluster --no-run --test cluster --test permissions "${under_test[@]}"
  cargo build --quiet --package teebench-fake-nvml --lib
  [ "$mode" != namespaces ] || e2e/cluster/build >/dev/null
}

bring_up() {
  [ "$mode" = current ] || e2e/cluster/up >/dev/null
}

stripped() { # PATH: the path of a copy of that program without its symbols
  local copy=$work/${1##*/}
  cp "$1" "$copy"
  strip "$copy"
  echo "$copy"
}

# The images by their digests, in $teebench_image, $vllm_image and $nvml_image.
load_images() {
  if [ "$mode" = current ]; then
    teebench_image=${E2E_TEEBENCH_IMAGE:?E2E_CLUSTER=current needs the image of teebench, as REPOSITORY@sha256:...}
    vllm_image=${E2E_VLLM_IMAGE:?E2E_CLUSTER=current needs the image of the stand-ins, as REPOSITORY@sha256:...}
    nvml_image=${E2E_NVML_IMAGE:?E2E_CLUSTER=current needs the image of the stand-ins with an NVML, as REPOSITORY@sha256:...}
    return
  fi
  local gpus=()
  # kind has no device plugin, so nothing tells a container which GPUs it was given.
  [ "$mode" != kind ] || gpus=(--env NVIDIA_VISIBLE_DEVICES=all)
  teebench_image=$(e2e/image/pack --tag localhost/teebench:e2e --out "$work/teebench.tar" \
    --binary "$(stripped "$target/$profile/teebench")=/usr/local/bin/teebench" --entrypoint /usr/local/bin/teebench)
  vllm_image=$(e2e/image/pack --tag localhost/vllm-stand-in:e2e --out "$work/vllm.tar" "${gpus[@]}" \
    --binary "$(stripped "$target/debug/vllm")" --binary "$(stripped "$target/debug/hf")" \
    --binary "$(stripped "$target/debug/model-hub")" --entrypoint /usr/bin/vllm)
  nvml_image=$(e2e/image/pack --tag localhost/vllm-with-nvml:e2e --out "$work/nvml.tar" "${gpus[@]}" \
    --binary "$(stripped "$target/debug/vllm")" --binary "$(stripped "$target/debug/hf")" --entrypoint /usr/bin/vllm \
    --binary "$target/debug/libteebench_fake_nvml.so=/opt/nvml/libnvidia-ml.so.1" \
    --file e2e/data/nvml-off.json=/opt/nvml/libnvidia-ml.so.1.json \
    --env TEEBENCH_NVML_LIBRARY=/opt/nvml/libnvidia-ml.so.1)
  # What this one finds is the node's driver, which a test puts there and changes.
  driver_image=$(e2e/image/pack --tag localhost/vllm-with-driver:e2e --out "$work/driver.tar" \
    --binary "$(stripped "$target/debug/vllm")" --binary "$(stripped "$target/debug/hf")" --entrypoint /usr/bin/vllm \
    --env TEEBENCH_NVML_LIBRARY=/usr/local/nvidia/lib64/libnvidia-ml.so.1 \
    --env TEEBENCH_BOOT_ID_FILE=/usr/local/nvidia/lib64/boot_id)
  e2e/cluster/load "$work"/{teebench,vllm,nvml,driver}.tar
}

# The TPM of the confidential machine, in software: nodes of the built cluster see this machine's files, so a Job there
# reaches it as it would reach a device. It serves until the tests end.
start_tpm() {
  probe/tests/data/cpu/machine "$work/tpm" >&2
  E2E_CPU_TEST_ROOT=$(openssl x509 -in "$work/tpm/ark.crt" -outform DER | sha256sum | cut -d ' ' -f 1)
  export E2E_CPU_TEST_ROOT
}

make_namespace() { # NAME
  inside kubectl create namespace "$1" --dry-run=client --output yaml | inside kubectl apply --filename - >/dev/null
  # What the operator creates must pass the strictest of the profiles; a pod that does not is refused.
  inside kubectl label --overwrite namespace "$1" pod-security.kubernetes.io/enforce=restricted >/dev/null
}

install_chart() {
  local name
  local -a attester=()
  [ -z "${E2E_CPU_TEST_ROOT:-}" ] || attester=(--set cpuAttester.enabled=true --set cpuAttester.device="$work/tpm/tpm"
    --set-string cpuAttester.testRoot="$E2E_CPU_TEST_ROOT")
  for name in "$operator_namespace" e2e-hub e2e-stores $(sed -n 's/^campaignNamespaces: \[\(.*\)\]$/\1/p' e2e/values.yaml | tr -d ,); do
    make_namespace "$name"
  done
  inside helm upgrade --install teebench charts/teebench --namespace "$operator_namespace" --values e2e/values.yaml \
    --set image.repository="${teebench_image%@*}" --set image.digest="${teebench_image#*@}" "${attester[@]}" --wait --timeout 3m >&2
}

# Runs a command inside that reads what was made ready from its environment.
told() {
  # An error names what failed; where in the harness it passed by is noise.
  RUST_LIB_BACKTRACE=0 E2E_NVML_IMAGE=$nvml_image E2E_DRIVER_IMAGE=${driver_image:-} E2E_DRIVER=$target/debug/libteebench_fake_nvml.so E2E_VLLM_IMAGE=$vllm_image E2E_TEEBENCH=$target/$profile/teebench E2E_ARTEFACTS=$artefacts \
    inside "$@"
}

run_tests() {
  rm -rf "$artefacts"
  mkdir -p "$artefacts"
  # Pods reach the object store at an address of this machine: in the built cluster at that of its bridge.
  local host=10.200.0.1
  [ "$mode" = namespaces ] || host=$(hostname -I | cut -d ' ' -f 1)
  STORES_HOST=${E2E_STORES_HOST:-$host} told tests/stores cargo test --quiet --offline --workspace --features teebench-e2e/cluster --test cluster --test permissions \
    --no-fail-fast -- --test-threads=2 --show-output "$@"
}
