package metrics_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/agent/internal/cgroups"
	"github.com/oomwitness/oomwitness/agent/internal/deliver"
	"github.com/oomwitness/oomwitness/agent/internal/events"
	"github.com/oomwitness/oomwitness/agent/internal/metrics"
	"github.com/oomwitness/oomwitness/oom"
)

const kills = "oomwitness_oom_kills_total"

func hit(cause oom.Cause, pods ...string) events.OOMEvent {
	in := events.OOMEvent{Cause: cause, Time: time.Now()}
	for _, pod := range pods {
		v := events.Victim{}
		if pod != "" {
			v.Pod = &events.Pod{Namespace: "shop", Name: pod}
			v.Container = &events.Container{Name: "app"}
		}
		in.Victims = append(in.Victims, v)
	}
	return in
}

// read returns the samples of one metric as a scrape has them, without its comments.
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
	return fmt.Sprintf(`{cause="container",container="app",namespace="shop",pod="%s"} %d`, pod, n)
}

func over(n int) string {
	return fmt.Sprintf(`{cause="_overflow",container="_overflow",namespace="_overflow",pod="_overflow"} %d`, n)
}

func full(t *testing.T) *metrics.Metrics {
	t.Helper()
	m := metrics.New(metrics.Options{
		Version: "v1", Commit: "abc",
		Health: func() events.Health {
			return events.Health{
				Ready: true, Tier: "A", Seen: 9, Lost: 1, RingFull: 2, Lag: 50 * time.Millisecond,
				Journal: "read-only", Open: 4, Cgroups: 30, Watched: 20, Skipped: 3,
			}
		},
		Queues: func() []metrics.Queue { return []metrics.Queue{{Name: "events", Length: 1, Capacity: 10}} },
	})
	m.Take(hit(oom.CauseContainer, "web-1"))
	m.Event(deliver.Skipped, deliver.PodGone)
	m.Mark(deliver.Skipped, deliver.Forbidden)
	m.ReportDelay(time.Second)
	m.Closed("health", "connections")
	return m
}

func TestLint(t *testing.T) {
	problems, err := testutil.GatherAndLint(full(t).Registry())
	require.NoError(t, err)
	require.Empty(t, problems)
}

func TestEveryMetric(t *testing.T) {
	m := full(t)
	events := read(t, m, "oomwitness_events_total")
	for _, want := range []string{
		`{reason="",stage="resolved"} 1`, `{reason="",stage="observed"} 1`, `{reason="",stage="reported"} 0`,
		`{reason="pod_gone",stage="skipped"} 1`, `{reason="forbidden",stage="error"} 0`,
	} {
		require.Contains(t, events, want)
	}
	marked := read(t, m, "oomwitness_marked_victims_total")
	for _, want := range []string{`{reason="",stage="marked"} 0`, `{reason="forbidden",stage="skipped"} 1`, `{reason="refused",stage="error"} 0`} {
		require.Contains(t, marked, want)
	}
	for name, want := range map[string]string{
		kills:                               over(0) + "\n" + series("web-1", 1),
		"oomwitness_oom_kills_series":       "1",
		"oomwitness_ledger_tier":            `{tier="A"} 1` + "\n" + `{tier="B"} 0` + "\n" + `{tier="C"} 0` + "\n" + `{tier="D"} 0`,
		"oomwitness_ready":                  "1",
		"oomwitness_ledger_victims_total":   "9",
		"oomwitness_ledger_lost_total":      "1",
		"oomwitness_ledger_ring_full_total": "2",
		"oomwitness_ledger_lag_seconds":     "0.05",
		"oomwitness_journal_up":             "0",
		"oomwitness_oom_events_open":        "4",
		"oomwitness_cgroups":                "30",
		"oomwitness_cgroups_watched":        "20",
		"oomwitness_cgroups_skipped":        "3",
		"oomwitness_connections_closed_total": `{listener="health",reason="connections"} 1` + "\n" +
			`{listener="metrics",reason="answers"} 0` + "\n" + `{listener="metrics",reason="connections"} 0`,
		"oomwitness_queue_length":                `{queue="events"} 1`,
		"oomwitness_queue_capacity":              `{queue="events"} 10`,
		"oomwitness_kill_to_event_seconds_count": "1",
		"oomwitness_build_info":                  `{commit="abc",goversion="` + runtime.Version() + `",version="v1"} 1`,
	} {
		require.Equal(t, want, read(t, m, name), name)
	}
	require.Equal(t, len(cgroups.Causes), strings.Count(read(t, m, "oomwitness_oom_victims_total"), "cause="), "all from the start")
	require.NotEmpty(t, read(t, m, "process_resident_memory_bytes"))
}

// TestNoLedger: no counter of the ledger goes back to 0 where it is gone.
func TestNoLedger(t *testing.T) {
	m := metrics.New(metrics.Options{Health: func() events.Health { return events.Health{Why: "no ledger"} }})
	require.Contains(t, read(t, m, "oomwitness_ledger_tier"), `{tier="D"} 1`)
	require.Equal(t, "0", read(t, m, "oomwitness_ready"))
	require.Empty(t, read(t, m, "oomwitness_ledger_victims_total"))
	require.Empty(t, read(t, m, "oomwitness_ledger_lost_total"))
}

func TestKilled(t *testing.T) {
	m := metrics.New(metrics.Options{})
	in := hit(oom.CauseNode, "web-1", "web-1", "", "web-2")
	in.Victims = append(in.Victims, events.Victim{Pod: &events.Pod{UID: "77"}})
	m.Take(in)
	m.Take(hit("martian", ""))
	require.Contains(t, read(t, m, "oomwitness_events_total"), `{reason="",stage="resolved"} 0`, "a UID is no name")
	require.Contains(t, read(t, m, "oomwitness_events_total"), `{reason="",stage="observed"} 2`)
	unit := hit(oom.CauseNode, "web-1", "")
	unit.Victims[1].Unit = "postgresql.service"
	n := metrics.New(metrics.Options{})
	n.Take(unit)
	require.Contains(t, read(t, n, "oomwitness_events_total"), `{reason="",stage="resolved"} 1`)
	require.Equal(t, strings.Join([]string{
		over(0),
		`{cause="node",container="",namespace="",pod=""} 1`,
		`{cause="node",container="",namespace="",pod="77"} 1`,
		`{cause="node",container="app",namespace="shop",pod="web-1"} 2`,
		`{cause="node",container="app",namespace="shop",pod="web-2"} 1`,
		`{cause="unknown",container="",namespace="",pod=""} 1`,
	}, "\n"), read(t, m, kills))
	require.Contains(t, read(t, m, "oomwitness_oom_victims_total"), `{cause="node"} 5`)
}

// TestNamesOfOthers: containerd's labels can be anything.
func TestNamesOfOthers(t *testing.T) {
	m := metrics.New(metrics.Options{})
	m.Take(hit(oom.CausePod, "a\xff\"\n"+strings.Repeat("x", 300)))
	require.Contains(t, read(t, m, kills), `pod="a`+"\uFFFD"+`\"\n`+strings.Repeat("x", 249)+`"`)
}

// TestSeriesEnds: a series is shown for its time, and what comes back within the same
// time again goes on where it was, so that the kill can be seen.
func TestSeriesEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := metrics.New(metrics.Options{SeriesTTL: time.Hour})
		m.Take(hit(oom.CauseContainer, "web-1"))
		created := createdOf(t, m)
		time.Sleep(time.Hour - 1)
		require.Equal(t, over(0)+"\n"+series("web-1", 1), read(t, m, kills))
		time.Sleep(time.Nanosecond)
		require.Equal(t, over(0), read(t, m, kills))

		time.Sleep(time.Hour - 1)
		m.Take(hit(oom.CauseContainer, "web-1"))
		require.Equal(t, over(0)+"\n"+series("web-1", 2), read(t, m, kills), "1 again would be no kill to Prometheus")
		require.Equal(t, created, createdOf(t, m))

		time.Sleep(1000 * time.Hour) // it is forgotten only for want of room: TestCap
		m.Take(hit(oom.CauseContainer, "web-1"))
		require.Equal(t, over(0)+"\n"+series("web-1", 3), read(t, m, kills))
	})
}

// TestOldKill: what happened before the agent was there is counted, and no series of
// now; a clock that was set back makes none that stays.
func TestOldKill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := metrics.New(metrics.Options{SeriesTTL: time.Hour})
		old, ahead := hit(oom.CauseContainer, "web-1"), hit(oom.CauseContainer, "web-2")
		old.Time, ahead.Time = time.Now().Add(-2*time.Hour), time.Now().Add(1000*time.Hour)
		m.Take(old)
		m.Take(ahead)
		require.Equal(t, over(0)+"\n"+series("web-2", 1), read(t, m, kills))
		require.Contains(t, read(t, m, "oomwitness_oom_victims_total"), `{cause="container"} 2`)
		m.Take(hit(oom.CauseContainer, "web-1"))
		m.Take(old)
		require.Equal(t, strings.Join([]string{over(0), series("web-1", 3), series("web-2", 1)}, "\n"), read(t, m, kills))
		time.Sleep(time.Hour)
		require.Equal(t, over(0), read(t, m, kills))
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
		kill := func(pod string) { m.Take(hit(oom.CauseContainer, pod)) }
		for _, pod := range []string{"a", "b", "c", "d", "c", "a"} {
			kill(pod)
		}
		require.Equal(t, strings.Join([]string{over(3), series("a", 2), series("b", 1)}, "\n"), read(t, m, kills))
		require.Contains(t, read(t, m, "oomwitness_oom_victims_total"), `{cause="container"} 6`)

		time.Sleep(time.Hour) // a and b are kept, unseen
		kill("c")
		kill("d")
		require.Equal(t, strings.Join([]string{over(3), series("c", 1), series("d", 1)}, "\n"), read(t, m, kills))
		kill("a") // would be a third
		require.Equal(t, strings.Join([]string{over(4), series("c", 1), series("d", 1)}, "\n"), read(t, m, kills))

		time.Sleep(time.Hour)
		kill("a")
		kill("e") // takes the place of b, which no query over the hour can see
		kill("b")
		require.Equal(t, strings.Join([]string{over(5), series("a", 3), series("e", 1)}, "\n"), read(t, m, kills))
		time.Sleep(time.Hour)
		kill("b") // takes the place of c
		require.Equal(t, strings.Join([]string{over(5), series("b", 1)}, "\n"), read(t, m, kills), "another process")
	})
}

// TestEncodings: a scrape is compressed by gzip alone.
func TestEncodings(t *testing.T) {
	for accept, want := range map[string]string{"gzip": "gzip", "zstd": "", "zstd, gzip": "gzip", "br;q=1, *;q=0.1": "gzip", "": ""} {
		r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
		r.Header.Set("Accept-Encoding", accept)
		w := httptest.NewRecorder()
		full(t).Handler(io.Discard).ServeHTTP(w, r)
		require.Equal(t, http.StatusOK, w.Code)
		require.Equal(t, want, w.Header().Get("Content-Encoding"), accept)
	}
}
