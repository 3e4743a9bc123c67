// Package metrics is what the agent reports to Prometheus. Everything is in a registry
// of its own; the labels that would grow with pods are bounded in number and time.
package metrics

import (
	"io"
	"log"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/oomwitness/oomwitness/agent/internal/cgroups"
	"github.com/oomwitness/oomwitness/agent/internal/deliver"
	"github.com/oomwitness/oomwitness/agent/internal/events"
	"github.com/oomwitness/oomwitness/oom"
)

// Options of New. The zero value of each has a default.
type Options struct {
	// Version and Commit are of the build.
	Version, Commit string
	// SeriesTTL is how long a container's series is shown after its last kill;
	// an hour by default. Queries may look back that far: see kills.go.
	SeriesTTL time.Duration
	// MaxSeries is how many containers have a series of their own, 500 by default.
	MaxSeries int
	// Health and Queues are asked at each scrape, and must not block. Those that
	// are nil leave their metrics out.
	Health func() events.Health
	Queues func() []Queue
}

// Defaults of Options.
const (
	DefaultSeriesTTL = time.Hour
	DefaultMaxSeries = 500
)

// troubles are reasons for which there is a counter from the start, since increase()
// does not see the first count of a series: what an alert is for.
var troubles = []deliver.Reason{
	deliver.Forbidden, deliver.Refused, deliver.Conflict, deliver.Throttled, deliver.Unavailable, deliver.QueueFull, deliver.TooLate,
}

// Metrics counts OOM events and victims, and what became of them. It is safe
// for concurrent use.
type Metrics struct {
	registry *prometheus.Registry
	delay    prometheus.Histogram
	o        Options

	// mu guards what follows.
	mu      sync.Mutex
	victims map[oom.Cause]uint64
	events  map[outcomeKey]uint64
	marked  map[outcomeKey]uint64
	records map[outcomeKey]uint64 // for OpenTelemetry
	closed  map[closedKey]uint64
	kills   kills
}

// closedKey says which connections were closed: words of the program.
type closedKey struct{ listener, reason string }

type outcomeKey struct {
	stage  deliver.Stage
	reason deliver.Reason
}

var (
	_ deliver.Counter = (*Metrics)(nil)
	_ events.Restorer = (*Metrics)(nil)
)

// New makes metrics that are all zero.
func New(o Options) *Metrics {
	if o.SeriesTTL <= 0 {
		o.SeriesTTL = DefaultSeriesTTL
	}
	if o.MaxSeries <= 0 {
		o.MaxSeries = DefaultMaxSeries
	}
	now := time.Now()
	m := &Metrics{
		registry: prometheus.NewPedanticRegistry(), o: o,
		victims: map[oom.Cause]uint64{}, events: map[outcomeKey]uint64{}, marked: map[outcomeKey]uint64{}, records: map[outcomeKey]uint64{},
		closed: map[closedKey]uint64{{"metrics", "connections"}: 0, {"metrics", "answers"}: 0, {"health", "connections"}: 0},
		kills:  newKills(o.SeriesTTL, o.MaxSeries, now),
		delay: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "oomwitness_kill_to_event_seconds",
			Help:    "Time from a kill until the API server had an Event of it.",
			Buckets: []float64{.1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 600},
		}),
	}
	for _, cause := range cgroups.Causes {
		m.victims[cause] = 0
	}
	for _, reason := range troubles {
		for _, stage := range []deliver.Stage{deliver.Error, deliver.Skipped} {
			m.events[outcomeKey{stage, reason}], m.marked[outcomeKey{stage, reason}] = 0, 0
		}
	}
	for _, stage := range []deliver.Stage{deliver.Observed, deliver.Resolved, deliver.Reported} {
		m.events[outcomeKey{stage: stage}] = 0
	}
	m.marked[outcomeKey{stage: deliver.Marked}] = 0
	m.Records(deliver.Reported, deliver.None, 0)
	for _, reason := range []deliver.Reason{deliver.QueueFull, deliver.Refused, deliver.Unavailable} {
		m.Records(deliver.Skipped, reason, 0)
	}
	m.registry.MustRegister(m.delay, collector{m}, buildInfo(o),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		collectors.NewGoCollector())
	return m
}

func buildInfo(o Options) prometheus.Collector {
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "oomwitness_build_info", Help: "What the agent was built from; always 1.",
		ConstLabels: prometheus.Labels{"version": o.Version, "commit": o.Commit, "goversion": runtime.Version()},
	})
	info.Set(1)
	return info
}

// Registry has all of the metrics, and nothing else.
func (m *Metrics) Registry() *prometheus.Registry { return m.registry }

// Handler serves them: its caller bounds how many scrapes there are at once. What goes wrong
// is written to errors, a line each.
func (m *Metrics) Handler(errors io.Writer) http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorLog: log.New(errors, "metrics: ", 0), ErrorHandling: promhttp.ContinueOnError,
		EnableOpenMetrics: true,
		// An encoder for zstd takes megabytes for each scrape.
		OfferedCompressions: []promhttp.Compression{promhttp.Gzip},
	})
}

// Take counts an event and its victims. It is resolved where all of them have a
// name in Kubernetes, or as a unit of systemd.
func (m *Metrics) Take(in events.OOMEvent) {
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.events[outcomeKey{stage: deliver.Observed}]++
	resolved := true
	for i := range in.Victims {
		v := &in.Victims[i]
		m.victims[known(in.Cause)]++
		m.kills.add(keyOf(events.SeriesOf(&in, v), v), in.Time, now)
		resolved = resolved && (v.Unit != "" || v.Pod != nil && v.Pod.Name != "")
	}
	if resolved {
		m.events[outcomeKey{stage: deliver.Resolved}]++
	}
}

// Restore sets the counts of kills and of events observed. Other outcomes begin anew.
func (m *Metrics) Restore(totals events.Totals, _ []events.OOMEvent) {
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	for cause, n := range totals.Victims {
		m.victims[known(oom.Cause(cause))] += n
	}
	m.events[outcomeKey{stage: deliver.Observed}] += totals.OOMEvents
	m.kills.restore(totals, now)
}

// known keeps the label's values to those there are.
func known(cause oom.Cause) oom.Cause {
	if slices.Contains(cgroups.Causes, cause) {
		return cause
	}
	return oom.CauseUnknown
}

// Event counts what became of an OOM event. What Take counts is not counted here.
func (m *Metrics) Event(stage deliver.Stage, reason deliver.Reason) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.events[outcomeKey{stage, reason}]++
}

// Mark counts what became of marking or evicting a pod.
func (m *Metrics) Mark(stage deliver.Stage, reason deliver.Reason) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.marked[outcomeKey{stage, reason}]++
}

// Records counts what became of n records for OpenTelemetry.
func (m *Metrics) Records(stage deliver.Stage, reason deliver.Reason, n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.records[outcomeKey{stage, reason}] += uint64(n) //nolint:gosec // a number of records is not below 0
}

// Closed counts a connection to a listener that was closed to make room for another. Both
// are words of the program.
func (m *Metrics) Closed(listener, reason string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed[closedKey{listener, reason}]++
}

// ReportDelay is the time from a kill to the Event that has it. A clock that was set
// back in between gives 0.
func (m *Metrics) ReportDelay(d time.Duration) { m.delay.Observe(max(d, 0).Seconds()) }
