package oom

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

// ErrReading is returned while a reading is under way, which may hang.
var ErrReading = errors.New("a reading is under way")

// Checkpointer is a probe that can be written to a checkpoint, from which another
// process goes on when this process is dead.
type Checkpointer interface {
	Probe
	// Checkpoint returns the baseline and the last evidence. It never waits: while a
	// reading is under way it returns ErrReading.
	Checkpoint() ([]byte, error)
}

// Resumer is a source that makes a probe from a checkpoint of one of its probes.
type Resumer interface {
	Source
	// Resume returns a probe with the baseline in the checkpoint. The process and
	// the cgroup may be gone: then Read returns the error.
	Resume(checkpoint []byte) (Probe, error)
}

var (
	_ Checkpointer = (*counterProbe)(nil)
	_ Resumer      = (*counterSource)(nil)
)

// checkpointedCounters is the checkpoint of a counterProbe.
type checkpointedCounters struct {
	Cgroup    string                 `json:"cgroup"` // below the mount
	Inode     uint64                 `json:"inode"`
	Pod       bool                   `json:"pod,omitempty"`
	Base      Counters               `json:"base"`
	Mark      Counters               `json:"mark"`
	Lost      uint64                 `json:"lost,omitempty"`
	Ancestors []checkpointedAncestor `json:"ancestors,omitempty"`
	Last      countedEvidence        `json:"last"`
}

// countedEvidence is what an Evidence of a source that only counts can have. JSON's encoder
// for the whole type would stay in the memory of every shim, 20 KB.
type countedEvidence struct {
	Kills, Twice uint64
	Last         time.Time
	Cause        Cause
	Gone         bool
}

type checkpointedAncestor struct {
	Baseline Counters `json:"baseline"`
	Readable bool     `json:"readable"`
}

// Checkpoint implements Checkpointer.
func (p *counterProbe) Checkpoint() ([]byte, error) {
	if !p.mu.TryLock() {
		return nil, ErrReading
	}
	defer p.mu.Unlock()
	k := checkpointedCounters{Cgroup: p.below, Inode: p.inode, Base: p.base, Mark: p.mark, Lost: p.lost, Last: countedEvidence{
		Kills: p.last.Kills, Twice: p.last.Twice, Last: p.last.Last, Cause: p.last.Cause, Gone: p.last.Gone,
	}}
	if m, ok := p.meter.(*v2Meter); ok {
		k.Pod = m.pod
		for _, a := range m.ancestors {
			k.Ancestors = append(k.Ancestors, checkpointedAncestor{a.baseline, a.readable})
		}
	}
	return json.Marshal(k)
}

// Resume implements Resumer.
func (s *counterSource) Resume(checkpoint []byte) (Probe, error) {
	var k checkpointedCounters
	if err := json.Unmarshal(checkpoint, &k); err != nil {
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
		if err := v2.resume(k.Ancestors); err != nil {
			return nil, fmt.Errorf("resume %s of %s: %w", s.name, k.Cgroup, err)
		}
	}
	return &counterProbe{
		dir: filepath.Join(s.h.Mount, k.Cgroup), below: k.Cgroup, inode: k.Inode,
		meter: m, base: k.Base, mark: k.Mark, lost: k.Lost, last: Evidence{
			Source: s.name, Kills: k.Last.Kills, Twice: k.Last.Twice, Last: k.Last.Last, Cause: k.Last.Cause, Gone: k.Last.Gone,
		},
	}, nil
}
