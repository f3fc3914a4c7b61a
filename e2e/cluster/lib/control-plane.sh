# The control plane: etcd, the API server, its controllers and scheduler, cluster DNS and storage.
# shellcheck shell=bash disable=SC2154 # The variables are those of settings.sh, and `bin`.

# supervised NAME COMMAND...: in the cluster's network and a control group of its own, unless it runs already.
supervised() {
  local name=$1
  shift
  [ -z "$(cgroup_processes "$cluster/$name")" ] || return 0
  (
    exec 9>&- # the lock of who brings the cluster up
    cgroup_join "$cluster/$name"
    exec setsid nsenter --net="/run/netns/$cluster" -- "$here/lib/supervise" "$@"
  ) >>"$state/log/$name.log" 2>&1 </dev/null &
  echo $! >"$state/pid/$name"
}

start_api() {
  local client=http://127.0.0.1:2379
  # A killed machine may lose its last writes: that is fine for tests, and saves a third of the time.
  supervised etcd "$bin/etcd" --data-dir "$state/etcd" --unsafe-no-fsync --log-level warn \
    --listen-client-urls $client --advertise-client-urls $client --listen-peer-urls http://127.0.0.1:2380
  supervised kube-apiserver "$bin/kube-apiserver" --etcd-servers $client --allow-privileged \
    --bind-address "$control_plane_ip" --advertise-address "$control_plane_ip" --service-cluster-ip-range "$service_cidr" \
    --authorization-mode Node,RBAC --enable-admission-plugins NodeRestriction \
    --client-ca-file "$state/pki/ca.crt" \
    --tls-cert-file "$state/pki/api-server.crt" --tls-private-key-file "$state/pki/api-server.key" \
    --kubelet-client-certificate "$state/pki/kubelet-client.crt" --kubelet-client-key "$state/pki/kubelet-client.key" \
    --kubelet-preferred-address-types InternalIP \
    --service-account-issuer https://kubernetes.default.svc.cluster.local \
    --service-account-key-file "$state/pki/service-accounts.pub" \
    --service-account-signing-key-file "$state/pki/service-accounts.key" \
    --audit-policy-file "$here/audit-policy.yaml" --audit-log-path "$audit_log"
}

start_controllers() {
  supervised kube-controller-manager "$bin/kube-controller-manager" --kubeconfig "$state/kubeconfig/kube-controller-manager" \
    --leader-elect=false --bind-address 127.0.0.1 --use-service-account-credentials \
    --service-account-private-key-file "$state/pki/service-accounts.key" --root-ca-file "$state/pki/ca.crt"
  supervised kube-scheduler "$bin/kube-scheduler" --kubeconfig "$state/kubeconfig/kube-scheduler" \
    --leader-elect=false --bind-address 127.0.0.1
}

start_services() {
  cat >"$state/Corefile" <<CONFIG
cluster.local in-addr.arpa {
  bind $control_plane_ip
  errors
  ready 127.0.0.1:8181
  kubernetes {
    kubeconfig $state/kubeconfig/coredns
    ttl 1
  }
}
CONFIG
  printf 'nameserver %s\nsearch svc.cluster.local cluster.local\noptions ndots:5\n' "$control_plane_ip" >"$state/resolv.conf"
  supervised coredns "$bin/coredns" -conf "$state/Corefile"
  supervised volumes "$bin/volumes" -kubeconfig "$state/kubeconfig/volumes" -root "$state/volumes"
}
