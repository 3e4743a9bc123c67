package bpf

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/oomwitness/oomwitness/oom"
)

// SourceName is the ledger's name in verdicts, records and log lines.
const SourceName = "ledger"

// Source is the ledger as evidence. One serves all containers of a process; it
// opens the ledger when it is first needed, and again when it was replaced.
type Source struct {
	handle *Handle
	h      oom.Hierarchy
}

var _ oom.Source = (*Source)(nil)

// NewSource returns the source that reads the ledger pinned in dir (DefaultDir if
// empty), for containers on the hierarchy h. There need not be a ledger yet:
// Arm returns an error if there is none.
func NewSource(dir string, h oom.Hierarchy) *Source {
	return &Source{handle: &Handle{dir: withDefault(dir), wait: handoverWait}, h: h}
}

// Name implements oom.Source.
func (s *Source) Name() string { return SourceName }

// Close lets go of the ledger. Probes may still be read, and open it again.
func (s *Source) Close() error {
	s.handle.Close()
	return nil
}

// handoverWait is how long a Source waits for the next ledger while one of another ABI
// takes over: for a moment there is none.
const handoverWait = 2 * time.Second

// ask runs f on the ledger in force: what f found holds when ask returns no error.
func (s *Source) ask(f func(*Ledger) error) error {
	return s.handle.ask(func(l *Ledger) error {
		if err := l.samePIDs(); err != nil {
			return err
		}
		return f(l)
	})
}

// forget has the ledger forget an init. Where no ledger is open or it was replaced, a
// later sweep does.
func (s *Source) forget(init TaskKey) error {
	return s.handle.peek(func(l *Ledger) error { return l.unwatch(init) })
}

// Arm implements oom.Source.
func (s *Source) Arm(t oom.Target) (oom.Probe, error) {
	p, err := s.arm(t)
	if err != nil {
		return nil, fmt.Errorf("arm %s for %s: %w", SourceName, t.ID, err)
	}
	return p, nil
}

func (s *Source) arm(t oom.Target) (*probe, error) {
	kin, err := familyOf(t.Pid)
	if err != nil {
		return nil, err
	}
	path, err := s.h.PathOf(t.Pid)
	if err != nil {
		return nil, err
	}
	where, err := placeOf(s.h.Mount, path, t.Pod)
	if err != nil {
		return nil, err
	}
	p := &probe{
		source: s, family: kin, place: where, armedNS: BootNow(),
		last: oom.Evidence{Source: SourceName, Init: oom.No},
	}
	err = s.ask(func(l *Ledger) error { return p.baseline(l, s.h.Version) })
	if err != nil {
		return nil, err
	}
	return p, p.armLimits(t)
}

// placeOf reads the IDs of a cgroup and of all above it, up to the mount.
func placeOf(mount, path string, pod bool) (place, error) {
	id, err := CgroupID(filepath.Join(mount, path))
	if errors.Is(err, os.ErrNotExist) {
		return place{}, fmt.Errorf("%s: %w", path, oom.ErrGone)
	}
	if err != nil {
		return place{}, err
	}
	p := place{cgroup: id, pod: pod}
	for path != "/" {
		path = filepath.Dir(path)
		id, err := CgroupID(filepath.Join(mount, path))
		if err != nil {
			return place{}, err
		}
		p.above = append(p.above, id)
	}
	return p, nil
}
