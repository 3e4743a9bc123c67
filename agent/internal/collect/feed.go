package collect

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/oomwitness/oomwitness/agent/internal/events"
	"github.com/oomwitness/oomwitness/bpf"
)

// scan are all records of the map of victims, most of which may be known.
type scan struct {
	records []bpf.Record
	// missing are the records for which the ring was full, and which the map is
	// read for.
	missing uint64
}

// feeder reads the ledger: the ring as records come, and the map of victims for
// what the ring may not have. That is so at the start, when another ledger was
// loaded, when the ring was full, and while another process reads the ring.
type feeder struct {
	*Collector
	// live has the ring's records. One is sent when the scan that was sent before it
	// was taken.
	live  chan<- bpf.Record
	scans chan<- scan
}

const (
	// again is how often a ledger that is not there, or a ring that is busy, is
	// looked for.
	again = 2 * time.Second
	// look is how often the ledger's counts are read.
	look = 2 * time.Second
)

// run reads rings, one after the other, until ctx ends.
func (f *feeder) run(ctx context.Context) {
	warned := ""
	for ctx.Err() == nil {
		err := f.follow(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil && err.Error() != warned { // once, not every two seconds
			warned = err.Error()
			f.o.Warn(err)
		}
		if errors.Is(err, bpf.ErrBusy) {
			f.scan(ctx, 0) // the kills are reported all the same
		}
		wait(ctx, again)
	}
}

// follow reads one ring to its end.
func (f *feeder) follow(ctx context.Context) (err error) {
	defer func() {
		if err != nil {
			f.setHealth(func(h *events.Health) { h.Ready, h.Why = false, err.Error() })
		}
	}()
	ring, err := f.o.Ledger.Ring()
	if err != nil {
		return fmt.Errorf("follow the ledger: %w", err)
	}
	defer ring.Close()
	// After the ring was opened, so that no kill is between the two.
	f.scan(ctx, 0)
	f.setHealth(func(h *events.Health) { h.Ready, h.Why = true, "" })
	for {
		r, err := ring.Read(ctx)
		switch {
		case errors.Is(err, bpf.ErrRecord):
			f.o.Warn(err)
		case err != nil:
			return fmt.Errorf("follow the ledger: %w", err)
		case !send(ctx, f.live, r):
			return nil
		}
	}
}

// watch reads the ledger's counts, and the map of victims where they say that
// the ring did not have all.
func (f *feeder) watch(ctx context.Context) {
	var last bpf.Meta
	for ; ctx.Err() == nil; wait(ctx, look) {
		m, err := f.o.Ledger.Meta()
		if err != nil {
			f.setHealth(func(h *events.Health) { h.Tier = "" })
			continue
		}
		f.setHealth(func(h *events.Health) { h.Tier, h.Seen, h.RingFull = m.Tier.String(), m.Victims, m.LostRing })
		switch {
		case last.LoadedNS == 0: // read at the start
		case m.LoadedNS != last.LoadedNS:
			f.scan(ctx, 0)
		case m.LostRing > last.LostRing:
			f.scan(ctx, m.LostRing-last.LostRing)
		}
		last = m
	}
}

// scan sends all victims that the ledger has, oldest first.
func (f *feeder) scan(ctx context.Context, missing uint64) {
	list, err := f.o.Ledger.Records()
	if err != nil {
		if !errors.Is(err, bpf.ErrAbsent) {
			f.o.Warn(err)
		}
		return
	}
	list = slices.DeleteFunc(list, func(r bpf.Record) bool { return r.TGID == 0 })
	slices.SortFunc(list, func(a, b bpf.Record) int {
		return cmp.Or(cmp.Compare(a.BootNS, b.BootNS), cmp.Compare(a.Seq, b.Seq), cmp.Compare(a.Index, b.Index))
	})
	send(ctx, f.scans, scan{records: list, missing: missing})
}

func send[T any](ctx context.Context, to chan<- T, v T) bool {
	select {
	case to <- v:
		return true
	case <-ctx.Done():
		return false
	}
}

// wait waits, or until ctx ends.
func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
