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
		r := startWith(t, l, map[bpf.TaskKey]bool{}, &namer{stuckAt: 4, stuck: stuck})
		synctest.Wait()
		require.Equal(t, [][]uint32{{1}, {2}, {3}}, r.pids())
		close(stuck)
		time.Sleep(time.Minute)
		require.Equal(t, [][]uint32{{1}, {2}, {3}, {4}, {5}}, r.pids())
		r.stop()
	})
}
