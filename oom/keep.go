package oom

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
)

// ErrReading says that a reading is under way, which may hang.
var ErrReading = errors.New("a reading is under way")

// Keeper is a probe that can be written down, for another process to go on with
// when this one is dead.
type Keeper interface {
	Probe
	// Keep gives the baseline and what was read so far. It never waits: where a
	// reading is under way it gives ErrReading.
	Keep() ([]byte, error)
}

// Resumer is a source that goes on with what one of its probes has kept.
type Resumer interface {
	Source
	// Resume gives a probe with the baseline of the one that kept it. Its process
	// and its cgroup may be gone: that is for Read to say.
	Resume(kept []byte) (Probe, error)
}

var (
	_ Keeper  = (*counterProbe)(nil)
	_ Resumer = (*counterSource)(nil)
)

// keptCounters is what a counterProbe keeps.
type keptCounters struct {
	Cgroup    string         `json:"cgroup"` // below the mount
	Inode     uint64         `json:"inode"`
	Pod       bool           `json:"pod,omitempty"`
	Base      Counters       `json:"base"`
	Mark      Counters       `json:"mark"`
	Ancestors []keptAncestor `json:"ancestors,omitempty"`
	Last      Evidence       `json:"last"`
}

type keptAncestor struct {
	Baseline Counters `json:"baseline"`
	Readable bool     `json:"readable"`
}

// Keep implements Keeper.
func (p *counterProbe) Keep() ([]byte, error) {
	if !p.mu.TryLock() {
		return nil, ErrReading
	}
	defer p.mu.Unlock()
	k := keptCounters{Cgroup: p.below, Inode: p.inode, Base: p.base, Mark: p.mark, Last: p.last}
	if m, ok := p.meter.(*v2Meter); ok {
		k.Pod = m.pod
		for _, a := range m.ancestors {
			k.Ancestors = append(k.Ancestors, keptAncestor{a.baseline, a.readable})
		}
	}
	return json.Marshal(k)
}

// Resume implements Resumer.
func (s *counterSource) Resume(kept []byte) (Probe, error) {
	var k keptCounters
	if err := json.Unmarshal(kept, &k); err != nil {
		return nil, fmt.Errorf("resume %s: %w", s.name, err)
	}
	if path, err := checkCgroupPath(k.Cgroup); err != nil || path != k.Cgroup || strings.HasSuffix(path, "/") {
		return nil, errors.Join(fmt.Errorf("resume %s: not a cgroup: %q", s.name, k.Cgroup), err)
	}
	m, err := s.open(s.h, k.Cgroup, k.Pod)
	if err != nil {
		return nil, fmt.Errorf("resume %s: %w", s.name, err)
	}
	if v2, ok := m.(*v2Meter); ok {
		if len(v2.ancestors) != len(k.Ancestors) {
			return nil, fmt.Errorf("resume %s: %d ancestors were kept, %s has %d", s.name, len(k.Ancestors), k.Cgroup, len(v2.ancestors))
		}
		for i, a := range k.Ancestors {
			v2.ancestors[i].baseline, v2.ancestors[i].readable = a.Baseline, a.Readable
		}
	}
	k.Last.Source = s.name
	return &counterProbe{
		dir: filepath.Join(s.h.Mount, k.Cgroup), below: k.Cgroup, inode: k.Inode,
		meter: m, base: k.Base, mark: k.Mark, last: k.Last,
	}, nil
}
