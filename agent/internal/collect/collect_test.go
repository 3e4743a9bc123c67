package collect_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/agent/internal/cgroups"
	"github.com/oomwitness/oomwitness/agent/internal/collect"
	"github.com/oomwitness/oomwitness/agent/internal/events"
	"github.com/oomwitness/oomwitness/bpf"
	"github.com/oomwitness/oomwitness/oom"
)

// ledger is one that the test writes.
type ledger struct {
	mu      sync.Mutex // guards what follows
	records []bpf.Record
	memory  map[uint64]oom.Memory // by the number of the OOM event
	meta    bpf.Meta
	busy    error
	ring    chan bpf.Record
	ended   chan error // what a Read is to end with
	opened  int
}

func newLedger() *ledger {
	return &ledger{meta: bpf.Meta{Tier: bpf.TierA, LoadedNS: 1}, ring: make(chan bpf.Record, 1000), ended: make(chan error)}
}

func (l *ledger) Ring() (collect.Ring, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.opened++
	if l.busy != nil {
		return nil, l.busy
	}
	return l, nil
}

func (l *ledger) Read(ctx context.Context) (bpf.Record, error) {
	select {
	case r := <-l.ring:
		return r, nil
	case err := <-l.ended:
		return bpf.Record{}, err
	case <-ctx.Done():
		return bpf.Record{}, ctx.Err()
	}
}

func (l *ledger) Close() error { return nil }

func (l *ledger) Records() ([]bpf.Record, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]bpf.Record(nil), l.records...), nil
}

func (l *ledger) Meta() (bpf.Meta, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.meta, nil
}

func (l *ledger) Memory(seq uint64) (oom.Memory, bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	m, ok := l.memory[seq]
	return m, ok, nil
}

// write writes records down as the programs do; those that are not in the ring
// are lost to it.
func (l *ledger) write(inRing bool, records ...bpf.Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range records {
		l.records = append(l.records, r)
		l.meta.Victims++
		if inRing {
			l.ring <- r
		} else {
			l.meta.LostRing++
		}
	}
}

// resolver knows no names until it is completed. It may be stuck at a victim.
type resolver struct {
	completed int
	stuckAt   uint32
	stuck     chan struct{}
}

func (n *resolver) Resolve(_ context.Context, r *bpf.Record) (events.OOMEvent, error) {
	if n.stuck != nil && r.TGID == n.stuckAt {
		<-n.stuck
	}
	return events.New(r, cgroups.Name{ID: r.Cgroup}, cgroups.Name{ID: r.Domain}), nil
}

func (n *resolver) Complete(v *events.Victim) {
	n.completed++
	v.Pod = &events.Pod{Name: fmt.Sprint("pod-", v.PID)}
}

// rig is a collector in a bubble.
type rig struct {
	*collect.Collector
	ledger *ledger
	stop   func()

	mu     sync.Mutex // guards what follows
	out    []events.OOMEvent
	most   int // that were given out at once
	warned []error
	known  map[bpf.TaskKey]bool
}

// got is what was given out up to now.
func (r *rig) got() []events.OOMEvent {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.out)
}

// warnings are those up to now.
func (r *rig) warnings() []error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.warned)
}

func start(t *testing.T, l *ledger, known map[bpf.TaskKey]bool) *rig {
	return startWith(t, l, known, &resolver{})
}

func startWith(t *testing.T, l *ledger, known map[bpf.TaskKey]bool, names *resolver) *rig {
	r := &rig{ledger: l, known: known}
	r.Collector = collect.New(collect.Options{
		Ledger: l, Resolver: names, Boot: "boot",
		Counted: func(rec *bpf.Record) bool {
			r.mu.Lock()
			defer r.mu.Unlock()
			return r.known[rec.Key()]
		},
		Out: func(list []events.OOMEvent) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.out, r.most = append(r.out, list...), max(r.most, len(list))
			for _, in := range list {
				for _, v := range in.Victims {
					r.known[bpf.TaskKey{TGID: v.PID, StartTicks: v.StartTicks}] = true
				}
			}
		},
		Warn: func(err error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.warned = append(r.warned, err)
		},
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.Run(ctx)
	}()
	r.stop = func() {
		cancel()
		<-done
	}
	synctest.Wait()
	return r
}

// pids are those of all victims, by OOM event.
func (r *rig) pids() [][]uint32 {
	var all [][]uint32
	for _, in := range r.got() {
		var one []uint32
		for _, v := range in.Victims {
			one = append(one, v.PID)
		}
		all = append(all, one)
	}
	return all
}

func rec(pid uint32, seq uint64, index uint32) bpf.Record {
	return bpf.Record{
		ABI: bpf.ABI, TGID: pid, TID: pid, StartTicks: 9, Seq: seq, Index: index, BootNS: seq*1000 + uint64(index),
		Tier: bpf.TierA, Constraint: bpf.ConstraintMemcg, Cgroup: 5, Domain: 5, TriggerTID: 77,
	}
}

func TestGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, newLedger(), map[bpf.TaskKey]bool{})
		defer r.stop()
		// Two events at once, and their victims out of order.
		r.ledger.write(true, rec(2, 1, 1), rec(10, 2, 0), rec(1, 1, 0))
		synctest.Wait()
		require.Empty(t, r.got(), "there may be more")
		time.Sleep(100 * time.Millisecond)
		r.ledger.write(true, rec(3, 1, 2))
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		require.Equal(t, [][]uint32{{10}}, r.pids(), "the one that is over")
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		require.Equal(t, [][]uint32{{10}, {1, 2, 3}}, r.pids())
		require.Equal(t, "boot-1000-1", r.got()[1].ID, "by its first victim")
		require.Equal(t, "pod-2", r.got()[1].Victims[1].Pod.Name, "what was known later")
		// One that does not end is reported all the same.
		for i := range uint32(30) {
			r.ledger.write(true, rec(100+i, 3, i))
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		require.Len(t, r.got(), 5)
		victims := map[uint32]int{}
		for _, one := range r.pids()[2:] {
			for _, pid := range one {
				victims[pid]++
			}
		}
		require.Len(t, victims, 30)
		ids := map[string]bool{}
		for _, in := range r.got() {
			require.False(t, ids[in.ID], in.ID)
			ids[in.ID] = true
		}
	})
}

// TestCatchesUp: what was written down before the start, less what an earlier
// agent has counted, oldest first, and no victim twice though the ring has it too.
func TestCatchesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger()
		second, first, third := rec(2, 2, 0), rec(1, 1, 0), rec(3, 3, 0)
		l.write(true, second, first, third)
		r := start(t, l, map[bpf.TaskKey]bool{first.Key(): true})
		defer r.stop()
		time.Sleep(time.Second)
		synctest.Wait()
		require.Equal(t, [][]uint32{{2}, {3}}, r.pids())
		require.True(t, r.Health().Ready)
		require.Equal(t, "A", r.Health().Tier)
	})
}

// TestRingFull: the map of victims has what the ring had no room for, and what
// neither has is counted as lost.
func TestRingFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger()
		r := start(t, l, map[bpf.TaskKey]bool{})
		defer r.stop()
		l.write(false, rec(1, 1, 0), rec(2, 2, 0))
		time.Sleep(3 * time.Second)
		synctest.Wait()
		require.Equal(t, [][]uint32{{1}, {2}}, r.pids())
		require.Zero(t, r.Health().Lost)
		require.EqualValues(t, 2, r.Health().RingFull)
		l.write(false, rec(3, 3, 0), rec(4, 4, 0), rec(5, 5, 0))
		l.mu.Lock()
		l.records = l.records[4:] // the oldest two had to go
		l.mu.Unlock()
		time.Sleep(3 * time.Second)
		synctest.Wait()
		require.Equal(t, [][]uint32{{1}, {2}, {5}}, r.pids())
		require.EqualValues(t, 2, r.Health().Lost)
	})
}
