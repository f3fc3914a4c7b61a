# Names, places and addresses of the cluster; every script here reads them from this file.
# shellcheck shell=bash disable=SC2034

set -Eeuo pipefail
# Never end without a word, whatever command it is that fails.
trap 'printf "%s: line %s of %s failed: %s\n" "${0##*/}" "$LINENO" "${BASH_SOURCE[0]##*/}" "$BASH_COMMAND" >&2' ERR

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cluster=${TEEBENCH_CLUSTER:-teebench-e2e}
state=${TEEBENCH_CLUSTER_DIR:-/tmp/$cluster}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/teebench/cluster
kubeconfig=$state/kubeconfig/admin
audit_log=$state/log/audit.log

# Each cluster has a network of its own, so these are the same in all of them.
control_plane_ip=10.200.0.1
node_ip_prefix=10.200.0.1 # followed by the node's index: 10.200.0.11 is the first
pod_cidr=10.244.0.0/16
service_cidr=10.96.0.0/16
api_service_ip=10.96.0.1

die() {
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit "${code:-1}"
}

# The comment that a script begins with is its manual.
if [ "${1:-}" = --help ]; then
  sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" | grep -v '^shellcheck '
  exit
fi

[[ $cluster =~ ^[a-z][a-z0-9-]{0,30}$ ]] ||
  code=2 die "TEEBENCH_CLUSTER is \"$cluster\": use up to 31 lower-case letters, digits and dashes"
# A UNIX socket's path may have 107 characters, and the nodes' sockets lie below the state directory.
((${#state} <= 60)) || code=2 die "TEEBENCH_CLUSTER_DIR is longer than 60 characters: $state"
for place in "$state" "$cache"; do
  case $place/ in
    /run/* | /var/lib/* | /var/log/*) code=2 die "$place: nodes have directories of their own at /run, /var/lib and /var/log; use another place" ;;
    /*) ;;
    *) code=2 die "$place: give an absolute path" ;;
  esac
done

require_root() {
  ((EUID == 0)) || code=2 die "needs root: it makes namespaces, control groups and mounts"
}

# The name alone makes the state directory a place in memory: a directory of that name that is none is somebody else's,
# and `down` would remove it.
require_own_state() {
  [ -n "${TEEBENCH_CLUSTER_DIR:-}" ] || [ "${E2E_CLUSTER:-}" = kind ] || [ ! -e "$state" ] || mountpoint --quiet "$state" ||
    code=2 die "$state is there and is no cluster's; move it away, or name the cluster otherwise (TEEBENCH_CLUSTER)"
}

# A directory for each version of the sources, so that two checkouts never share a build.
binaries() {
  local sum
  sum=$(cd "$here" && cat components/go.{mod,sum} components/*/main.go tools/go.{mod,sum} build | sha256sum)
  printf '%s/%s\n' "$cache" "${sum:0:16}"
}

# The lines of the table of nodes: NAME CPUS MEMORY-GIB GPUS TAINT LABELS.
node_table() {
  grep -v '^#' "${TEEBENCH_CLUSTER_NODES:-$here/nodes}"
}

in_cluster() {
  nsenter --net="/run/netns/$cluster" -- "$@"
}
