// Package agent reports every OOM kill on the node. The agent reads the ledger,
// resolves the victims, keeps its position in a journal, and passes each OOM event
// to its consumers.
package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/oomwitness/oomwitness/agent/cgroups"
	"github.com/oomwitness/oomwitness/agent/checkpoint"
	"github.com/oomwitness/oomwitness/agent/collect"
	"github.com/oomwitness/oomwitness/agent/containers"
	"github.com/oomwitness/oomwitness/agent/events"
	"github.com/oomwitness/oomwitness/agent/journal"
	"github.com/oomwitness/oomwitness/agent/pods"
	"github.com/oomwitness/oomwitness/agent/resolve"
	"github.com/oomwitness/oomwitness/bpf"
	"github.com/oomwitness/oomwitness/oom"
)

// Config says what an Agent is to do.
type Config struct {
	// Dir is where the ledger is pinned, LockDir its locks; the usual ones if empty.
	Dir, LockDir string
	// StateDir is where the position is kept, and what is known of who runs.
	StateDir string
	// Containerd is its socket, "" to do without.
	Containerd string
	// Kubelet says which cgroups are pods'; nil for its default.
	Kubelet *cgroups.Kubelet
	// Pods are the node's, nil without Kubernetes. Synced waits until they are
	// known, or ctx ends; may be nil.
	Pods resolve.Pods
	// PodsKept are the same Pods, if they are checkpointed; may be nil.
	PodsKept checkpoint.Source[pods.Known]
	Synced   func(ctx context.Context)
	// Consumers receive every OOM event; Tracked until it has done with each,
	// may be nil.
	Consumers []events.Consumer
	Tracked   events.Tracked
	// Beside are run beside, and have ended when the position is closed.
	Beside []func(ctx context.Context)
	// Log receives a line for every OOM event and for what goes wrong.
	Log *logrus.Logger
}

const (
	// syncWait is how long the pods are waited for at the start. Kills meanwhile
	// stay in the ledger.
	syncWait = 10 * time.Second
	// maxAge is how old an OOM event may be to be reported to log and Kubernetes:
	// an Event's usual life. maxAgeFresh holds without a journal: an earlier agent
	// may have reported the OOM event. Older OOM events are only counted.
	maxAge      = time.Hour
	maxAgeFresh = 10 * time.Minute
)

// Agent is one. Run is called once; Health and Done at any time.
type Agent struct {
	c      Config
	worth  time.Duration
	silent int // OOM events that were only counted, and not yet said so
	// dropped are the deliveries that the journal has given up, as last seen.
	dropped    uint64
	checkpoint *checkpoint.Checkpoint

	mu        sync.Mutex // guards what follows
	collector *collect.Collector
	journal   *journal.Journal
	watcher   *cgroups.Watcher
	names     *containers.Client
}

// New returns an Agent that is not running: see Run.
func New(c Config) *Agent { return &Agent{c: c, worth: maxAge} }

// Done ends the delivery of an OOM event to the Tracked consumer.
func (a *Agent) Done(id string) {
	a.mu.Lock()
	j := a.journal
	a.mu.Unlock()
	if j == nil {
		return
	}
	if err := j.Done(id); err != nil && !errors.Is(err, os.ErrClosed) {
		a.c.Log.WithError(err).Error("the end of a delivery is not written down: it may be made again after a restart")
	}
}

// Run works until ctx ends, which is no error. An error is of the start alone: another
// agent has the state directory. What else is missing it goes without, see Health.
func (a *Agent) Run(ctx context.Context) (err error) {
	boot, err := bootID()
	if err != nil {
		return err
	}
	j, fresh, damaged, err := journal.Open(a.c.StateDir, boot, time.Now())
	if err != nil {
		return err
	}
	defer func() {
		if e := j.Close(); err == nil {
			err = e
		}
	}()
	if err := j.Err(); err != nil {
		a.c.Log.WithError(err).Error("the agent runs without its journal, and tries again: kills may be counted and reported again after a restart")
	}
	if damaged > 0 {
		a.c.Log.WithField("lines", damaged).Warn("the journal is damaged: some kills may be counted again")
	}
	if fresh {
		a.worth = maxAgeFresh
	}
	l := bpf.NewHandle(a.c.Dir, a.c.LockDir)
	defer l.Close()
	names := containers.New(a.c.Containerd)
	defer func() { _ = names.Close() }() // it has only asked
	h, err := oom.FindHierarchy()
	if err != nil {
		a.c.Log.WithError(err).Error("the agent runs without the names of cgroups")
	}
	watcher, resolver := a.resolver(h, boot, l, names)
	collector := collect.New(collect.Options{
		Ledger: source{l}, Resolver: resolver, Limits: newLimits(watcher.Limits).of, Boot: boot,
		Counted: j.Has, Out: a.deliver, Warn: func(err error) { a.c.Log.Warn(err) },
	})
	a.mu.Lock()
	a.collector, a.journal, a.watcher, a.names = collector, j, watcher, names
	a.mu.Unlock()
	a.serve(ctx, j, resolver)
	return nil
}

// resolver returns a watcher and a Resolver that know what runs on the node, and what
// an earlier agent has checkpointed.
func (a *Agent) resolver(h oom.Hierarchy, boot string, l *bpf.Handle, names *containers.Client) (*cgroups.Watcher, *resolve.Resolver) {
	tree := &cgroups.Tree{Mount: h.Mount, Parent: l.Parent, Kubelet: a.c.Kubelet}
	var resolver *resolve.Resolver
	appeared := func(path string) { resolver.Appeared(path) }
	watcher := cgroups.NewWatcher(tree, cgroups.WatchOptions{Appeared: appeared})
	resolver = resolve.New(watcher, names, a.c.Pods, a.c.Kubelet)
	a.checkpoint = checkpoint.Open(checkpoint.Options{
		Dir: a.c.StateDir, Boot: boot, Kubelet: a.c.Kubelet, Cgroups: watcher, Containers: names, Pods: a.c.PodsKept,
		Warn: func(err error) { a.c.Log.Warn(err) },
	})
	if err := watcher.Start(); err != nil {
		a.c.Log.WithError(err).Error("the agent runs without the names of cgroups, and tries again")
	}
	return watcher, resolver
}

// serve runs the parts until ctx ends, and all have.
func (a *Agent) serve(ctx context.Context, j *journal.Journal, resolver *resolve.Resolver) {
	var parts sync.WaitGroup
	defer parts.Wait()
	parts.Go(func() { a.watcher.Run(ctx) })
	parts.Go(func() { resolver.Run(ctx) })
	parts.Go(func() { a.checkpoint.Run(ctx) })
	parts.Go(func() { a.follow(ctx, j) })
	for _, beside := range a.c.Beside {
		parts.Go(func() { beside(ctx) })
	}
	if a.c.Synced != nil {
		syncing, cancel := context.WithTimeout(ctx, syncWait)
		a.c.Synced(syncing)
		cancel()
	}
	a.dropped = j.Dropped()
	a.resume(j)
	debug.FreeOSMemory() // what the start and the list of pods have left over
	a.collector.Run(ctx)
	a.logSilent()
}

// logSilent logs how many OOM events were only counted since the last call: a
// backlog ends with the first OOM event that is reported, or with the agent.
func (a *Agent) logSilent() {
	if a.silent > 0 {
		a.c.Log.WithFields(logrus.Fields{"oom_events": a.silent, "older_than": a.worth.String()}).
			Info("some OOM kills are too old to be reported: they are only counted")
	}
	a.silent = 0
}

// resume has the consumers go on where an earlier agent has ended.
func (a *Agent) resume(j *journal.Journal) {
	for _, c := range a.c.Consumers {
		if r, ok := c.(events.Restorer); ok {
			r.Restore(j.Totals(), j.Past())
		}
	}
	if a.c.Tracked == nil {
		return
	}
	a.c.Tracked.Start(a.Done)
	for _, in := range j.Open() {
		if time.Since(in.Time) > a.worth {
			a.c.Log.WithField("id", in.ID).Warn("an OOM kill is too old to be reported to Kubernetes")
			a.Done(in.ID)
			continue
		}
		a.c.Tracked.Take(in, true)
	}
}

// deliver counts OOM events and then reports them.
func (a *Agent) deliver(list []events.OOMEvent) {
	for len(list) > 0 {
		old, n := a.old(&list[0]), 1
		for n < len(list) && a.old(&list[n]) == old {
			n++
		}
		a.deliverAlike(list[:n], old)
		list = list[n:]
	}
}

// old reports whether an OOM event is only counted.
func (a *Agent) old(in *events.OOMEvent) bool { return time.Since(in.Time) > a.worth }

// deliverAlike delivers those that are all old, or none is.
func (a *Agent) deliverAlike(list []events.OOMEvent, old bool) {
	tracked := a.c.Tracked != nil && !old
	if err := a.journal.Add(tracked, list...); err != nil {
		a.c.Log.WithError(err).Error("the position is not written down: kills may be counted again after a restart")
	}
	if dropped := a.journal.Dropped(); dropped > a.dropped {
		a.c.Log.WithField("oom_events", dropped-a.dropped).Warn("event queue full: the oldest OOM events were dropped, and will not be reported again after a restart")
		a.dropped = dropped
	}
	for i := range list {
		if old {
			a.silent++
		} else {
			a.logSilent()
			logOOMEvent(a.c.Log, &list[i])
		}
		for _, c := range a.c.Consumers {
			c.Take(list[i], false)
		}
		if tracked {
			a.c.Tracked.Take(list[i], false)
		}
	}
}

// source is a ledger whose ring is a collect.Ring.
type source struct{ *bpf.Handle }

func (s source) Ring() (collect.Ring, error) { return s.Handle.Ring() }

func bootID() (string, error) {
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("find the boot's ID: %w", err)
	}
	return string(bytes.TrimSpace(data)), nil
}
