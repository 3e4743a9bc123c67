package oom

import (
	"errors"
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const oomControlFile = "memory.oom_control"

// maxNested bounds the walk over cgroups nested in a container's, which the
// container itself can make.
const maxNested = 256

// v1Meter reads oom_kill of memory.oom_control. Unlike cgroup v2 it counts only
// the cgroup's own processes, so nested cgroups are added up. One that was
// removed takes its count with it: the probe keeps what it has read of that.
//
// The file's eventfd is no evidence: an OOM at an ancestor's limit notifies
// every cgroup below (mm/memcontrol.c, mem_cgroup_oom_notify).
type v1Meter struct{ dir string }

func openV1(h Hierarchy, cgroup string, _ bool) (meter, error) {
	return &v1Meter{dir: filepath.Join(h.Mount, cgroup)}, nil
}

func (m *v1Meter) read() (Counters, error) {
	sum, err := readCounters(filepath.Join(m.dir, oomControlFile))
	if err != nil {
		return Counters{}, err
	}
	// A directory has a link for each directory in it, and two of its own (fs/kernfs/inode.c,
	// kernfs_refresh_inode).
	var st unix.Stat_t
	if err := unix.Stat(m.dir, &st); err == nil && st.Nlink == 2 {
		return sum, nil
	}
	walked := 0
	err = filepath.WalkDir(m.dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() || name == m.dir {
			return nil //nolint:nilerr // a nested cgroup that just went away is no error
		}
		if walked++; walked > maxNested {
			return fs.SkipAll
		}
		c, err := readCounters(filepath.Join(name, oomControlFile))
		if errors.Is(err, ErrGone) {
			return nil
		}
		sum.OOMKill += c.OOMKill
		return err
	})
	return sum, err
}

// explain knows no cause: cgroup v1 counts no OOMs of a limit, only kills. It has no
// group kills either.
func (m *v1Meter) explain(Counters) explanation { return explanation{cause: CauseUnknown} }
