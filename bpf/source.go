package bpf

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/oomwitness/oomwitness/oom"
)

// SourceName is the ledger's name in verdicts, records and log lines.
const SourceName = "ledger"

// Source is the ledger as evidence. One serves all containers of a process; it
// opens the ledger when it is first needed, and again when it was replaced.
type Source struct {
	dir string
	h   oom.Hierarchy

	// mu guards ledger. It is held while the ledger is asked, which takes
	// microseconds and never waits.
	mu     sync.Mutex
	ledger *Ledger // nil while none is open
}

var _ oom.Source = (*Source)(nil)

// NewSource returns the source that reads the ledger pinned in dir (DefaultDir if
// empty), for containers on the hierarchy h. There need not be a ledger yet:
// Arm returns an error if there is none.
func NewSource(dir string, h oom.Hierarchy) *Source {
	if dir == "" {
		dir = DefaultDir
	}
	return &Source{dir: dir, h: h}
}

// Name implements oom.Source.
func (s *Source) Name() string { return SourceName }

// Close lets go of the ledger. Probes may still be read, and open it again.
func (s *Source) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closeLocked()
}

func (s *Source) closeLocked() error {
	if s.ledger == nil {
		return nil
	}
	err := s.ledger.Close()
	s.ledger = nil
	return err
}

// While a ledger of another ABI takes over there is a moment without answers.
const (
	handoverWait = 2 * time.Second
	handoverPoll = 5 * time.Millisecond
)

// ask runs f on the ledger in force, again on its successor where it was
// replaced meanwhile: what f found holds when ask returns no error.
func (s *Source) ask(f func(*Ledger) error) error {
	for deadline := time.Now().Add(handoverWait); ; time.Sleep(handoverPoll) {
		err := s.askOnce(f)
		if !errors.Is(err, ErrRetired) || errors.Is(err, ErrAbsent) || time.Now().After(deadline) {
			return err
		}
		if !s.replaced() {
			return err
		}
	}
}

func (s *Source) askOnce(f func(*Ledger) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ledger == nil {
		l, err := Open(s.dir)
		if err != nil {
			return err
		}
		s.ledger = l
	}
	err := s.ledger.samePIDs()
	if err == nil {
		err = f(s.ledger)
	}
	if err == nil {
		err = s.ledger.Whole()
	}
	if errors.Is(err, ErrRetired) {
		_ = s.closeLocked() // read-only maps: nothing can be lost
	}
	return err
}

// forget has the ledger forget an init. Where no ledger is open or it was replaced, a
// later sweep does.
func (s *Source) forget(init TaskKey) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ledger == nil {
		return nil
	}
	return s.ledger.unwatch(init)
}

// replaced reports whether another ledger is in force, or is just taking over.
func (s *Source) replaced() bool {
	g, err := currentGeneration(s.dir)
	if err != nil {
		return false
	}
	meta, err := g.openMap(mapMeta, true)
	if err != nil {
		return false
	}
	defer discard(meta)
	m, err := about(meta)
	if err != nil || m.State == stateRetired {
		return false
	}
	if m.State == stateRetiring {
		return true
	}
	_, err = g.links()
	return err == nil && m.ABI == ABI
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
