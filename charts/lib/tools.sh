# What the scripts beside this directory share; sourced by them.
# shellcheck shell=bash
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

chart=charts/teebench
# helm built from its module does not know a version of Kubernetes to render for.
kube_version=1.34.4

# The tools of the end-to-end tests' cluster are built from pinned sources; others on PATH do as well.
if ! command -v helm >/dev/null || ! command -v helm-unittest >/dev/null; then
  if [ ! -x e2e/cluster/build ]; then
    echo "needs helm 3 and helm-unittest on PATH" >&2
    exit 2
  fi
  tools=$(e2e/cluster/build)
  PATH=$tools:$PATH
fi

render() { # RELEASE-NAMESPACE [HELM-FLAGS...]
  local namespace=$1
  shift
  helm template teebench "$chart" --namespace "$namespace" --kube-version "$kube_version" "$@"
}
