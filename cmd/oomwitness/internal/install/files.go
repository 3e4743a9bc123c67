package install

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/criconf"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/docker"
)

// source is a file's new content; each call gives a fresh reader.
type source func() (io.ReadCloser, error)

func fileSource(name string) source {
	return func() (io.ReadCloser, error) { return os.Open(name) }
}

func bytesSource(data []byte) source {
	return func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }
}

// same reports whether the file at target has this content already.
func (s source) same(target string) (bool, error) {
	want, err := s()
	if err != nil {
		return false, err
	}
	defer want.Close()
	have, err := os.Open(target)
	if err != nil {
		return false, err
	}
	defer have.Close()
	a, b := make([]byte, 1<<16), make([]byte, 1<<16)
	for {
		n, errA := io.ReadFull(want, a)
		m, errB := io.ReadFull(have, b)
		if n != m || !bytes.Equal(a[:n], b[:m]) {
			return false, nil
		}
		if atEnd(errA) && atEnd(errB) {
			return true, nil
		}
		if err := errors.Join(errA, errB); err != nil {
			return false, err
		}
	}
}

func atEnd(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// replace puts new content at target, so that a reader, or a crash, sees the
// old file or the new one. A running binary can be replaced: its processes
// keep the old inode.
func replace(target string, from source, mode fs.FileMode) error {
	return replaceOwned(target, from, mode, os.Geteuid(), os.Getegid(), nil)
}

// replaceOwned is replace for a file that belongs to somebody, and has attributes.
func replaceOwned(target string, from source, mode fs.FileMode, uid, gid int, has attributes) (err error) {
	dir := filepath.Dir(target)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	content, err := from()
	if err != nil {
		return err
	}
	defer content.Close()
	temp, err := os.CreateTemp(dir, "."+filepath.Base(target)+".*.tmp")
	if err != nil {
		return err
	}
	defer func() {
		temp.Close()
		if err != nil {
			_ = os.Remove(temp.Name())
		}
	}()
	if _, err := io.Copy(temp, content); err != nil {
		return err
	}
	if uid != os.Geteuid() || gid != os.Getegid() {
		if err := temp.Chown(uid, gid); err != nil {
			return err
		}
	}
	// After the write: the umask does not apply to chmod.
	if err := temp.Chmod(mode); err != nil {
		return err
	}
	if err := has.set(temp); err != nil {
		return err
	}
	if err := temp.Sync(); err != nil {
		return err
	}
	return moveTo(target, temp.Name())
}

// moveTo moves a file of the same folder to target.
func moveTo(target, from string) error {
	if err := os.Rename(from, target); err != nil {
		return notReplaced(target, err)
	}
	return syncDir(filepath.Dir(target))
}

// notReplaced adds to the error of a rename or a removal why a file in a folder that can be
// written cannot be replaced.
func notReplaced(target string, err error) error {
	switch {
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("%s is a mount of its own, and is edited where it comes from: %w", target, err)
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("%s or its folder is immutable or append-only (chattr -i -a takes the attributes away): %w", target, err)
	}
	return err
}

// sweep removes what a killed install has left beside the files that install and uninstall
// write. The caller holds the lock: no other install writes.
func (o Options) sweep() {
	names := []string{
		o.shimPath(), o.commandPath(), o.signPath(), o.dropinPath(), o.variablePath(), copyPath, SettingsPath,
		cmp.Or(o.Docker.Config, docker.DefaultConfig),
	}
	for _, unit := range []string{UnitName, AgentUnitName} {
		names = append(names, o.unitPath(unit), o.wantPath(unit))
	}
	config, err := criconf.Load(o.Root, o.MainConfig, "")
	if err != nil {
		config = criconf.Config{} // what is wrong with it is said elsewhere
	}
	for _, name := range append(o.ownersFiles(config), names...) {
		removeStale(o.Root.Entry(name))
		removeStale(o.real(name)) // at the end of links
	}
}

// removeStale removes what a killed install has left beside one file: files, and links beside a
// link that enables a unit.
func removeStale(target string) {
	left, err := filepath.Glob(filepath.Join(filepath.Dir(target), "."+filepath.Base(target)+".*.tmp"))
	if err != nil {
		return // a name with a bracket: nothing that install writes has one
	}
	for _, name := range left {
		if info, err := os.Lstat(name); err == nil && !info.IsDir() {
			_ = os.Remove(name)
		}
	}
}

// syncDir makes a rename in dir last through a power cut.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// running lists the processes that execute the installed shim, also those that
// execute a version of it that was replaced since (the kernel appends " (deleted)"
// to the link). One that can't be looked at is an error, but below a root that
// runs nothing, and where its name is not the shim's.
func (o Options) running() ([]string, error) {
	proc, path := cmp.Or(o.Proc, "/proc"), o.Root.Path(o.shimPath())
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	links, err := filepath.Glob(filepath.Join(proc, "[0-9]*", "exe"))
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var pids []int
	for _, link := range links {
		exe, err := os.Readlink(link)
		switch {
		case errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH):
			continue // one of the kernel's, or it has ended
		case errors.Is(err, fs.ErrPermission) && (!o.Root.Running() || otherName(filepath.Dir(link))):
			continue
		case err != nil:
			return nil, fmt.Errorf("see which shims run: %w; it needs CAP_SYS_PTRACE; --force goes on without", err)
		case strings.TrimSuffix(exe, " (deleted)") != path:
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(link))); err == nil {
			pids = append(pids, pid)
		}
	}
	sort.Ints(pids)
	out := make([]string, len(pids))
	for i, pid := range pids {
		out[i] = strconv.Itoa(pid)
	}
	return out, nil
}

// otherName reports whether a process has another name than the shim, to which the
// kernel returns the first 15 bytes of its file's name (proc_pid_comm(5)).
func otherName(process string) bool {
	name, err := os.ReadFile(filepath.Join(process, "comm"))
	return err == nil && strings.TrimSpace(string(name)) != criconf.ShimName[:15]
}
