# The cluster's certificate authority, and a kubeconfig for each of its clients.
# shellcheck shell=bash disable=SC2154 # The variables are those of settings.sh, and `bin`.

# quiet_openssl ARGUMENT...: openssl talks even when all is well.
quiet_openssl() {
  local said
  said=$(openssl "$@" 2>&1) || die "openssl $*: $said"
}

# certificate NAME SUBJECT [ALTERNATIVE-NAMES]: a key and a certificate signed by the cluster's authority.
certificate() {
  cat >"$state/pki/$1.conf" <<CONFIG
[req]
distinguished_name = subject
[subject]
[leaf]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = clientAuth, serverAuth
${3:+subjectAltName = $3}
CONFIG
  quiet_openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 365 -subj "$2" \
    -CA "$state/pki/ca.crt" -CAkey "$state/pki/ca.key" -keyout "$state/pki/$1.key" -out "$state/pki/$1.crt" \
    -extensions leaf -config "$state/pki/$1.conf"
}

# client NAME SUBJECT: a kubeconfig that carries its certificate with it.
client() {
  certificate "$1" "$2"
  cat >"$state/kubeconfig/$1" <<CONFIG
apiVersion: v1
kind: Config
current-context: $cluster
contexts:
- {name: $cluster, context: {cluster: $cluster, user: $1}}
clusters:
- name: $cluster
  cluster:
    server: https://$control_plane_ip:6443
    certificate-authority-data: $(base64 -w 0 "$state/pki/ca.crt")
users:
- name: $1
  user:
    client-certificate-data: $(base64 -w 0 "$state/pki/$1.crt")
    client-key-data: $(base64 -w 0 "$state/pki/$1.key")
CONFIG
}

make_certificates() {
  local name
  mkdir -p "$state/pki" "$state/kubeconfig"
  [ ! -e "$kubeconfig" ] || return 0
  quiet_openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 365 -subj "/CN=$cluster" \
    -keyout "$state/pki/ca.key" -out "$state/pki/ca.crt"
  quiet_openssl genrsa -out "$state/pki/service-accounts.key" 2048
  quiet_openssl rsa -in "$state/pki/service-accounts.key" -pubout -out "$state/pki/service-accounts.pub"
  certificate api-server /CN=kube-apiserver "DNS:kubernetes, DNS:kubernetes.default, DNS:kubernetes.default.svc, \
DNS:kubernetes.default.svc.cluster.local, IP:$api_service_ip, IP:$control_plane_ip"
  certificate kubelet-client /O=system:masters/CN=kube-apiserver-kubelet-client
  client kube-controller-manager /CN=system:kube-controller-manager
  client kube-scheduler /CN=system:kube-scheduler
  client kube-proxy /CN=system:kube-proxy
  client coredns /CN=teebench:coredns
  client volumes /CN=teebench:volumes
  while read -r name _; do
    client "$name" "/O=system:nodes/CN=system:node:$name"
  done < <(node_table)
  # Last, as its presence says that all is made.
  client admin /O=system:masters/CN=admin
}
