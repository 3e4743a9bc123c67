// Package recall keeps over a restart what the agent knows of cgroups, containers
// and pods, so that the victims of a kill while no agent ran have their names also
// where container and pod have ended meanwhile.
//
// It is a file of lines of JSON. What is new is added to its end within a tenth of a
// second, many changes by one write: a snapshot now and then would miss what came
// since the last, which is the youngest containers. A file that has grown is
// written anew, and renamed over the old one. It is never flushed to disk: the death
// of the agent takes nothing from it that was written, and after one of the node it
// is of another boot, and worth nothing.
package recall

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/oomwitness/oomwitness/agent/cgroups"
	"github.com/oomwitness/oomwitness/agent/containers"
	"github.com/oomwitness/oomwitness/agent/pods"
)

// Source knows things of one kind. Its methods may be called concurrently.
type Source[T any] interface {
	// Recall takes what an earlier agent knew, before the source learns anything
	// itself.
	Recall(list []T)
	// Notify has f called with all that is new or has changed from now on.
	Notify(f func(T))
	// All gives what is known, what was removed in the last minutes included.
	All() []T
}

// Options of a Keeper.
type Options struct {
	// Dir is the agent's state directory, which is there and nobody else's. Boot is
	// the boot's ID.
	Dir, Boot string
	// Kubelet says which cgroups are pods'; nil for its default.
	Kubelet *cgroups.Kubelet
	// Pods is nil without Kubernetes.
	Cgroups    Source[cgroups.Known]
	Containers Source[containers.Known]
	Pods       Source[pods.Known]
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

// Keeper keeps what its sources know. Run is called once.
type Keeper struct {
	o      Options
	file   file // of Run's goroutine
	failed bool // the last write, and it was said

	wake chan struct{}

	mu      sync.Mutex // guards what follows
	pending []byte
	// whole says that the file is to be written anew, with what is not pending.
	whole bool
}

// Open has the sources recall what an earlier agent of this boot has left, and
// listens to them. A file that can't be read is as none.
func Open(o Options) *Keeper {
	k := &Keeper{o: o, file: file{dir: o.Dir}, wake: make(chan struct{}, 1), whole: true}
	left, damaged, err := k.file.read(o.Boot)
	if err != nil {
		o.Warn(fmt.Errorf("names of an earlier agent: %w", err))
	}
	if damaged > 0 {
		o.Warn(fmt.Errorf("names of an earlier agent: %d lines are damaged and left out", damaged))
	}
	left = left.fresh(time.Now(), o.Kubelet)
	o.Cgroups.Recall(left.cgroups)
	o.Containers.Recall(left.containers)
	o.Cgroups.Notify(func(c cgroups.Known) { k.note(line{Cgroup: &c}) })
	o.Containers.Notify(func(c containers.Known) { k.note(line{Container: &c}) })
	if o.Pods != nil {
		o.Pods.Recall(left.pods)
		o.Pods.Notify(func(p pods.Known) { k.note(line{Pod: &p}) })
	}
	return k
}

// note adds a line to what is to be written. It does not wait for the disk.
func (k *Keeper) note(l line) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.whole {
		return // all will be written
	}
	k.pending = l.appendTo(k.pending)
	if len(k.pending) > maxPending {
		k.pending, k.whole = nil, true
	}
	k.signal()
}

// signal has Run write.
func (k *Keeper) signal() {
	select {
	case k.wake <- struct{}{}:
	default: // it will
	}
}

// Run writes until ctx ends.
func (k *Keeper) Run(ctx context.Context) {
	defer k.file.close()
	for {
		pause := coalesce
		if !k.flush() {
			pause = again
			k.signal() // also if nothing changes
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
		select {
		case <-k.wake:
		case <-ctx.Done():
			k.flush()
			return
		}
	}
}

// flush writes what is pending, or all.
func (k *Keeper) flush() bool {
	grown := k.file.grown()
	k.mu.Lock()
	pending, whole := k.pending, k.whole || grown
	k.pending, k.whole = nil, false // what comes from now on is added again
	k.mu.Unlock()
	var err error
	if whole {
		err = k.file.renew(k.o.Boot, k.all())
	} else {
		err = k.file.add(pending)
	}
	if err != nil && !k.failed {
		k.o.Warn(fmt.Errorf("names are not kept for the next agent: %w", err))
	}
	if k.failed = err != nil; k.failed {
		k.mu.Lock()
		k.pending, k.whole = nil, true
		k.mu.Unlock()
	}
	return err == nil
}

// all is what the sources know. None of them is asked with the lock held: they note
// what is new with their own.
func (k *Keeper) all() knowledge {
	now := knowledge{cgroups: k.o.Cgroups.All(), containers: k.o.Containers.All()}
	if k.o.Pods != nil {
		now.pods = k.o.Pods.All()
	}
	return now.fresh(time.Now(), k.o.Kubelet)
}
