package web_test

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/agent/internal/events"
	"github.com/oomwitness/oomwitness/agent/internal/web"
)

func kept(n, victims int) events.OOMEvent {
	in := events.OOMEvent{ID: fmt.Sprintf("b-%04d", n), Time: start.Add(time.Duration(n) * time.Second)}
	for i := range victims {
		in.Victims = append(in.Victims, events.Victim{Index: uint32(i)})
	}
	return in
}

func keptIDs(h *web.History) (list []string) {
	for _, e := range h.Newest() {
		list = append(list, e.ID)
	}
	return list
}

func TestNewestFirst(t *testing.T) {
	var h web.History
	for _, n := range []int{2, 1, 4, 3} { // as they are reported, not as they were
		h.Take(kept(n, 1))
	}
	require.Equal(t, []string{"b-0004", "b-0003", "b-0002", "b-0001"}, keptIDs(&h))
	require.Equal(t, web.Extent{Events: 4, Oldest: start.Add(time.Second)}, h.Extent())
}

func TestRestore(t *testing.T) {
	var h web.History
	h.Restore(events.Totals{}, []events.OOMEvent{kept(1, 1), kept(2, 1)})
	h.Take(kept(3, 1))
	require.Equal(t, []string{"b-0003", "b-0002", "b-0001"}, keptIDs(&h))
}

// TestComplete: since when nothing is missing, whatever had to make room, and when.
func TestComplete(t *testing.T) {
	var h web.History
	h.Take(kept(1, 1))
	require.Zero(t, h.Extent().Complete, "nobody has said since when events are kept")

	h = web.History{}
	h.Restore(events.Totals{Since: start}, []events.OOMEvent{kept(2, 1)})
	require.Equal(t, start, h.Extent().Complete)
	h.Take(kept(7, web.MaxEventVictims+1))
	require.Equal(t, start.Add(7*time.Second), h.Extent().Complete, "victims are missing")
	for n := range web.MaxEvents + 5 {
		h.Take(kept(10+n, 1))
	}
	require.Equal(t, start.Add(14*time.Second), h.Extent().Complete, "7 events had to make room")

	h = web.History{}
	h.Restore(events.Totals{Since: start, Dropped: start.Add(time.Hour)}, nil)
	require.Equal(t, start.Add(time.Hour), h.Extent().Complete, "of an agent before this one")
}

func TestBounds(t *testing.T) {
	var h web.History
	for n := range web.MaxEvents + 5 {
		h.Take(kept(n, 1))
	}
	require.Equal(t, web.Extent{Events: web.MaxEvents, Oldest: start.Add(5 * time.Second), Dropped: 5}, h.Extent())

	h = web.History{}
	for n := range 100 {
		h.Take(kept(n, 1000))
	}
	require.Equal(t, web.MaxVictims/web.MaxEventVictims, h.Extent().Events)
	require.Equal(t, 1000, h.Newest()[0].Killed)
	require.Len(t, h.Newest()[0].Victims, web.MaxEventVictims)
}

// TestNobodyElsesSlice: what the caller does to its event later changes nothing.
func TestNobodyElsesSlice(t *testing.T) {
	var h web.History
	in := kept(1, 2)
	h.Take(in)
	in.Victims[0].Comm = "other"
	require.Empty(t, h.Newest()[0].Victims[0].Comm)
}

// TestFlood: the events of one tenant, in however many pods, make room for each other,
// and those of others stay.
func TestFlood(t *testing.T) {
	in := func(n int, namespace string, pods int) events.OOMEvent {
		e := kept(n, 1)
		e.Victims[0].Pod = &events.Pod{Namespace: namespace, UID: fmt.Sprint(namespace, n%pods)}
		return e
	}
	for _, pods := range []int{1, 4, 5000} {
		var h web.History
		for n := range 50 {
			h.Take(in(n, "shop", 1))
		}
		for n := range 5000 {
			h.Take(in(100+n, "evil", pods))
		}
		list := keptIDs(&h)
		require.Len(t, list, web.MaxEvents)
		require.Equal(t, "b-0000", list[len(list)-1])
		require.Equal(t, "b-0049", list[len(list)-50])
		require.Equal(t, "b-5099", list[0], "and the newest is there")
	}
}

func TestConcurrent(t *testing.T) {
	var h web.History
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for n := range 200 {
				h.Take(kept(w*200+n, 2))
				require.NotEmpty(t, h.Newest())
			}
		})
	}
	wg.Wait()
	require.Equal(t, 800, h.Extent().Events)
}

// TestMemory: a full history with long names stays within what is said of it.
func TestMemory(t *testing.T) {
	var h web.History
	before := heap()
	for n := range web.MaxVictims {
		in := kept(n, 1)
		in.Victims = full(in.Victims, n)
		h.Take(in)
	}
	for n := range web.MaxVictims / web.MaxEventVictims {
		in := kept(10000+n, web.MaxEventVictims)
		in.Victims = full(in.Victims, n)
		h.Take(in)
	}
	took := heap() - before
	t.Logf("metric=history_bytes events=%d bytes=%d", h.Extent().Events, took)
	require.Less(t, took, int64(web.MaxVictims*1100))
	runtime.KeepAlive(&h)
}

func full(victims []events.Victim, n int) []events.Victim {
	name := func(size int) string { return fmt.Sprint(n) + strings.Repeat("x", size) }
	for i := range victims {
		v := &victims[i]
		v.Comm = name(10)
		v.Memory = events.Memory{RSS: new(uint64), Anon: new(uint64), File: new(uint64), Shmem: new(uint64)}
		v.Cgroup.Path = name(170)
		v.Container = &events.Container{ID: name(60), Name: name(15), Image: name(60), Namespace: "k8s.io", Kind: "container"}
		v.Pod = &events.Pod{UID: name(30), Name: name(40), Namespace: name(20)}
	}
	return victims
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
