//go:build linux

package shim

import "sync"

// tally counts what went wrong in this shim's life, by what it was. The total
// goes into the log line of each occurrence, so that one line tells a rare
// fault from a steady one. The names are constants of this package.
type tally struct {
	mu     sync.Mutex // guards counts
	counts map[string]uint64
}

func newTally() *tally { return &tally{counts: make(map[string]uint64)} }

// add counts one occurrence and gives the total.
func (t *tally) add(what string) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counts[what]++
	return t.counts[what]
}

// of gives the total.
func (t *tally) of(what string) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.counts[what]
}
