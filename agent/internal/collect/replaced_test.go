package collect_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/agent/internal/events"
	"github.com/oomwitness/oomwitness/bpf"
	"github.com/oomwitness/oomwitness/oom"
)

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

// TestMemory: what filled the memory is read with the first victim of an OOM event, and
// stays unknown where the ledger has forgotten it.
func TestMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger()
		l.memory = map[uint64]oom.Memory{2: {Shmem: 7, Candidates: []oom.Candidate{{Comm: "a\n", RSS: 3}}}}
		r := start(t, l, map[bpf.TaskKey]bool{})
		defer r.stop()
		l.write(true, rec(1, 1, 0), rec(2, 2, 0), rec(3, 2, 1))
		time.Sleep(time.Second)
		synctest.Wait()
		require.Len(t, r.got(), 2)
		require.Nil(t, r.got()[0].Memory)
		require.EqualValues(t, 7, r.got()[1].Memory.Shmem)
		require.Equal(t, events.Clean("a\n"), r.got()[1].Memory.Candidates[0].Comm)
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
