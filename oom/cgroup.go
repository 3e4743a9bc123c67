package oom

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// maxProcFile bounds what is read of a proc or cgroup file. The largest honest
// one, /proc/PID/cgroup on cgroup v1, has a line of at most PATH_MAX for each of
// some fifteen hierarchies.
const maxProcFile = 128 << 10

// memoryController is the controller's name in /proc/PID/cgroup, in the mount
// options of cgroup v1 and in cgroup.controllers.
const memoryController = "memory"

// Hierarchy is where the kernel's memory controller is mounted.
type Hierarchy struct {
	// Version is 1 or 2.
	Version int
	// Mount is the mount point, such as /sys/fs/cgroup or
	// /sys/fs/cgroup/memory.
	Mount string
	// Proc is the proc filesystem, /proc if empty.
	Proc string
}

// FindHierarchy looks for the memory controller in the mount table: a cgroup v1
// mount that carries it if there is one (hybrid set-ups leave it there), else
// the cgroup v2 mount if memory is among its controllers.
func FindHierarchy() (Hierarchy, error) {
	mounts, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("cgroup", "cgroup2"))
	if err != nil {
		return Hierarchy{}, fmt.Errorf("find the memory controller: %w", err)
	}
	var unified string
	for _, m := range mounts {
		if m.FSType == "cgroup" && slices.Contains(strings.Split(m.VFSOptions, ","), memoryController) {
			return Hierarchy{Version: 1, Mount: m.Mountpoint}, nil
		}
		if m.FSType == "cgroup2" && unified == "" {
			unified = m.Mountpoint
		}
	}
	if unified == "" {
		return Hierarchy{}, errors.New("find the memory controller: no cgroup mount carries it; boot without cgroup_disable=memory and mount cgroup2 on /sys/fs/cgroup")
	}
	controllers, err := readSmall(filepath.Join(unified, "cgroup.controllers"))
	if err != nil {
		return Hierarchy{}, fmt.Errorf("find the memory controller: %w", err)
	}
	if !slices.Contains(strings.Fields(string(controllers)), memoryController) {
		return Hierarchy{}, fmt.Errorf("find the memory controller: not among the controllers of %s (%s); boot without cgroup_disable=memory", unified, strings.TrimSpace(string(controllers)))
	}
	return Hierarchy{Version: 2, Mount: unified}, nil
}

// PathOf returns the path of a process's memory cgroup below h.Mount, from
// /proc/PID/cgroup.
func (h Hierarchy) PathOf(pid int) (string, error) {
	proc := h.Proc
	if proc == "" {
		proc = "/proc"
	}
	name := filepath.Join(proc, strconv.Itoa(pid), "cgroup")
	data, err := readSmall(name)
	if err != nil {
		return "", fmt.Errorf("cgroup of pid %d: %w", pid, err)
	}
	path, err := ParseProcCgroup(data, h.Version)
	if err != nil {
		return "", fmt.Errorf("cgroup of pid %d: %s: %w", pid, name, err)
	}
	return path, nil
}

// ParseProcCgroup finds the memory cgroup in the text of /proc/PID/cgroup:
// lines of hierarchy-ID:controllers:path (cgroups(7)). version says on which
// hierarchy memory is. The path is absolute and clean; one that leads out of
// the mount, as the kernel shows for a process outside the reader's cgroup
// namespace, is an error, and so is a removed cgroup.
func ParseProcCgroup(data []byte, version int) (string, error) {
	for line := range strings.SplitSeq(string(data), "\n") {
		fields := strings.SplitN(line, ":", 3)
		if len(fields) != 3 {
			continue
		}
		unified := fields[0] == "0" && fields[1] == ""
		if version == 2 && !unified {
			continue
		}
		if version == 1 && !slices.Contains(strings.Split(fields[1], ","), memoryController) {
			continue
		}
		return checkCgroupPath(fields[2])
	}
	return "", fmt.Errorf("no line for the memory controller on cgroup v%d", version)
}

func checkCgroupPath(path string) (string, error) {
	if path, deleted := strings.CutSuffix(path, " (deleted)"); deleted {
		return "", fmt.Errorf("%q: %w", path, ErrGone)
	}
	if !strings.HasPrefix(path, "/") || strings.ContainsRune(path, 0) {
		return "", fmt.Errorf("malformed cgroup path %q", path)
	}
	if slices.Contains(strings.Split(path, "/"), "..") {
		return "", fmt.Errorf("cgroup path %q leads out of this cgroup namespace", path)
	}
	return filepath.Clean(path), nil
}

// readSmall reads a whole proc or cgroup file, and refuses one that is larger
// than any honest one. It reads by plain system calls: an os.File costs four more, to
// find out that nothing has to be waited for.
func readSmall(name string) ([]byte, error) {
	fd, err := retried(func() (int, error) { return unix.Open(name, unix.O_RDONLY|unix.O_CLOEXEC, 0) })
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	defer unix.Close(fd) //nolint:errcheck // nothing was written
	data := make([]byte, 0, 512)
	for {
		n, err := retried(func() (int, error) { return unix.Read(fd, data[len(data):cap(data)]) })
		if err != nil {
			return nil, &os.PathError{Op: "read", Path: name, Err: err}
		}
		if n == 0 {
			return data, nil
		}
		if data = data[:len(data)+n]; len(data) > maxProcFile {
			return nil, fmt.Errorf("%s: larger than %d bytes", name, maxProcFile)
		}
		data = slices.Grow(data, 1)
	}
}

// retried makes a system call again for as long as a signal interrupts it.
func retried(call func() (int, error)) (int, error) {
	for {
		if n, err := call(); !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}
