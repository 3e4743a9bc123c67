package store

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/oomwitness/oomwitness/agent/internal/cgroups"
)

// Cgroups knows cgroups: a cgroups.Watcher. Its methods may be called concurrently.
type Cgroups interface {
	// Restore takes what an earlier agent knew, before the watch begins.
	Restore(list []cgroups.Known)
	// Notify has f called with all that is new or has changed from now on.
	Notify(f func(cgroups.Known))
	// All returns what is known, what was removed in the last minutes included.
	All() []cgroups.Known
}

// CheckpointOptions of OpenCheckpoint.
type CheckpointOptions struct {
	// Dir is the agent's state directory, which is there and nobody else's. Boot is
	// the boot's ID.
	Dir, Boot string
	Cgroups   Cgroups
	// Warn receives what goes wrong: names may be missing after a restart, and nothing
	// else.
	Warn func(error)
}

const (
	// coalesce is how long changes wait for others.
	coalesce = 100 * time.Millisecond
	// again is when a file that could not be written is tried again.
	again = 10 * time.Second
	// maxPending bounds what waits for the disk, in bytes. Above it the file is
	// written anew.
	maxPending = 1 << 20
	// mayGrow is how much is added at least before the file is written anew, and else
	// as much as it then had: each line is written twice, on average.
	mayGrow = 1 << 20
)

// Checkpoint keeps over a restart what the agent knows of cgroups, so that the victims of
// a kill while no agent ran are known by pod and container also where the cgroup was
// removed meanwhile. Their names come from the API server and containerd then, if these
// still have the pod.
//
// Checkpoint writes a file of lines of JSON. What is new is added to its end within a
// tenth of a second, many changes by one write: a snapshot now and then would miss what
// came since the last, which is the youngest containers. A file that has grown is
// written anew, and renamed over the old one. It is never flushed to disk: the death
// of the agent takes nothing from it that was written, and after one of the node it
// is of another boot, and worth nothing. Run is called once.
type Checkpoint struct {
	o      CheckpointOptions
	file   file // of Run's goroutine
	failed bool // the last write, and it was said

	wake chan struct{}

	mu      sync.Mutex // guards what follows
	pending []byte
	// whole says that the file is to be written anew, with what is not pending.
	whole bool
}

// OpenCheckpoint returns a Checkpoint of cgroups: it restores into them what an earlier
// agent of this boot has checkpointed, and subscribes to their changes. A file that
// can't be read is as none, and Warn receives the error.
func OpenCheckpoint(o CheckpointOptions) *Checkpoint {
	c := &Checkpoint{o: o, file: file{dir: o.Dir}, wake: make(chan struct{}, 1), whole: true}
	left, damaged, err := c.file.read(o.Boot)
	if err != nil {
		o.Warn(fmt.Errorf("checkpoint of an earlier agent: %w", err))
	}
	if damaged > 0 {
		o.Warn(fmt.Errorf("checkpoint of an earlier agent: %d lines are damaged and left out", damaged))
	}
	o.Cgroups.Restore(fresh(left, time.Now()))
	o.Cgroups.Notify(c.note)
	return c
}

// note adds a line to what is to be written. It does not wait for the disk.
func (c *Checkpoint) note(k cgroups.Known) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.whole {
		return // all will be written
	}
	c.pending = appendKnown(c.pending, k)
	if len(c.pending) > maxPending {
		c.pending, c.whole = nil, true
	}
	c.signal()
}

// signal has Run write.
func (c *Checkpoint) signal() {
	select {
	case c.wake <- struct{}{}:
	default: // it will
	}
}

// Run writes until ctx ends.
func (c *Checkpoint) Run(ctx context.Context) {
	defer c.file.close()
	for {
		pause := coalesce
		if !c.flush() {
			pause = again
			c.signal() // also if nothing changes
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
		select {
		case <-c.wake:
		case <-ctx.Done():
			c.flush()
			return
		}
	}
}

// flush writes what is pending, or all.
func (c *Checkpoint) flush() bool {
	grown := c.file.grown()
	c.mu.Lock()
	pending, whole := c.pending, c.whole || grown
	c.pending, c.whole = nil, false // what comes from now on is added again
	c.mu.Unlock()
	var err error
	if whole {
		// With no lock held: the cgroups note what is new with their own.
		err = c.file.renew(c.o.Boot, fresh(c.o.Cgroups.All(), time.Now()))
	} else {
		err = c.file.add(pending)
	}
	if err != nil && !c.failed {
		c.o.Warn(fmt.Errorf("the checkpoint is not written: %w", err))
	}
	if c.failed = err != nil; c.failed {
		c.mu.Lock()
		c.pending, c.whole = nil, true
		c.mu.Unlock()
	}
	return err == nil
}
