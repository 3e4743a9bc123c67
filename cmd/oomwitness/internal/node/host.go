package node

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/criconf"
)

// Binaries are the programs to install, by paths that stay valid when the root changes.
type Binaries struct{ Command, Shim string }

// hostPath is the PATH for the host's programs.
const hostPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Enter makes the host's tree, mounted at dir, the root of this process. The process then sees
// the host's files, processes and sockets by the host's own paths, and runs the host's programs
// with the host's libraries. "/" changes nothing. Enter opens the binaries to install before,
// from this process's own tree. An empty shim means the binary beside this command.
func Enter(dir, shim string) (Binaries, error) {
	self, err := os.Executable()
	if err != nil {
		return Binaries{}, fmt.Errorf("find this command's file: %w", err)
	}
	if shim == "" {
		shim = filepath.Join(filepath.Dir(self), criconf.ShimName)
	}
	b := Binaries{Command: self, Shim: shim}
	if dir == "/" {
		return b, nil
	}
	if b.Command, err = hold(self); err != nil {
		return b, err
	}
	if b.Shim, err = hold(shim); err != nil {
		return b, err
	}
	if err := unix.Chroot(dir); err != nil {
		return b, fmt.Errorf("chroot %s: %w; it needs CAP_SYS_CHROOT", dir, err)
	}
	// The image's PATH is of no use here, and exec searches this process's PATH.
	if err := os.Setenv("PATH", hostPath); err != nil {
		return b, err
	}
	return b, os.Chdir("/")
}

// hold opens a file for the lifetime of this process, and returns a path to the file that is
// valid in any root with /proc.
func hold(name string) (string, error) {
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("open %s: %w", name, err)
	}
	return fmt.Sprintf("/proc/self/fd/%d", fd), nil
}

// BPFMounted reports whether the BPF file system is mounted on /sys/fs/bpf. A container that
// mounts one there has its own, which ends with the container.
func BPFMounted() bool {
	var fs unix.Statfs_t
	return unix.Statfs("/sys/fs/bpf", &fs) == nil && fs.Type == unix.BPF_FS_MAGIC
}
