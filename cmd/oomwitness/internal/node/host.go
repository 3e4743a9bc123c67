package node

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/criconf"
)

// Binaries are what is installed, by paths that stay good when the root changes.
type Binaries struct{ Command, Shim string }

// hostPath is where a host has its programs.
const hostPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Enter makes the host's tree, mounted at dir, the root of this process: what
// follows sees the host's files, processes and sockets by the host's own paths,
// and runs the host's programs with the host's libraries. "/" changes nothing.
// The binaries to install are opened before, from this process's own tree; an
// empty shim is the one beside this command.
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
	// The image's own PATH leads nowhere here, and exec looks at this process's.
	if err := os.Setenv("PATH", hostPath); err != nil {
		return b, err
	}
	return b, os.Chdir("/")
}

// hold opens a file for the life of this process and gives a path to it that any
// root with /proc in it resolves.
func hold(name string) (string, error) {
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("open %s: %w", name, err)
	}
	return fmt.Sprintf("/proc/self/fd/%d", fd), nil
}

// BPFMounted reports whether the BPF file system is on /sys/fs/bpf. One that a
// container mounts there is its own, and ends with it.
func BPFMounted() bool {
	var fs unix.Statfs_t
	return unix.Statfs("/sys/fs/bpf", &fs) == nil && fs.Type == unix.BPF_FS_MAGIC
}
