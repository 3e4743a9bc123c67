//go:build linux

package shim

import "sync"

// counters counts what went wrong since this shim was started, by name. The total
// goes into the log line of each occurrence, so that one line distinguishes a
// rare fault from a steady one. The names are constants of this package.
type counters struct {
	mu     sync.Mutex // guards counts
	counts map[string]uint64
}

func newCounters() *counters { return &counters{counts: make(map[string]uint64)} }

// add counts one occurrence and returns the total.
func (t *counters) add(what string) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counts[what]++
	return t.counts[what]
}

// of returns the total.
func (t *counters) of(what string) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.counts[what]
}
