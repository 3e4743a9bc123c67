package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/oomwitness/oomwitness/agent/internal/events"
)

// tiers of oomwitness_ledger_tier; D is none.
var tiers = []string{"A", "B", "C", "D"}

// Queue is a bounded one.
type Queue struct {
	// Name is a word of the program.
	Name             string
	Length, Capacity int
}

// collector makes the metrics of each scrape out of one moment's state.
type collector struct{ m *Metrics }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("oomwitness_"+name, help, labels, nil)
}

var (
	eventsDesc  = desc("events_total", "OOM events by how far they came on their way to Kubernetes, and why no further.", "stage", "reason")
	markedDesc  = desc("marked_victims_total", "Pods to be marked or evicted after an OOM event, by what became of it.", "stage", "reason")
	recordsDesc = desc("otlp_records_total", "Log records for an OpenTelemetry collector, by what became of them.", "stage", "reason")
	closedDesc  = desc("connections_closed_total", "Connections that were closed to make room for others, by listener and by what there was too much of.", "listener", "reason")
	killsDesc   = desc("oom_kills_total", "Processes that the OOM killer ended, by whose limit fired and the container; see the documentation for how long a series is kept.", "cause", "namespace", "pod", "container")
	victimsDesc = desc("oom_victims_total", "Processes that the OOM killer ended, by whose limit fired.", "cause")

	readyDesc    = desc("ready", "1 while the agent reads the ledger.")
	tierDesc     = desc("ledger_tier", "1 for the tier of the ledger that is in force; D is none.", "tier")
	seenDesc     = desc("ledger_victims_total", "Victims that the ledger has counted since it was loaded.")
	lostDesc     = desc("ledger_lost_total", "Victims that are counted and in no record any more.")
	ringFullDesc = desc("ledger_ring_full_total", "Records for which the ring was full; they are read from the map of victims.")
	lagDesc      = desc("ledger_lag_seconds", "How long after its kill the newest record was read.")
	journalDesc  = desc("journal_up", "1 while the position in the ledger is kept over a restart.")
	openDesc     = desc("oom_events_open", "OOM events that are not reported to Kubernetes yet.")
	cgroupsDesc  = desc("cgroups", "Cgroups that the agent knows.")
	watchedDesc  = desc("cgroups_watched", "Cgroups that the agent watches.")
	skippedDesc  = desc("cgroups_skipped", "Cgroups that the agent could not read.")
	lengthDesc   = desc("queue_length", "What waits in a queue of the agent.", "queue")
	roomDesc     = desc("queue_capacity", "What the queue has room for.", "queue")
	seriesDesc   = desc("oom_kills_series", "Containers that have a series of their own in oomwitness_oom_kills_total.")
)

// Describe sends the descriptions of all metrics.
func (c collector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		eventsDesc, markedDesc, recordsDesc, closedDesc, killsDesc, victimsDesc, seriesDesc, readyDesc, tierDesc, seenDesc, lostDesc, ringFullDesc,
		lagDesc, journalDesc, openDesc, cgroupsDesc, watchedDesc, skippedDesc, lengthDesc, roomDesc,
	} {
		to <- d
	}
}

// Collect sends the values of all metrics. The sources are asked before the lock is taken.
func (c collector) Collect(to chan<- prometheus.Metric) {
	if c.m.o.Health != nil {
		health(to, c.m.o.Health())
	}
	if c.m.o.Queues != nil {
		for _, q := range c.m.o.Queues() {
			to <- gauge(lengthDesc, float64(q.Length), q.Name)
			to <- gauge(roomDesc, float64(q.Capacity), q.Name)
		}
	}
	for _, metric := range c.counters() {
		to <- metric
	}
}

func health(to chan<- prometheus.Metric, h events.Health) {
	to <- gauge(readyDesc, number(h.Ready))
	to <- gauge(journalDesc, number(h.Journal == ""))
	to <- gauge(openDesc, float64(h.Open))
	to <- gauge(cgroupsDesc, float64(h.Cgroups))
	to <- gauge(watchedDesc, float64(h.Watched))
	to <- gauge(skippedDesc, float64(h.Skipped))
	tier := h.Tier
	if tier == "" {
		tier = "D"
	}
	for _, name := range tiers {
		to <- gauge(tierDesc, number(name == tier), name)
	}
	if tier == "D" {
		return // else its counters would go back to 0
	}
	to <- counter(seenDesc, h.Seen)
	to <- counter(lostDesc, h.Lost)
	to <- counter(ringFullDesc, h.RingFull)
	to <- gauge(lagDesc, h.Lag.Seconds())
}

func number(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// counters are those that agree with each other: all of one moment.
func (c collector) counters() (list []prometheus.Metric) {
	m := c.m
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	for cause, n := range m.victims {
		list = append(list, counter(victimsDesc, n, string(cause)))
	}
	for key, n := range m.events {
		list = append(list, counter(eventsDesc, n, string(key.stage), string(key.reason)))
	}
	for key, n := range m.marked {
		list = append(list, counter(markedDesc, n, string(key.stage), string(key.reason)))
	}
	for key, n := range m.records {
		list = append(list, counter(recordsDesc, n, string(key.stage), string(key.reason)))
	}
	for key, n := range m.closed {
		list = append(list, counter(closedDesc, n, key.listener, key.reason))
	}
	shown := 0
	m.kills.each(now, func(key killKey, s series) {
		shown++
		list = append(list, prometheus.MustNewConstMetricWithCreatedTimestamp(killsDesc, prometheus.CounterValue,
			float64(s.count), s.created, string(key.cause), key.namespace, key.pod, key.container))
	})
	return append(list, gauge(seriesDesc, float64(shown-1))) // without the overflow
}

func counter(d *prometheus.Desc, n uint64, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
}

func gauge(d *prometheus.Desc, n float64, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(d, prometheus.GaugeValue, n, labels...)
}
