// Runs a command with this process's root directory as the root of its mount namespace. In a chroot the two differ, and
// what enters the namespace later, as `kubectl exec` does, would find itself outside of the chroot:
//
//	ownroot COMMAND [ARGUMENT...]
package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"

	"golang.org/x/sys/unix"
)

func init() {
	// What follows changes the calling thread, which must then be the one that becomes the command.
	runtime.LockOSThread()
}

func run(command []string) error {
	path, err := exec.LookPath(command[0])
	if err != nil {
		return err
	}
	tree, err := unix.OpenTree(unix.AT_FDCWD, "/", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	if err != nil {
		return fmt.Errorf("clone the mounts below /: %w", err)
	}
	namespace, err := unix.Open("/proc/self/ns/mnt", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open the mount namespace: %w", err)
	}
	// The kernel moves only threads that share their root directory with no other.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("unshare the root directory: %w", err)
	}
	// Entering a mount namespace, be it one's own, leads to its root.
	if err := unix.Setns(namespace, unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("enter the mount namespace: %w", err)
	}
	if err := unix.MoveMount(tree, "", unix.AT_FDCWD, "/", unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("mount the clone over the root: %w", err)
	}
	if err := unix.Fchdir(tree); err != nil {
		return fmt.Errorf("change to the clone: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("change the root to the clone: %w", err)
	}
	return unix.Exec(path, command, os.Environ())
}

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "ownroot: which command?")
		os.Exit(2)
	}
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "ownroot:", err)
		os.Exit(1)
	}
}
