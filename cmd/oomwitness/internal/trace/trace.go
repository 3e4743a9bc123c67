package trace

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/oomwitness/oomwitness/agent"
	"github.com/oomwitness/oomwitness/bpf"
)

// Source returns records as they happen.
type Source interface {
	Read(context.Context) (bpf.Record, error)
	Close() error
}

// Tracer shows records.
type Tracer struct {
	// Names names cgroups and containers, and Agent what is gone; Agent may be nil.
	Names  *agent.Names
	Agent  *AgentNames
	Filter Filter
	Out    Writer
	// Warn receives what goes wrong with one record and does not end the trace.
	Warn func(error)
	// Ahead is how often the tree is walked, so that cgroups have a name when
	// they are removed; 0 for never.
	Ahead time.Duration
	// Lost counts the records that the ring had no room for; false where it can't
	// be known now. It is asked as often as Ahead says; may be nil.
	Lost func() (uint64, bool)

	lost     uint64 // when it was last asked
	nameless int    // kills that a filter by pod leaves out since their names are not known
}

// Run shows what was recorded already, oldest first, and then what live gives, which has
// none of the past, until ctx ends, which is no error. live may be nil.
func (t *Tracer) Run(ctx context.Context, past []bpf.Record, live Source) error {
	if err := t.Out.Begin(); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	if err := t.Names.Refresh(); err != nil {
		t.Warn(err)
	}
	slices.SortFunc(past, func(a, b bpf.Record) int {
		return cmp.Or(cmp.Compare(a.BootNS, b.BootNS), cmp.Compare(a.Seq, b.Seq), cmp.Compare(a.Index, b.Index))
	})
	for _, r := range past {
		if err := t.show(ctx, &r); err != nil {
			return err
		}
		if ctx.Err() != nil {
			break
		}
	}
	if err := t.Out.Flush(); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	if t.nameless > 0 {
		t.Warn(fmt.Errorf("kills that are left out, since the names of their pods are not known: %d", t.nameless))
	}
	if live == nil {
		return nil
	}
	return t.follow(ctx, live)
}

// follow shows what the ring gives.
func (t *Tracer) follow(ctx context.Context, live Source) error {
	records := make(chan read)
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		pump(ctx, live, records)
	}()
	defer func() {
		cancel()
		<-done
	}()
	ahead, stop := ticks(t.Ahead)
	defer stop()
	if t.Lost != nil {
		t.lost, _ = t.Lost()
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ahead:
			t.warnLost()
			if err := t.Names.Refresh(); err != nil {
				t.Warn(err)
				ahead = nil // once is enough
			}
		case r := <-records:
			if err := t.take(ctx, r); err != nil && ctx.Err() == nil {
				return err
			}
		}
	}
}

// warnLost warns of what is missing from the trace.
func (t *Tracer) warnLost() {
	if t.Lost == nil {
		return
	}
	lost, ok := t.Lost()
	if ok && lost > t.lost {
		t.Warn(fmt.Errorf("%d kills are missing here: the ring was full", lost-t.lost))
	}
	if ok {
		t.lost = lost
	}
}

// take shows what was read.
func (t *Tracer) take(ctx context.Context, r read) error {
	switch {
	case errors.Is(r.err, bpf.ErrRecord):
		t.Warn(r.err)
		return nil
	case r.err != nil:
		return r.err
	}
	return t.show(ctx, &r.record)
}

type read struct {
	record bpf.Record
	err    error
}

// pump reads until ctx ends, or an error that does.
func pump(ctx context.Context, live Source, to chan<- read) {
	for {
		record, err := live.Read(ctx)
		select {
		case to <- read{record, err}:
		case <-ctx.Done():
			return
		}
		if err != nil && !errors.Is(err, bpf.ErrRecord) {
			return
		}
	}
}

func ticks(every time.Duration) (<-chan time.Time, func()) {
	if every == 0 {
		return nil, func() {}
	}
	ticker := time.NewTicker(every)
	return ticker.C, ticker.Stop
}

// show names one record and writes it, if it is asked for.
func (t *Tracer) show(ctx context.Context, r *bpf.Record) error {
	if t.Filter.old(r) {
		return nil
	}
	e := t.Names.Event(r, t.Warn)
	if !t.Filter.mayShow(&e) {
		return nil
	}
	t.Names.Ask(ctx, e.First())
	if unnamed(&e) && t.Agent != nil {
		t.Agent.Name(ctx, &e)
	}
	if !t.Filter.shows(&e) {
		if t.Filter.ofPod() && unnamed(&e) {
			t.nameless++
		}
		return nil
	}
	if err := t.Out.Write(&e); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}

// unnamed reports whether an event lacks names that somebody may know.
func unnamed(e *agent.OOMEvent) bool {
	switch v := e.First(); {
	case v.Pod != nil:
		return v.Pod.Name == ""
	case v.Container != nil:
		return v.Container.Namespace == ""
	default:
		return v.Cgroup.Path == ""
	}
}
