# What `run` and `bench` share: where the cluster is, how images get there, how the chart is installed. Who sources it
# has set `profile`, of cargo, to debug or release.
# shellcheck shell=bash disable=SC2154

mode=${E2E_CLUSTER:-namespaces}
operator_namespace=teebench-system
target=$PWD/${CARGO_TARGET_DIR:-target}
[[ ${CARGO_TARGET_DIR:-} != /* ]] || target=$CARGO_TARGET_DIR
artefacts=$target/e2e
export TEEBENCH_CLUSTER=${TEEBENCH_CLUSTER:-teebench-e2e}

die() {
  printf 'e2e: %s\n' "$*" >&2
  exit 2
}

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

# Everything is built before the cluster's network is entered, from which no registry is reachable.
build_programs() {
  local flags=()
  [ "$profile" = debug ] || flags=("--$profile")
  cargo build --quiet "${flags[@]}" --package teebench --package teebench-e2e --features teebench-e2e/cluster --bins
  cargo build --quiet "${flags[@]}" --package teebench-fake-nvml --lib
  [ "$mode" != namespaces ] || e2e/cluster/build >/dev/null
}

build_tests() {
  cargo test --quiet --package teebench-e2e --features cluster --no-run
}

bring_up() {
  [ "$mode" = current ] || e2e/cluster/up >/dev/null
}

stripped() { # NAME: the path of that program without its symbols
  cp "$target/$profile/$1" "$work/$1"
  strip "$work/$1"
  echo "$work/$1"
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
    --binary "$(stripped teebench)=/usr/local/bin/teebench" --entrypoint /usr/local/bin/teebench)
  vllm_image=$(e2e/image/pack --tag localhost/vllm-stand-in:e2e --out "$work/vllm.tar" "${gpus[@]}" \
    --binary "$(stripped vllm)" --binary "$(stripped hf)" --binary "$(stripped model-hub)" --entrypoint /usr/bin/vllm)
  nvml_image=$(e2e/image/pack --tag localhost/vllm-with-nvml:e2e --out "$work/nvml.tar" "${gpus[@]}" \
    --binary "$(stripped vllm)" --binary "$(stripped hf)" --entrypoint /usr/bin/vllm \
    --binary "$target/$profile/libteebench_fake_nvml.so=/opt/nvml/libnvidia-ml.so.1" \
    --file e2e/data/nvml-off.json=/opt/nvml/libnvidia-ml.so.1.json \
    --env TEEBENCH_NVML_LIBRARY=/opt/nvml/libnvidia-ml.so.1)
  e2e/cluster/load "$work"/{teebench,vllm,nvml}.tar
}

make_namespace() { # NAME
  inside kubectl create namespace "$1" --dry-run=client --output yaml | inside kubectl apply --filename - >/dev/null
  # What the operator creates must pass the strictest of the profiles; a pod that does not is refused.
  inside kubectl label --overwrite namespace "$1" pod-security.kubernetes.io/enforce=restricted >/dev/null
}

install_chart() {
  local name
  for name in "$operator_namespace" e2e-hub $(sed -n 's/^campaignNamespaces: \[\(.*\)\]$/\1/p' e2e/values.yaml | tr -d ,); do
    make_namespace "$name"
  done
  inside helm upgrade --install teebench charts/teebench --namespace "$operator_namespace" --values e2e/values.yaml \
    --set image.repository="${teebench_image%@*}" --set image.digest="${teebench_image#*@}" --wait --timeout 3m >&2
}

# Runs a command inside that reads what was made ready from its environment.
told() {
  # An error names what failed; where in the harness it passed by is noise.
  RUST_LIB_BACKTRACE=0 E2E_NVML_IMAGE=$nvml_image E2E_VLLM_IMAGE=$vllm_image E2E_TEEBENCH=$target/$profile/teebench E2E_ARTEFACTS=$artefacts \
    inside "$@"
}

run_tests() {
  rm -rf "$artefacts"
  mkdir -p "$artefacts"
  told cargo test --quiet --offline --package teebench-e2e --features cluster --test cluster --test permissions \
    --no-fail-fast -- --test-threads=2 --show-output "$@"
}
