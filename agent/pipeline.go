package agent

import (
	"context"
	"errors"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/oomwitness/oomwitness/agent/internal/cgroups"
	"github.com/oomwitness/oomwitness/agent/internal/collect"
	"github.com/oomwitness/oomwitness/agent/internal/events"
	"github.com/oomwitness/oomwitness/agent/internal/resolve"
	"github.com/oomwitness/oomwitness/agent/internal/store"
	"github.com/oomwitness/oomwitness/bpf"
	"github.com/oomwitness/oomwitness/oom"
)

// config says what a pipeline is to do.
type config struct {
	// dir is where the ledger is pinned, lockDir its locks; the usual ones if empty.
	dir, lockDir string
	// stateDir is where the position is kept, and what is known of who runs.
	stateDir string
	// containerd is its socket, "" to do without.
	containerd string
	// kubelet says which cgroups are pods'.
	kubelet KubeletOptions
	// pods are the node's, nil without Kubernetes.
	pods *resolve.PodStore
	// consumers receive every OOM event; tracked until it has done with each,
	// may be nil.
	consumers []events.Consumer
	tracked   events.Tracked
	// export gets the OOM events that are reported to log and Kubernetes, and none that is
	// only counted. It may be nil.
	export events.Consumer
	// exits are the ends of containers, read first and then followed; those that the ledger
	// alone knows are added. nil for none.
	exits *store.Exits
	// beside are run beside, and have ended when the position is closed.
	beside []func(ctx context.Context)
	// log receives a line for every OOM event and for what goes wrong.
	log *logrus.Logger
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

// pipeline reads the ledger, resolves the victims, keeps its position in a journal, and
// passes each OOM event to its consumers. run is called once; health and done at any time.
type pipeline struct {
	c      config
	worth  time.Duration
	silent int // OOM events that were only counted, and not yet said so
	// dropped are the deliveries that the journal has given up, as last seen.
	dropped uint64
	// unwritten is true while the journal takes nothing: the log says so once.
	unwritten  bool
	checkpoint *store.Checkpoint
	senders    *collect.Senders

	mu        sync.Mutex // guards what follows
	collector *collect.Collector
	journal   *store.Journal
	watcher   *cgroups.Watcher
	names     *resolve.Containerd
	roots     cgroups.Roots
}

// newPipeline returns a pipeline that is not running: see run.
func newPipeline(c config) *pipeline { return &pipeline{c: c, worth: maxAge} }

// done ends the delivery of an OOM event to the Tracked consumer.
func (p *pipeline) done(id string) {
	p.mu.Lock()
	j := p.journal
	p.mu.Unlock()
	if j == nil {
		return
	}
	if err := j.Done(id); err != nil && !errors.Is(err, os.ErrClosed) {
		p.c.log.WithError(err).Error("the end of a delivery is not written down: it may be made again after a restart")
	}
}

// run works until ctx ends, which is no error. An error is of the start alone: another
// agent has the state directory. What else is missing it goes without, see health.
func (p *pipeline) run(ctx context.Context) (err error) {
	boot, err := oom.BootID()
	if err != nil {
		return err
	}
	j, fresh, damaged, err := store.Open(p.c.stateDir, boot, time.Now())
	if err != nil {
		return err
	}
	defer func() {
		if e := j.Close(); err == nil {
			err = e
		}
	}()
	if err := j.Err(); err != nil {
		p.c.log.WithError(err).Error("the agent runs without its journal, and tries again: kills may be counted and reported again after a restart")
	}
	if damaged > 0 {
		p.c.log.WithField("lines", damaged).Warn("the journal is damaged: some kills may be counted again")
	}
	if fresh {
		p.worth = maxAgeFresh
	}
	l := bpf.NewHandle(p.c.dir, p.c.lockDir)
	defer l.Close()
	names := resolve.NewContainerd(p.c.containerd)
	defer func() { _ = names.Close() }() // it has only asked
	h, err := oom.FindHierarchy()
	if err != nil {
		p.c.log.WithError(err).Error("the agent runs without the names of cgroups")
	}
	watcher, resolver := p.resolver(h, boot, l, names)
	collector := collect.New(collect.Options{
		Ledger: source{l}, Resolver: resolver, Limits: newLimits(watcher.Limits).of, Boot: boot,
		Counted: j.Has, Out: p.deliver, Warn: func(err error) { p.c.log.Warn(err) },
	})
	p.mu.Lock()
	p.collector, p.journal, p.watcher, p.names = collector, j, watcher, names
	p.mu.Unlock()
	p.serve(ctx, j, resolver)
	return nil
}

// serve runs the parts until ctx ends, and all have.
func (p *pipeline) serve(ctx context.Context, j *store.Journal, resolver *resolve.Resolver) {
	var parts sync.WaitGroup
	defer parts.Wait()
	parts.Go(func() { p.watcher.Run(ctx) })
	parts.Go(func() { resolver.Run(ctx) })
	parts.Go(func() { p.checkpoint.Run(ctx) })
	parts.Go(func() { p.follow(ctx, j) })
	parts.Go(func() { p.senders.Run(ctx) })
	for _, beside := range p.c.beside {
		parts.Go(func() { beside(ctx) })
	}
	if p.c.exits != nil {
		p.c.exits.Start()
		parts.Go(func() { p.c.exits.Run(ctx) })
	}
	p.waitForPods(ctx)
	p.dropped = j.Dropped()
	p.resume(j)
	debug.FreeOSMemory() // what the start, the list of pods and the spool of exits have left over
	p.collector.Run(ctx)
	p.logSilent()
}

// waitForPods waits until the node's pods are known, for syncWait at most.
func (p *pipeline) waitForPods(ctx context.Context) {
	if p.c.pods == nil {
		return
	}
	syncing, cancel := context.WithTimeout(ctx, syncWait)
	defer cancel()
	select {
	case <-p.c.pods.Synced():
	case <-syncing.Done():
		p.c.log.Warn("the API server has not named the node's pods yet: the agent goes on without")
	}
}

// logSilent logs how many OOM events were only counted since the last call: a
// backlog ends with the first OOM event that is reported, or with the agent.
func (p *pipeline) logSilent() {
	if p.silent > 0 {
		p.c.log.WithFields(logrus.Fields{"oom_events": p.silent, "older_than": p.worth.String()}).
			Info("some OOM kills are too old to be reported: they are only counted")
	}
	p.silent = 0
}

// resume has the consumers go on where an earlier agent has ended.
func (p *pipeline) resume(j *store.Journal) {
	for _, c := range p.c.consumers {
		if r, ok := c.(events.Restorer); ok {
			r.Restore(j.Totals(), j.Past())
		}
	}
	if p.c.tracked == nil {
		return
	}
	p.c.tracked.Start(p.done)
	for _, in := range j.Open() {
		if time.Since(in.Time) > p.worth {
			p.c.log.WithField("id", in.ID).Warn("an OOM kill is too old to be reported to Kubernetes")
			p.done(in.ID)
			continue
		}
		p.c.tracked.Take(in)
	}
}

// deliver counts OOM events and then reports them.
func (p *pipeline) deliver(list []events.OOMEvent) {
	for len(list) > 0 {
		old, n := p.old(&list[0]), 1
		for n < len(list) && p.old(&list[n]) == old {
			n++
		}
		p.deliverAlike(list[:n], old)
		list = list[n:]
	}
}

// old reports whether an OOM event is only counted.
func (p *pipeline) old(in *events.OOMEvent) bool { return time.Since(in.Time) > p.worth }

// deliverAlike delivers those that are all old, or none is.
func (p *pipeline) deliverAlike(list []events.OOMEvent, old bool) {
	tracked := p.c.tracked != nil && !old
	err := p.journal.Add(tracked, list...)
	if err != nil && !p.unwritten {
		p.c.log.WithError(err).Error("the position is not written down: kills may be counted again after a restart")
	}
	p.unwritten = err != nil
	if dropped := p.journal.Dropped(); dropped > p.dropped {
		p.c.log.WithField("oom_events", dropped-p.dropped).Warn("event queue full: the oldest OOM events were dropped, and will not be reported again after a restart")
		p.dropped = dropped
	}
	for i := range list {
		if old {
			p.silent++
		} else {
			p.logSilent()
			logOOMEvent(p.c.log, &list[i])
			if p.c.export != nil {
				p.c.export.Take(list[i])
			}
		}
		for _, c := range p.c.consumers {
			c.Take(list[i])
		}
		if tracked {
			p.c.tracked.Take(list[i])
		}
	}
}

// source is a ledger whose ring is a collect.Ring.
type source struct{ *bpf.Handle }

func (s source) Ring() (collect.Ring, error) {
	r, err := s.Handle.Ring()
	if err != nil {
		return nil, err
	}
	return r, nil
}
