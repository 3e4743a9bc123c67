//go:build linux

package shim

import (
	"sync"
	"sync/atomic"
)

// counters counts what went wrong since this shim was started, by name. The total
// goes into the log line of each occurrence, so that one line distinguishes a
// rare fault from a steady one. The names are constants of this project.
type counters struct{ counts sync.Map } // of *atomic.Uint64

// add counts one occurrence and returns the total.
func (c *counters) add(what string) uint64 { return c.counter(what).Add(1) }

// of returns the total.
func (c *counters) of(what string) uint64 { return c.counter(what).Load() }

func (c *counters) counter(what string) *atomic.Uint64 {
	n, _ := c.counts.LoadOrStore(what, new(atomic.Uint64))
	return n.(*atomic.Uint64)
}
