package metrics_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/agent/incident"
	"github.com/oomwitness/oomwitness/agent/kill"
	"github.com/oomwitness/oomwitness/agent/metrics"
	"github.com/oomwitness/oomwitness/agent/outcome"
	"github.com/oomwitness/oomwitness/oom"
)

const kills = "oomwitness_oom_kills_total"

func hit(scope oom.Cause, pods ...string) *incident.Incident {
	in := &incident.Incident{Scope: scope}
	for _, pod := range pods {
		v := incident.Victim{}
		if pod != "" {
			v.Pod = &kill.Pod{Namespace: "shop", Name: pod}
			v.Container = &kill.Container{Name: "app"}
		}
		in.Victims = append(in.Victims, v)
	}
	return in
}

// read gives the samples of one metric as a scrape has them, without its comments.
func read(t *testing.T, m *metrics.Metrics, name string) string {
	t.Helper()
	recorder := httptest.NewRecorder()
	m.Handler(io.Discard).ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	require.Equal(t, http.StatusOK, recorder.Code)
	var lines []string
	for line := range strings.Lines(recorder.Body.String()) {
		if strings.HasPrefix(line, name+"{") || strings.HasPrefix(line, name+" ") {
			lines = append(lines, strings.TrimSpace(strings.TrimPrefix(line, name)))
		}
	}
	return strings.Join(lines, "\n")
}

func series(pod string, n int) string {
	return fmt.Sprintf(`{container="app",namespace="shop",pod="%s",scope="container"} %d`, pod, n)
}

func over(n int) string {
	return fmt.Sprintf(`{container="_overflow",namespace="_overflow",pod="_overflow",scope="_overflow"} %d`, n)
}

func full(t *testing.T) *metrics.Metrics {
	t.Helper()
	m := metrics.New(metrics.Options{
		Version: "v1", Commit: "abc",
		Ledger: func() metrics.Ledger {
			return metrics.Ledger{Tier: "A", Victims: 9, LostRing: 1, Read: 8, Unread: 2, Lag: 50 * time.Millisecond}
		},
		Journal: func() metrics.Journal { return metrics.Journal{Size: 4096, Written: 3, Errors: 1} },
		Queues:  func() []metrics.Queue { return []metrics.Queue{{Name: "events", Length: 1, Capacity: 10, Dropped: 2}} },
	})
	m.Killed(hit(oom.CauseContainer, "web-1"), 0)
	m.Event(outcome.Skipped, outcome.PodGone)
	m.Mark(outcome.Skipped, outcome.Forbidden)
	m.TellDelay(time.Second)
	return m
}

func TestLint(t *testing.T) {
	problems, err := testutil.GatherAndLint(full(t).Registry())
	require.NoError(t, err)
	require.Empty(t, problems)
}

func TestEveryMetric(t *testing.T) {
	m := full(t)
	for name, want := range map[string]string{
		"oomwitness_events_total": `{reason="",stage="identified"} 0
{reason="",stage="observed"} 0
{reason="",stage="told"} 0
{reason="pod_gone",stage="skipped"} 1`,
		"oomwitness_marked_victims_total": `{reason="",stage="marked"} 0
{reason="forbidden",stage="skipped"} 1`,
		kills:                                      over(0) + "\n" + series("web-1", 1),
		"oomwitness_oom_kills_series":              "1",
		"oomwitness_ledger_tier":                   `{tier="A"} 1` + "\n" + `{tier="B"} 0` + "\n" + `{tier="C"} 0` + "\n" + `{tier="D"} 0`,
		"oomwitness_ledger_victims_total":          "9",
		"oomwitness_ledger_lost_total":             `{map="by_cgroup"} 0` + "\n" + `{map="by_task"} 0` + "\n" + `{map="ring"} 1`,
		"oomwitness_ledger_without_limit_total":    "0",
		"oomwitness_ledger_records_read_total":     "8",
		"oomwitness_ledger_records_unread":         "2",
		"oomwitness_ledger_lag_seconds":            "0.05",
		"oomwitness_journal_size_bytes":            "4096",
		"oomwitness_journal_records_written_total": "3",
		"oomwitness_journal_errors_total":          "1",
		"oomwitness_queue_length":                  `{queue="events"} 1`,
		"oomwitness_queue_capacity":                `{queue="events"} 10`,
		"oomwitness_queue_dropped_total":           `{queue="events"} 2`,
		"oomwitness_kill_to_event_seconds_count":   "1",
		"oomwitness_build_info":                    `{commit="abc",goversion="` + runtime.Version() + `",version="v1"} 1`,
	} {
		require.Equal(t, want, read(t, m, name), name)
	}
	require.Equal(t, 8, strings.Count(read(t, m, "oomwitness_oom_victims_total"), "scope="), "all from the start")
	require.NotEmpty(t, read(t, m, "process_resident_memory_bytes"))
}

// TestNoLedger: no counter of the ledger goes back to 0 where it is gone.
func TestNoLedger(t *testing.T) {
	m := metrics.New(metrics.Options{Ledger: func() metrics.Ledger { return metrics.Ledger{Tier: "D", Read: 5} }})
	require.Contains(t, read(t, m, "oomwitness_ledger_tier"), `{tier="D"} 1`)
	require.Equal(t, "5", read(t, m, "oomwitness_ledger_records_read_total"))
	require.Empty(t, read(t, m, "oomwitness_ledger_victims_total"))
	require.Empty(t, read(t, m, "oomwitness_ledger_lost_total"))
}

func TestKilled(t *testing.T) {
	m := metrics.New(metrics.Options{})
	in := hit(oom.CauseNode, "web-1", "web-1", "", "web-2")
	m.Killed(in, 0)
	in.Victims = append(in.Victims, incident.Victim{Pod: &kill.Pod{UID: "77"}})
	m.Killed(in, 4) // told again, with one more
	m.Killed(hit("martian", ""), 0)
	require.Equal(t, strings.Join([]string{
		`{container="",namespace="",pod="",scope="node"} 1`,
		`{container="",namespace="",pod="",scope="unknown"} 1`,
		`{container="",namespace="",pod="77",scope="node"} 1`,
		over(0),
		`{container="app",namespace="shop",pod="web-1",scope="node"} 2`,
		`{container="app",namespace="shop",pod="web-2",scope="node"} 1`,
	}, "\n"), read(t, m, kills))
	require.Contains(t, read(t, m, "oomwitness_oom_victims_total"), `{scope="node"} 5`)
	require.Panics(t, func() { m.Killed(in, 6) })
}

// TestNamesOfOthers: containerd's labels can be anything.
func TestNamesOfOthers(t *testing.T) {
	m := metrics.New(metrics.Options{})
	m.Killed(hit(oom.CausePod, "a\xff\"\n"+strings.Repeat("x", 300)), 0)
	require.Contains(t, read(t, m, kills), `pod="a`+"\uFFFD"+`\"\n`+strings.Repeat("x", 249)+`"`)
}

// TestSeriesEnds: a series is shown for its time, and what comes back within the same
// time again goes on where it was, so that the kill can be seen.
func TestSeriesEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := metrics.New(metrics.Options{SeriesTTL: time.Hour})
		m.Killed(hit(oom.CauseContainer, "web-1"), 0)
		created := createdOf(t, m)
		time.Sleep(time.Hour - 1)
		require.Equal(t, over(0)+"\n"+series("web-1", 1), read(t, m, kills))
		time.Sleep(1)
		require.Equal(t, over(0), read(t, m, kills))

		time.Sleep(time.Hour - 1)
		m.Killed(hit(oom.CauseContainer, "web-1"), 0)
		require.Equal(t, over(0)+"\n"+series("web-1", 2), read(t, m, kills), "1 again would be no kill to Prometheus")
		require.Equal(t, created, createdOf(t, m))

		time.Sleep(2*time.Hour + time.Minute)
		m.Killed(hit(oom.CauseContainer, "web-1"), 0)
		require.Equal(t, over(0)+"\n"+series("web-1", 1), read(t, m, kills))
		require.Equal(t, time.Now().UTC(), createdOf(t, m), "another life says since when it counts")
	})
}

func createdOf(t *testing.T, m *metrics.Metrics) time.Time {
	t.Helper()
	families, err := m.Registry().Gather()
	require.NoError(t, err)
	for _, f := range families {
		for _, s := range f.GetMetric() {
			if f.GetName() == kills && labelOf(s, "pod") == "web-1" {
				return s.GetCounter().GetCreatedTimestamp().AsTime()
			}
		}
	}
	return time.Time{}
}

func labelOf(s *dto.Metric, name string) string {
	for _, l := range s.GetLabel() {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return ""
}

// TestCap: what is over it is in one series, nothing is lost, and a series that was
// there stays as long as it would.
func TestCap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := metrics.New(metrics.Options{SeriesTTL: time.Hour, MaxSeries: 2})
		kill := func(pod string) { m.Killed(hit(oom.CauseContainer, pod), 0) }
		for _, pod := range []string{"a", "b", "c", "d", "c", "a"} {
			kill(pod)
		}
		require.Equal(t, strings.Join([]string{over(3), series("a", 2), series("b", 1)}, "\n"), read(t, m, kills))
		require.Contains(t, read(t, m, "oomwitness_oom_victims_total"), `{scope="container"} 6`)

		time.Sleep(time.Hour) // a and b are kept, unseen
		kill("c")
		kill("d")
		require.Equal(t, strings.Join([]string{over(3), series("c", 1), series("d", 1)}, "\n"), read(t, m, kills))
		kill("a") // would be a third
		require.Equal(t, strings.Join([]string{over(4), series("c", 1), series("d", 1)}, "\n"), read(t, m, kills))

		time.Sleep(time.Hour) // a and b are forgotten, c and d kept
		kill("a")
		require.Equal(t, strings.Join([]string{over(4), series("a", 1)}, "\n"), read(t, m, kills))
	})
}

// TestRestart: the counts outlive the agent, through JSON.
func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := metrics.Options{SeriesTTL: time.Hour, MaxSeries: 2}
		m := metrics.New(o)
		m.Killed(hit(oom.CauseContainer, "a", "b", "c"), 0)
		m.Event(outcome.Observed, outcome.None)
		m.Mark(outcome.Skipped, outcome.Budget)
		time.Sleep(time.Minute)
		m.Killed(hit(oom.CauseContainer, "a"), 0)
		text, err := json.Marshal(m.Totals())
		require.NoError(t, err)
		names := []string{kills, "oomwitness_events_total", "oomwitness_marked_victims_total", "oomwitness_oom_victims_total"}
		before := map[string]string{}
		for _, name := range names {
			before[name] = read(t, m, name)
		}

		time.Sleep(time.Minute)
		var totals metrics.Totals
		require.NoError(t, json.Unmarshal(text, &totals))
		next := metrics.New(o)
		require.NoError(t, next.Restore(totals))
		for _, name := range names {
			require.Equal(t, before[name], read(t, next, name))
		}
		require.Equal(t, totals, next.Totals())

		time.Sleep(58 * time.Minute) // an hour since b's kill, not since a's
		require.Equal(t, over(1)+"\n"+series("a", 2), read(t, next, kills))

		smaller := metrics.New(metrics.Options{SeriesTTL: time.Hour, MaxSeries: 1})
		require.NoError(t, smaller.Restore(totals))
		require.Equal(t, over(1)+"\n"+series("a", 2), read(t, smaller, kills), "b has no room, and is no new kill")
	})
}

func TestRestoreRefuses(t *testing.T) {
	long := strings.Repeat("x", 254)
	for name, totals := range map[string]metrics.Totals{
		"long label":  {Kills: []metrics.Kills{{Pod: long}}},
		"not UTF-8":   {Kills: []metrics.Kills{{Container: "\xff"}}},
		"long reason": {Events: []metrics.Outcome{{Reason: outcome.Reason(long)}}},
		"too many":    {Marked: make([]metrics.Outcome, 1<<16+1)},
	} {
		m := metrics.New(metrics.Options{})
		totals.Victims = map[oom.Cause]uint64{oom.CauseNode: 5}
		require.ErrorIs(t, m.Restore(totals), metrics.ErrTotals, name)
		require.Contains(t, read(t, m, "oomwitness_oom_victims_total"), `{scope="node"} 0`, name)
	}
}

// TestRestoreOfTheFuture: a clock that was ahead makes nothing immortal, and reasons
// of another version grow to a bound.
func TestRestoreOfTheFuture(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := metrics.New(metrics.Options{SeriesTTL: time.Hour})
		totals := metrics.Totals{Kills: []metrics.Kills{{
			Scope: oom.CauseContainer, Namespace: "shop", Pod: "a", Container: "app", Count: 3, Last: time.Now().Add(1000 * time.Hour),
		}}}
		for i := range 1000 {
			totals.Events = append(totals.Events, metrics.Outcome{Stage: "new", Reason: outcome.Reason(fmt.Sprint(i)), Count: 1})
		}
		require.NoError(t, m.Restore(totals))
		require.Equal(t, over(0)+"\n"+series("a", 3), read(t, m, kills))
		require.Len(t, strings.Split(read(t, m, "oomwitness_events_total"), "\n"), 257)
		time.Sleep(time.Hour)
		require.Equal(t, over(0), read(t, m, kills))
	})
}

func FuzzRestore(f *testing.F) {
	f.Add([]byte(`{"kills":[{"scope":"pod","pod":"a","count":1,"last":"2026-01-02T03:04:05Z"}],"events":[{"stage":"x","count":2}]}`))
	f.Add([]byte(`{"victims":{"node":18446744073709551615},"overflow":1}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var totals metrics.Totals
		if json.Unmarshal(text, &totals) != nil {
			return
		}
		m := metrics.New(metrics.Options{MaxSeries: 3})
		if m.Restore(totals) != nil {
			return
		}
		m.Killed(hit(oom.CauseContainer, "a"), 0)
		_, err := m.Registry().Gather()
		require.NoError(t, err)
	})
}

func TestConcurrent(t *testing.T) {
	m := full(t)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 50 {
				m.Killed(hit(oom.CauseContainer, fmt.Sprintf("p%d-%d", w, i)), 0)
				m.Event(outcome.Observed, outcome.None)
				_, err := m.Registry().Gather()
				require.NoError(t, err)
			}
		})
	}
	wg.Wait()
	require.Equal(t, "201", read(t, m, "oomwitness_oom_kills_series"))
	require.Contains(t, read(t, m, "oomwitness_events_total"), `{reason="",stage="observed"} 200`)
}

// TestMemory says what a series costs, between scrapes.
func TestMemory(t *testing.T) {
	const n = 1000
	m := metrics.New(metrics.Options{MaxSeries: n})
	name := func(i, size int) string { return fmt.Sprintf("%0*d", size, i) }
	before := heap()
	for i := range n {
		m.Killed(&incident.Incident{Scope: oom.CauseContainer, Victims: []incident.Victim{{
			Pod: &kill.Pod{Namespace: name(i, 20), Name: name(i, 50)}, Container: &kill.Container{Name: name(i, 20)},
		}}}, 0)
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
