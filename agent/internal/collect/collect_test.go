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
)

// ledger is one that the test writes.
type ledger struct {
	mu      sync.Mutex // guards what follows
	records []bpf.Record
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

// TestBusyRing: another process reads the ring, and the kills are reported all the same.
func TestBusyRing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger()
		l.busy = fmt.Errorf("ring.lock: %w", bpf.ErrBusy)
		r := start(t, l, map[bpf.TaskKey]bool{})
		defer r.stop()
		l.write(true, rec(1, 1, 0))
		time.Sleep(10 * time.Second)
		synctest.Wait()
		require.Equal(t, [][]uint32{{1}}, r.pids())
		require.False(t, r.Health().Ready)
		require.Contains(t, r.Health().Why, "ring.lock")
		require.Len(t, r.warnings(), 1, "once, not at each try")
		l.mu.Lock()
		l.busy = nil
		l.mu.Unlock()
		time.Sleep(3 * time.Second)
		l.write(true, rec(2, 2, 0))
		time.Sleep(time.Second)
		synctest.Wait()
		require.Equal(t, [][]uint32{{1}, {2}}, r.pids())
		require.True(t, r.Health().Ready)
	})
}

// TestReplaced: the ledger is unloaded, and one that is loaded later begins its
// numbers anew.
func TestReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger()
		r := start(t, l, map[bpf.TaskKey]bool{})
		defer r.stop()
		l.write(true, rec(1, 1, 0))
		time.Sleep(time.Second)
		l.ended <- fmt.Errorf("read: %w", bpf.ErrRetired)
		synctest.Wait()
		require.False(t, r.Health().Ready)
		l.mu.Lock()
		l.records, l.meta = nil, bpf.Meta{Tier: bpf.TierC, LoadedNS: 2}
		l.mu.Unlock()
		late := rec(2, 1, 0)
		late.BootNS = 5000
		l.write(true, late)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		require.Equal(t, [][]uint32{{1}, {2}}, r.pids())
		require.Equal(t, []string{"boot-1000-1", "boot-5000-1"}, []string{r.got()[0].ID, r.got()[1].ID})
		require.True(t, r.Health().Ready)
		require.Equal(t, "C", r.Health().Tier)
		l.ended <- fmt.Errorf("4 bytes: %w", bpf.ErrRecord)
		l.write(true, rec(3, 9, 0))
		time.Sleep(time.Second)
		synctest.Wait()
		require.Len(t, r.got(), 3, "bytes that are no record end nothing")
		warned := r.warnings()
		require.ErrorIs(t, warned[len(warned)-1], bpf.ErrRecord)
	})
}

// TestEnds: what has not settled is given out at the end.
func TestEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, newLedger(), map[bpf.TaskKey]bool{})
		r.ledger.write(true, rec(1, 1, 0))
		synctest.Wait()
		require.Empty(t, r.got())
		r.stop()
		require.Equal(t, [][]uint32{{1}}, r.pids())
	})
}

// TestManyAtOnce: the limit of what is pending, and of an event's victims.
func TestManyAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger()
		for i := range uint32(2000) {
			l.records = append(l.records, rec(i+1, uint64(i+1), 0))
		}
		for i := range uint32(events.MaxVictims + 1) {
			l.records = append(l.records, rec(i+10001, 5000, i))
		}
		r := start(t, l, map[bpf.TaskKey]bool{})
		defer r.stop()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		require.Len(t, r.got(), 2002)
		last, parts := uint64(0), []int{}
		for _, in := range r.got() {
			require.NoError(t, in.Check())
			if in.Event == 5000 {
				parts = append(parts, len(in.Victims))
				continue
			}
			require.Less(t, last, in.BootNS, "oldest first")
			last = in.BootNS
		}
		require.Equal(t, []int{events.MaxVictims, 1}, parts)
		require.Equal(t, 32, r.most, "given out at once")
	})
}

// FuzzRecord: any record that the ring may hold makes an OOM event that the
// journal takes.
func FuzzRecord(f *testing.F) {
	f.Add(uint32(1), uint64(1), uint32(0), uint32(3), uint64(5), int32(0), []byte("java"), uint32(0))
	f.Add(uint32(1), uint64(1), uint32(0), uint32(0), uint64(0), int32(-1), []byte("\xff\x00\x1b[31m"), uint32(0xffff))
	f.Fuzz(func(t *testing.T, pid uint32, seq uint64, index, constraint uint32, domain uint64, order int32, comm []byte, flags uint32) {
		r := rec(pid, seq, index)
		r.Constraint, r.Domain, r.Order, r.Flags = constraint, domain, order, bpf.Flags(flags)
		copy(r.Comm[:], comm)
		in, err := (&resolver{}).Resolve(t.Context(), &r)
		require.NoError(t, err)
		in.Identify("boot")
		require.NoError(t, in.Check())
	})
}
