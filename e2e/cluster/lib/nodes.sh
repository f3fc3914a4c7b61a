# Nodes: each is one process tree in its own control group and its own mount, network, process, UTS and IPC namespaces,
# so it keeps the usual paths and ports, and ends wholly when its tree is killed.
# shellcheck shell=bash disable=SC2154 # The variables are those of settings.sh, and `bin`.

# with_node NAME COMMAND...: calls COMMAND INDEX NAME CPUS MEMORY-GIB GPUS TAINT LABELS, by the table of nodes.
with_node() {
  local wanted=$1 index=0 name
  local -a rest
  shift
  while read -ra rest; do
    name=${rest[0]}
    index=$((index + 1))
    if [ "$name" = "$wanted" ]; then
      "$@" "$index" "${rest[@]}"
      return
    fi
  done < <(node_table)
  code=2 die "no node is called \"$wanted\": there are $(node_names | paste -sd ' ')"
}

node_names() {
  node_table | cut -d ' ' -f 1
}

node_runs() {
  [ -n "$(cgroup_processes "$cluster/$1")" ]
}

start_node() {
  ! node_runs "$1" || return 0
  with_node "$1" start_node_line
}

start_node_line() {
  local index=$1 name=$2
  mkdir -p "$state/nodes/$name"
  make_node_network "$index" "$name"
  (
    exec 9>&-
    cgroup_join "$cluster/$name"
    exec setsid nsenter --net="/run/netns/$cluster.$name" -- \
      unshare --mount --cgroup -- "$bin/ownroot" "$here/lib/in-own-cgroups" \
      unshare --mount --uts --ipc --pid --fork --kill-child --mount-proc -- \
      "$here/lib/run-node" "$bin" "$node_ip_prefix$index" "$(node_pod_cidr "$index")" "${@:2}"
  ) >>"$state/log/$name.log" 2>&1 </dev/null &
}

kill_node() {
  with_node "$1" true
  cgroup_remove "$cluster/$1"
}

# ctr_on NODE ARGUMENT...: containerd's own client, in the namespace of images that the kubelet uses.
ctr_on() {
  ctr --address "$(node_socket "$1")" --namespace k8s.io "${@:2}"
}

node_socket() {
  printf '%s/nodes/%s/containerd.sock\n' "$state" "$1"
}

node_is_ready() {
  kubectl wait --for=condition=Ready "node/$1" --timeout=0
}

node_has_gpus() {
  local gpus
  gpus=$(kubectl get node "$2" --output 'jsonpath={.status.allocatable.nvidia\.com/gpu}')
  [ "${gpus:-0}" = "$5" ] || { echo "node $2 offers ${gpus:-no} GPUs of $5"; return 1; }
}
