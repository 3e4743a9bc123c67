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

// Source returns records when they happen.
type Source interface {
	Read(context.Context) (bpf.Record, error)
	Close() error
}

// Tracer shows records.
type Tracer struct {
	// Names names cgroups and containers, Agent names those that are gone; Agent may be nil.
	Names  *agent.Names
	Agent  *AgentNames
	Filter Filter
	Out    Writer
	// Warn gets errors of one record, which do not end the trace.
	Warn func(error)
	// Note gets what the output does not say: that no past kill is shown. It may be nil.
	Note func(string)
	// Ahead is the time between two walks over the tree of cgroups, so that a removed cgroup
	// has a name; 0 for no walk.
	Ahead time.Duration
	// Lost returns the number of records for which the ring had no room. It returns false if
	// the number is not known. It is called as often as Ahead says; may be nil.
	Lost func() (uint64, bool)

	lost     uint64 // the last result of Lost
	shown    int    // kills that were written
	nameless int    // kills that a filter by pod leaves out because their names are not known
}

// Run shows past records, oldest first, and then the records of live, which has none of the
// past, until ctx ends. The end of ctx is no error. live may be nil.
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
	if t.shown == 0 && t.Note != nil {
		t.Note(none(len(past)))
	}
	if live == nil {
		return nil
	}
	return t.follow(ctx, live)
}

// none says why no past kill is shown.
func none(past int) string {
	switch past {
	case 0:
		return "the ledger has no OOM kill"
	case 1:
		return "the flags leave out the one OOM kill in the ledger"
	}
	return fmt.Sprintf("the flags leave out all %d OOM kills in the ledger", past)
}

// follow shows the records of the ring.
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

// warnLost warns of records that are missing from the trace.
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

// take shows the result of a read.
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

// pump reads until ctx ends, or until an error that ends the trace.
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

// show names one record, and writes it if the filter selects it.
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
	t.shown++
	if err := t.Out.Write(&e); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}

// unnamed reports whether an event lacks names that may be known elsewhere.
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
