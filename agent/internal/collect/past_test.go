package collect_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/bpf"
)

// What is caught up with is given out as it is read: the agent may be killed
// before it has read all.
func TestComesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger()
		for i := range uint32(5) {
			r := rec(i+1, uint64(i+1), 0)
			r.BootNS = uint64(i+1) * uint64(time.Second)
			l.records = append(l.records, r)
		}
		stuck := make(chan struct{})
		r := startWith(t, l, map[bpf.TaskKey]bool{}, &resolver{stuckAt: 4, stuck: stuck})
		synctest.Wait()
		require.Equal(t, [][]uint32{{1}, {2}, {3}}, r.pids())
		close(stuck)
		time.Sleep(time.Minute)
		require.Equal(t, [][]uint32{{1}, {2}, {3}, {4}, {5}}, r.pids())
		r.stop()
	})
}

// What is read ahead of a victim that takes long is taken once, in its order; at the
// end it stays for the next start.
func TestReadsAhead(t *testing.T) {
	const many = 900
	for name, ends := range map[string]bool{"goes on": false, "ends": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				stuck := make(chan struct{})
				r := startWith(t, newLedger(), map[bpf.TaskKey]bool{}, &resolver{stuckAt: 2, stuck: stuck})
				var want [][]uint32
				for i := range uint32(many) {
					r.ledger.write(true, rec(i+1, uint64(i+1), 0))
					want = append(want, []uint32{i + 1})
				}
				synctest.Wait()
				require.Empty(t, r.got())
				require.NotEmpty(t, r.ledger.ring, "no more is read ahead than there is room for")
				if ends {
					stopped := make(chan struct{})
					go func() {
						r.stop()
						close(stopped)
					}()
					synctest.Wait()
					close(stuck)
					<-stopped
					require.Equal(t, want[:2], r.pids())
					return
				}
				close(stuck)
				time.Sleep(time.Second)
				synctest.Wait()
				require.Equal(t, want, r.pids())
				r.stop()
			})
		})
	}
}
