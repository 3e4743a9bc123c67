//go:build linux

package shim

import (
	"encoding/json"
	"fmt"
	"sync"

	"github.com/oomwitness/oomwitness/oom"
)

// fakeSource is evidence that a test sets.
type fakeSource struct {
	mu     sync.Mutex
	ev     map[string]oom.Evidence
	pids   map[string]int // armed
	err    error
	armErr error
	block  chan struct{} // readings hang until it is closed
	execs  []string      // what the probes have got of exec'd processes
	at     []uint64      // when
}

func (f *fakeSource) Name() string { return "fake" }

func (f *fakeSource) Arm(t oom.Target) (oom.Probe, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pids[t.ID] = t.Pid
	return &fakeProbe{f, t.ID}, f.armErr
}

func (f *fakeSource) set(id string, ev oom.Evidence) {
	f.mu.Lock()
	defer f.mu.Unlock()
	ev.Source = "fake"
	f.ev[id] = ev
}

func (f *fakeSource) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

func (f *fakeSource) pidOf(id string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.pids[id]
}

type fakeProbe struct {
	f  *fakeSource
	id string
}

func (p *fakeProbe) Read() (oom.Evidence, error) {
	if p.f.block != nil {
		<-p.f.block
	}
	p.f.mu.Lock()
	defer p.f.mu.Unlock()
	return p.f.ev[p.id], p.f.err
}

func (p *fakeProbe) Close() error { return nil }

// Execed implements oom.ExecWatcher.
func (p *fakeProbe) Execed(pid int, bootNS uint64, ended bool) {
	p.f.mu.Lock()
	defer p.f.mu.Unlock()
	p.f.at = append(p.f.at, bootNS)
	p.f.execs = append(p.f.execs, fmt.Sprintf("%s: %d %v", p.id, pid, ended))
}

// Resume implements oom.Resumer.
func (f *fakeSource) Resume(checkpointed []byte) (oom.Probe, error) {
	var id string
	if err := json.Unmarshal(checkpointed, &id); err != nil {
		return nil, err
	}
	return &fakeProbe{f, id}, nil
}

func (p *fakeProbe) Checkpoint() ([]byte, error) { return json.Marshal(p.id) }
