# Control groups, of version 1, 2 or both mounted side by side. All processes of a cluster live below one group, by
# which they are found and ended, whatever sessions and process groups they have made.
# shellcheck shell=bash

# Lines of MOUNTPOINT TYPE OPTIONS.
cgroup_hierarchies() {
  findmnt --raw --noheadings --types cgroup,cgroup2 --output TARGET,FSTYPE,FS-OPTIONS
}

# cgroup_make MOUNTPOINT TYPE GROUP: makes the group and those above it fit for processes.
cgroup_make() {
  local parent=$1 type=$2 part file
  local -a parts
  IFS=/ read -ra parts <<<"$3"
  for part in "${parts[@]}"; do
    # Version 2 hands controllers down only where a parent says so; version 1's cpuset starts empty, and admits nobody.
    [ "$type" = cgroup ] || cgroup_hand_down "$parent"
    mkdir -p "$parent/$part"
    for file in cpuset.cpus cpuset.mems; do
      [ "$type" = cgroup2 ] || [ ! -e "$parent/$file" ] || cat "$parent/$file" >"$parent/$part/$file"
    done
    parent=$parent/$part
  done
}

# cgroup_hand_down DIRECTORY: lets the groups below use all controllers, in version 2.
cgroup_hand_down() {
  local controller
  for controller in $(<"$1/cgroup.controllers"); do
    echo "+$controller" >"$1/cgroup.subtree_control" ||
      die "control group $1 cannot hand down its controller $controller: it may hold processes of others"
  done
}

# cgroup_join GROUP: moves the calling shell.
cgroup_join() {
  local mountpoint type
  while read -r mountpoint type _; do
    cgroup_make "$mountpoint" "$type" "$1"
    echo "$BASHPID" >"$mountpoint/$1/cgroup.procs"
  done < <(cgroup_hierarchies)
}

# cgroup_processes GROUP: the ids of all processes in it and below.
cgroup_processes() {
  local mountpoint
  read -r mountpoint _ < <(cgroup_hierarchies)
  [ ! -d "$mountpoint/$1" ] || find "$mountpoint/$1" -name cgroup.procs -exec cat {} + 2>/dev/null || true
}

# cgroup_remove GROUP: kills all processes in it and below, then removes the groups.
cgroup_remove() {
  local mountpoint deadline=$((SECONDS + 60))
  local -a processes
  while mapfile -t processes < <(cgroup_processes "$1") && ((${#processes[@]})); do
    ((SECONDS < deadline)) || die "processes of control group $1 do not end: ${processes[*]}"
    kill -KILL "${processes[@]}" 2>/dev/null || true
    sleep 0.01
  done
  while read -r mountpoint _; do
    # The kernel lets go of a group a moment after its last process.
    until [ ! -d "$mountpoint/$1" ] || find "$mountpoint/$1" -depth -type d -exec rmdir {} + 2>/dev/null; do
      ((SECONDS < deadline)) || die "control group $mountpoint/$1 cannot be removed"
      sleep 0.01
    done
  done < <(cgroup_hierarchies)
}

# cgroup_controllers OPTIONS: the options of a mount of version 1 that say which hierarchy it is.
cgroup_controllers() {
  tr , '\n' <<<"$1" | grep -vxE 'rw|ro|xattr|release_agent=.*' | paste -sd ,
}
