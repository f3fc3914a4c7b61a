# What the cluster and the tests on it need of the machine, installed from Debian where it is missing.
# shellcheck shell=bash

# Lines of COMMAND PACKAGE; a command with a slash is a file.
needed_packages() {
  cat <<'TABLE'
/usr/lib/cni/ptp containernetworking-plugins
busybox busybox
containerd containerd
findmnt mount
ip iproute2
iptables iptables
lua5.4 lua5.4
npm npm
nsenter util-linux
openssl openssl
pkill procps
promtool prometheus
python3 python3
runc runc
swtpm swtpm
tpm2_quote tpm2-tools
TABLE
}

install_packages() {
  local command package
  local -a missing=()
  while read -r command package; do
    command -v "$command" >/dev/null || missing+=("$package")
  done < <(needed_packages)
  # What makes Python's environments is a module, without a command.
  python3 -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)
  ((${#missing[@]})) || return 0
  command -v apt-get >/dev/null || die "needs Debian's packages ${missing[*]}, and there is no apt-get to install them with"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq >&2
  apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}
