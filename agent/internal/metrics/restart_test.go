package metrics_test

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/agent/internal/deliver"
	"github.com/oomwitness/oomwitness/agent/internal/events"
	"github.com/oomwitness/oomwitness/agent/internal/metrics"
	"github.com/oomwitness/oomwitness/oom"
)

// TestRestart: the counts outlive the agent, by the journal's totals.
func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		since := time.Now().Add(-time.Hour)
		of := func(pod string) events.Series {
			return events.Series{Cause: "container", Namespace: "shop", Pod: pod, Container: "app"}
		}
		totals := events.Totals{Since: since, OOMEvents: 7, Victims: map[string]uint64{"container": 9, "martian": 1}, Series: map[events.Series]events.Count{
			of("web-1"):                           {Victims: 6, Last: time.Now().Add(-time.Minute)},
			of("ahead"):                           {Victims: 2, Last: time.Now().Add(1000 * time.Hour)}, // the clock was set back
			of("ended"):                           {Victims: 1, Last: time.Now().Add(-90 * time.Minute)},
			{Cause: "pod", Container: "web"}:      {Victims: 1, Last: time.Now().Add(-80 * time.Hour)},
			{Cause: "pod"}:                        {Victims: 2, Last: time.Now().Add(-80 * time.Hour)},
			of("\xff" + strings.Repeat("x", 300)): {Victims: 1, Last: time.Now().Add(-100 * time.Hour)},
		}}
		m := metrics.New(metrics.Options{SeriesTTL: time.Hour, MaxSeries: 2})
		m.Restore(totals, nil)
		require.Equal(t, strings.Join([]string{over(0), series("ahead", 2), series("web-1", 6)}, "\n"), read(t, m, kills))
		require.Equal(t, since.UTC(), createdOf(t, m))
		require.Contains(t, read(t, m, "oomwitness_oom_victims_total"), `{cause="container"} 9`)
		require.Contains(t, read(t, m, "oomwitness_oom_victims_total"), `{cause="unknown"} 1`)
		require.Contains(t, read(t, m, "oomwitness_events_total"), `{reason="",stage="observed"} 7`)

		time.Sleep(59 * time.Minute)
		require.Equal(t, over(0)+"\n"+series("ahead", 2), read(t, m, kills))
		time.Sleep(time.Minute)
		require.Equal(t, over(0), read(t, m, kills))
		m.Take(hit(oom.CauseContainer, "web-1"))
		require.Equal(t, over(0)+"\n"+series("web-1", 7), read(t, m, kills))
		m.Take(hit(oom.CausePod, ""))
		require.Contains(t, read(t, m, kills), `{cause="pod",container="",namespace="",pod=""} 4`)
	})
}

// TestRestoreWithLessRoom: what has none is no kill of now.
func TestRestoreWithLessRoom(t *testing.T) {
	m := metrics.New(metrics.Options{MaxSeries: 1})
	totals := events.Totals{Series: map[events.Series]events.Count{}}
	for i := range 50 {
		key := events.Series{Cause: "container", Namespace: "shop", Pod: fmt.Sprintf("p%02d", i), Container: "app"}
		totals.Series[key] = events.Count{Victims: 3, Last: time.Now().Add(time.Duration(i-100) * time.Second)}
	}
	m.Restore(totals, nil)
	require.Equal(t, over(0)+"\n"+series("p49", 3), read(t, m, kills))
}

// TestRestoreByNamespace: a namespace whose pods had the newest kills takes no series from another
// by a restart of the agent.
func TestRestoreByNamespace(t *testing.T) {
	m := metrics.New(metrics.Options{SeriesTTL: time.Hour, MaxSeries: 100})
	totals := events.Totals{Series: map[events.Series]events.Count{}}
	for i := range 300 {
		key := events.Series{Cause: "container", Namespace: "loud", Pod: fmt.Sprint("churn-", i), Container: "app"}
		totals.Series[key] = events.Count{Victims: 1, Last: time.Now().Add(-time.Minute)}
	}
	for i := range 10 {
		key := events.Series{Cause: "container", Namespace: "shop", Pod: fmt.Sprint("web-", i), Container: "app"}
		totals.Series[key] = events.Count{Victims: 7, Last: time.Now().Add(-30 * time.Minute)}
	}
	m.Restore(totals, nil)
	require.Equal(t, 10, strings.Count(read(t, m, kills), `namespace="shop"`))
	require.Equal(t, 90, strings.Count(read(t, m, kills), `namespace="loud"`))
}

func TestConcurrent(t *testing.T) {
	m := full(t)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 50 {
				m.Take(hit(oom.CauseContainer, fmt.Sprintf("p%d-%d", w, i)))
				m.Event(deliver.Reported, deliver.None)
				_, err := m.Registry().Gather()
				require.NoError(t, err)
			}
		})
	}
	wg.Wait()
	require.Equal(t, "201", read(t, m, "oomwitness_oom_kills_series"))
	require.Contains(t, read(t, m, "oomwitness_events_total"), `{reason="",stage="observed"} 201`)
}

// TestMemory says what a series costs, between scrapes.
func TestMemory(t *testing.T) {
	const n = 1000
	m := metrics.New(metrics.Options{MaxSeries: n})
	name := func(i, size int) string { return fmt.Sprintf("%0*d", size, i) }
	before := heap()
	for i := range n {
		m.Take(events.OOMEvent{Cause: oom.CauseContainer, Time: time.Now(), Victims: []events.Victim{{
			Pod: &events.Pod{Namespace: name(i, 20), Name: name(i, 50)}, Container: &events.Container{Name: name(i, 20)},
		}}})
	}
	each := (heap() - before) / n
	t.Logf("metric=series_bytes series=%d each=%d", n, each)
	require.Less(t, each, int64(512))
	require.Equal(t, fmt.Sprint(n), read(t, m, "oomwitness_oom_kills_series"))
}

func heap() int64 {
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return int64(s.HeapAlloc)
}

// TestCapByNamespace: a namespace that makes pods all the time has the series that nobody else
// asks for, and takes none from the others.
func TestCapByNamespace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := metrics.New(metrics.Options{SeriesTTL: time.Hour, MaxSeries: 100})
		in := func(namespace, pod string) {
			e := hit(oom.CauseContainer, pod)
			e.Victims[0].Pod.Namespace = namespace
			m.Take(e)
			time.Sleep(time.Second)
		}
		count := func(namespace string) int {
			return strings.Count(read(t, m, kills), fmt.Sprintf("namespace=%q", namespace))
		}
		for i := range 500 {
			in("loud", fmt.Sprint("churn-", i))
		}
		require.Equal(t, 100, count("loud"))
		for i := range 200 {
			in("loud", fmt.Sprint("more-", i))
			if i%20 == 0 {
				in("shop", fmt.Sprint("web-", i/20))
			}
		}
		require.Equal(t, 10, count("shop"))
		require.Equal(t, 90, count("loud"))
		for i := range 200 {
			in("other", fmt.Sprint("churn-", i))
		}
		require.Equal(t, 10, count("shop"))
		require.InDelta(t, count("loud"), count("other"), 1)
		in("shop", "web-0")
		require.Contains(t, read(t, m, kills), `{cause="container",container="app",namespace="shop",pod="web-0"} 2`)
		require.Equal(t, "100", read(t, m, "oomwitness_oom_kills_series"))
	})
}
