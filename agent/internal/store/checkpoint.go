package store

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/oomwitness/oomwitness/agent/internal/cgroups"
	"github.com/oomwitness/oomwitness/agent/internal/resolve"
)

// Source knows things of one kind. Its methods may be called concurrently.
type Source[T any] interface {
	// Restore takes what an earlier agent knew, before the source learns anything
	// itself.
	Restore(list []T)
	// Notify has f called with all that is new or has changed from now on.
	Notify(f func(T))
	// All returns what is known, what was removed in the last minutes included.
	All() []T
}

// CheckpointOptions of OpenCheckpoint.
type CheckpointOptions struct {
	// Dir is the agent's state directory, which is there and nobody else's. Boot is
	// the boot's ID.
	Dir, Boot string
	// Kubelet says which cgroups are pods'; nil for its default.
	Kubelet *cgroups.Kubelet
	// Pods is nil without Kubernetes.
	Cgroups    Source[cgroups.Known]
	Containers Source[resolve.KnownContainer]
	Pods       Source[resolve.KnownPod]
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
	// as much as it then had: each known is written twice, on average.
	mayGrow = 1 << 20
)

// Checkpoint keeps over a restart what the agent knows of cgroups, containers
// and pods, so that the victims of a kill while no agent ran have their names also
// where container and pod have ended meanwhile.
//
// It is a file of lines of JSON. What is new is added to its end within a tenth of a
// second, many changes by one write: a snapshot now and then would miss what came
// since the last, which is the youngest containers. A file that has grown is
// written anew, and renamed over the old one. It is never flushed to disk: the death
// of the agent takes nothing from it that was written, and after one of the node it
// is of another boot, and worth nothing.
//
// Checkpoint writes what its sources know to that file. Run is called once.
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

// OpenCheckpoint returns a Checkpoint of the sources: it restores into them what an earlier
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
	left = left.fresh(time.Now(), o.Kubelet)
	o.Cgroups.Restore(left.cgroups)
	o.Containers.Restore(left.containers)
	o.Cgroups.Notify(func(k cgroups.Known) { c.note(known{Cgroup: &k}) })
	o.Containers.Notify(func(k resolve.KnownContainer) { c.note(known{Container: &k}) })
	if o.Pods != nil {
		o.Pods.Restore(left.pods)
		o.Pods.Notify(func(p resolve.KnownPod) { c.note(known{Pod: &p}) })
	}
	return c
}

// note adds a known to what is to be written. It does not wait for the disk.
func (c *Checkpoint) note(l known) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.whole {
		return // all will be written
	}
	c.pending = l.appendTo(c.pending)
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
		err = c.file.renew(c.o.Boot, c.all())
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

// all is what the sources know. None of them is asked with the lock held: they note
// what is new with their own.
func (c *Checkpoint) all() knowledge {
	now := knowledge{cgroups: c.o.Cgroups.All(), containers: c.o.Containers.All()}
	if c.o.Pods != nil {
		now.pods = c.o.Pods.All()
	}
	return now.fresh(time.Now(), c.o.Kubelet)
}
