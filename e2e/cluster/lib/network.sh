# The cluster's own network: a namespace with a bridge for the control plane, and one for each node on that bridge.
# Nothing of it shows in the machine's network.
# shellcheck shell=bash disable=SC2154 # The variables are those of settings.sh, and `bin`.

bridge=cluster

make_network() {
  local ns=$cluster
  [ ! -e "/run/netns/$ns" ] || return 0
  ip netns add "$ns"
  ip -n "$ns" link set lo up
  ip -n "$ns" link add "$bridge" type bridge
  ip -n "$ns" address add "$control_plane_ip/24" dev "$bridge"
  ip -n "$ns" link set "$bridge" up
}

# make_node_network INDEX NAME: a namespace linked to the bridge, with routes to and from its pods. Nodes have no
# default route: what is asked of the outside fails at once, and not after a time-out.
make_node_network() {
  local index=$1 ns=$cluster.$2 address=$node_ip_prefix$1 other
  [ ! -e "/run/netns/$ns" ] || return 0
  ip netns add "$ns"
  ip -n "$cluster" link add "node-$index" type veth peer name eth0 netns "$ns"
  ip -n "$cluster" link set "node-$index" master "$bridge" up
  ip -n "$ns" link set lo up
  ip -n "$ns" address add "$address/24" dev eth0
  ip -n "$ns" link set eth0 up
  ip netns exec "$ns" sysctl -qw net.ipv4.ip_forward=1
  ip -n "$cluster" route add "$(node_pod_cidr "$index")" via "$address"
  for other in $(seq "$(node_table | wc -l)"); do
    [ "$other" = "$index" ] || ip -n "$ns" route add "$(node_pod_cidr "$other")" via "$node_ip_prefix$other"
  done
  # Services are reached from the cluster's namespace through the first node, which must be the last that a test kills.
  [ "$index" != 1 ] || ip -n "$cluster" route add "$service_cidr" via "$address"
}

node_pod_cidr() {
  printf '10.244.%d.0/24\n' "$1"
}

remove_network() {
  local ns
  for ns in /run/netns/"$cluster" /run/netns/"$cluster".*; do
    [ ! -e "$ns" ] || ip netns delete "${ns##*/}"
  done
  # `ip` leaves a mount for its names; without names it has no use.
  if [ -d /run/netns ] && [ -z "$(ls /run/netns)" ]; then
    umount /run/netns 2>/dev/null || true
    rmdir /run/netns
  fi
}
