package oom

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// oneEvent is how long the kills of one OOM event may take to be counted: a
// group kill goes through its victims one by one, while the limit that fired is
// counted once, before the first. Kills that follow so soon, with no limit to
// explain them, have the cause of those before.
const oneEvent = time.Second

// NewCounters returns the source that reads the memory cgroup's own counters, of
// whichever version h is.
func NewCounters(h Hierarchy) (Source, error) {
	switch h.Version {
	case 1:
		return &counterSource{name: "memory.oom_control", h: h, open: openV1}, nil
	case 2:
		return &counterSource{name: "memory.events", h: h, open: openV2}, nil
	default:
		return nil, fmt.Errorf("counters of cgroup v%d: only 1 and 2 are known", h.Version)
	}
}

// counterSource is the part that both cgroup versions share: baseline,
// differences, the time of a rise and a cgroup that goes away.
type counterSource struct {
	name string
	h    Hierarchy
	open func(h Hierarchy, path string, pod bool) (meter, error)
}

// meter reads one version's counter files. It is used under the probe's lock.
type meter interface {
	// read returns the cgroup's counters, those of cgroups nested in it included.
	read() (Counters, error)
	// explain says what the kills since the last call were due to, by how the
	// cgroup's own counters have risen since.
	explain(rise Counters) explanation
}

// explanation is what some kills were due to.
type explanation struct {
	// cause is whose limit fired: the node's where no limit did.
	cause Cause
	// twice is how many of the kills may be a victim that was counted before.
	twice uint64
}

func (s *counterSource) Name() string { return s.name }

// Arm implements Source.
func (s *counterSource) Arm(t Target) (Probe, error) {
	path, err := s.h.PathOf(t.Pid)
	if err != nil {
		return nil, fmt.Errorf("arm %s for %s: %w", s.name, t.ID, err)
	}
	dir := filepath.Join(s.h.Mount, path)
	inode, err := inodeOf(dir)
	if err != nil {
		return nil, fmt.Errorf("arm %s for %s: %w", s.name, t.ID, err)
	}
	m, err := s.open(s.h, path, t.Pod)
	if err != nil {
		return nil, fmt.Errorf("arm %s for %s: %w", s.name, t.ID, err)
	}
	base, err := m.read()
	if err != nil {
		return nil, fmt.Errorf("arm %s for %s: %w", s.name, t.ID, err)
	}
	return &counterProbe{
		dir: dir, below: path, inode: inode, meter: m, base: base, mark: base,
		last: Evidence{Source: s.name},
	}, nil
}

type counterProbe struct {
	dir   string
	below string // dir below the mount
	inode uint64 // distinguishes the cgroup from a later one of the same name

	// closed is apart from mu: a reading that hangs must not block Close.
	closed atomic.Bool

	// mu guards what follows. Readings are taken under it, so that they are in
	// order.
	mu    sync.Mutex
	meter meter
	base  Counters // at Arm
	mark  Counters // when kills last rose: oom rises a moment before oom_kill
	lost  uint64   // kills of nested cgroups that took their count with them (cgroup v1)
	last  Evidence // of the newest good reading
}

// Read implements Probe.
func (p *counterProbe) Read() (Evidence, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed.Load() {
		return p.last, os.ErrClosed
	}
	if err := p.sameCgroup(); err != nil {
		return p.missedLocked(err)
	}
	now, err := p.meter.read()
	if err != nil {
		return p.missedLocked(err)
	}
	p.lost = max(p.lost, p.mark.OOMKill-min(now.OOMKill, p.mark.OOMKill))
	now.OOMKill += p.lost
	if rise := now.sub(p.mark); rise.Victims() > 0 {
		p.mark = now
		why, seen := p.meter.explain(rise), time.Now()
		if why.cause != CauseNode || p.last.Last.IsZero() || seen.Sub(p.last.Last) > oneEvent {
			p.last.Cause = why.cause
		}
		p.last.Last = seen
		p.last.Twice += why.twice
	}
	p.last.Kills = now.sub(p.base).Victims()
	return p.last, nil
}

// missedLocked is the answer of a reading that failed. The mark of a cgroup
// that is gone stays, since it never comes back.
func (p *counterProbe) missedLocked(err error) (Evidence, error) {
	p.last.Gone = p.last.Gone || errors.Is(err, ErrGone)
	return p.last, err
}

func (p *counterProbe) sameCgroup() error {
	inode, err := inodeOf(p.dir)
	if err != nil {
		return err
	}
	if inode != p.inode {
		return fmt.Errorf("%s is another cgroup now: %w", p.dir, ErrGone)
	}
	return nil
}

// Close implements Probe.
func (p *counterProbe) Close() error {
	p.closed.Store(true)
	return nil
}

func inodeOf(dir string) (uint64, error) {
	fi, err := os.Stat(dir)
	if errors.Is(err, os.ErrNotExist) {
		return 0, fmt.Errorf("%s: %w", dir, ErrGone)
	}
	if err != nil {
		return 0, err
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, fmt.Errorf("%s: no inode number", dir)
	}
	return st.Ino, nil
}
