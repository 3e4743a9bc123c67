package bpf

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/oomwitness/oomwitness/oom"
)

var (
	_ oom.Checkpointer = (*probe)(nil)
	_ oom.Resumer      = (*Source)(nil)
)

// checkpoint is the state of a probe. The evidence is in the ledger.
type checkpoint struct {
	TGID       uint32          `json:"tgid"`
	StartTicks uint64          `json:"startTicks"`
	ArmedNS    uint64          `json:"armedNs"`
	Cgroup     uint64          `json:"cgroup"`
	Above      []uint64        `json:"above"`
	Pod        bool            `json:"pod,omitempty"`
	Base       uint64          `json:"base"`
	Seen       *uint64         `json:"seen,omitempty"` // Base where it is missing
	Kills      uint64          `json:"kills,omitempty"`
	ShimTGID   uint32          `json:"shimTgid,omitempty"`
	ShimTicks  uint64          `json:"shimStartTicks,omitempty"`
	NodePIDs   bool            `json:"nodePids,omitempty"`
	Watched    bool            `json:"watched,omitempty"`
	Tasks      uint64          `json:"tasks"`
	Cgroups    uint64          `json:"cgroups"`
	Execs      []execProcess   `json:"execs,omitempty"`
	Limits     json.RawMessage `json:"limits,omitempty"`
}

// Checkpoint implements oom.Checkpointer.
func (p *probe) Checkpoint() ([]byte, error) {
	if !p.mu.TryLock() {
		return nil, oom.ErrReading
	}
	defer p.mu.Unlock()
	k := checkpoint{
		TGID: p.family.init.TGID, StartTicks: p.family.init.StartTicks, ArmedNS: p.armedNS,
		ShimTGID: p.family.shim.TGID, ShimTicks: p.family.shim.StartTicks, NodePIDs: p.family.nodePIDs,
		Cgroup: p.place.cgroup, Above: p.place.above, Pod: p.place.pod,
		Base: p.base, Seen: &p.seen, Kills: p.last.Kills, Tasks: p.tasks, Cgroups: p.cgroups, Watched: p.watched,
	}
	if limits, ok := p.limits.(oom.Checkpointer); ok { // only p reads them
		var err error
		if k.Limits, err = limits.Checkpoint(); err != nil {
			return nil, err
		}
	}
	p.execs.Lock()
	k.Execs = p.execd
	data, err := json.Marshal(k)
	p.execs.Unlock()
	return data, err
}

// Resume implements oom.Resumer. If there is no ledger any more, Read returns the
// error.
func (s *Source) Resume(data []byte) (oom.Probe, error) {
	var k checkpoint
	if err := json.Unmarshal(data, &k); err != nil {
		return nil, fmt.Errorf("resume %s: %w", SourceName, err)
	}
	if k.TGID == 0 || k.Cgroup == 0 || k.ArmedNS == 0 {
		return nil, fmt.Errorf("resume %s: %w", SourceName, errors.New("process, cgroup or time is missing"))
	}
	p := &probe{
		source: s, armedNS: k.ArmedNS,
		place: place{cgroup: k.Cgroup, above: k.Above, pod: k.Pod},
		family: family{
			init:     TaskKey{TGID: k.TGID, StartTicks: k.StartTicks},
			shim:     TaskKey{TGID: k.ShimTGID, StartTicks: k.ShimTicks},
			nodePIDs: k.NodePIDs,
		},
		base: k.Base, seen: k.Base, tasks: k.Tasks, cgroups: k.Cgroups, watched: k.Watched,
		execd: k.Execs,
		last:  oom.Evidence{Source: SourceName, Init: oom.No, Kills: k.Kills},
	}
	if k.Seen != nil {
		p.seen = *k.Seen
	}
	if k.Limits == nil {
		return p, nil
	}
	counters, err := oom.NewCounters(s.h)
	if err != nil {
		return nil, fmt.Errorf("resume %s: %w", SourceName, err)
	}
	// Without them the cause is unknown, as it is where they can't be armed.
	if limits, err := counters.(oom.Resumer).Resume(k.Limits); err == nil {
		p.limits = limits
	}
	return p, nil
}
