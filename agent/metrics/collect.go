package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Ledger is what is asked of the ledger at a scrape.
type Ledger struct {
	// Tier is "A", "B" or "C"; "D" where there is no ledger, and then all else is
	// left out, so that no counter goes back to 0.
	Tier string
	// Victims it has written down, and those that no map or ring had room for.
	Victims, LostRing, LostTask, LostCgroup uint64
	// NoControl are victims whose limit was not seen.
	NoControl uint64
	// Read are the records that the agent took from the ring.
	Read uint64
	// Unread are those that wait in it.
	Unread uint64
	// Lag is how long after its kill the newest record was read.
	Lag time.Duration
}

// tiers of oomwitness_ledger_tier; D is none.
var tiers = []string{"A", "B", "C", "D"}

// Journal is what is asked of the journal at a scrape.
type Journal struct {
	// Size of its files in bytes.
	Size int64
	// Written are its records since the start, Errors the writes that failed.
	Written, Errors uint64
}

// Queue is a bounded one.
type Queue struct {
	// Name is a word of the program.
	Name             string
	Length, Capacity int
	// Dropped counts what found no room.
	Dropped uint64
}

// collector makes the metrics of each scrape out of one moment's state.
type collector struct{ m *Metrics }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("oomwitness_"+name, help, labels, nil)
}

var (
	eventsDesc  = desc("events_total", "OOM events by how far they came on their way to Kubernetes, and why no further.", "stage", "reason")
	markedDesc  = desc("marked_victims_total", "Pods to be marked or evicted after an OOM event, by what became of it.", "stage", "reason")
	killsDesc   = desc("oom_kills_total", "Processes that the OOM killer ended, by whose limit fired and the container; see the documentation for how long a series is kept.", "scope", "namespace", "pod", "container")
	victimsDesc = desc("oom_victims_total", "Processes that the OOM killer ended, by whose limit fired.", "scope")

	tierDesc    = desc("ledger_tier", "1 for the tier of the ledger that is in force; D is none.", "tier")
	seenDesc    = desc("ledger_victims_total", "Victims that the ledger has written down since it was loaded.")
	lostDesc    = desc("ledger_lost_total", "Records for which the ledger had no room, by the map that was full.", "map")
	blindDesc   = desc("ledger_without_limit_total", "Victims of which the ledger has not seen whose limit fired.")
	readDesc    = desc("ledger_records_read_total", "Records that the agent has read.")
	unreadDesc  = desc("ledger_records_unread", "Records that wait to be read.")
	lagDesc     = desc("ledger_lag_seconds", "How long after its kill the newest record was read.")
	sizeDesc    = desc("journal_size_bytes", "Size of the agent's journal.")
	writtenDesc = desc("journal_records_written_total", "Records written to the journal since the agent started.")
	errorsDesc  = desc("journal_errors_total", "Writes to the journal that failed since the agent started.")
	lengthDesc  = desc("queue_length", "What waits in a queue of the agent.", "queue")
	roomDesc    = desc("queue_capacity", "What the queue has room for.", "queue")
	droppedDesc = desc("queue_dropped_total", "What found no room in the queue.", "queue")
	seriesDesc  = desc("oom_kills_series", "Containers that have a series of their own in oomwitness_oom_kills_total.")
)

// Describe says what there may be.
func (c collector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		eventsDesc, markedDesc, killsDesc, victimsDesc, tierDesc, seenDesc, lostDesc, blindDesc, readDesc, unreadDesc, lagDesc,
		sizeDesc, writtenDesc, errorsDesc, lengthDesc, roomDesc, droppedDesc, seriesDesc,
	} {
		to <- d
	}
}

// Collect gives them. The sources are asked before the lock is taken.
func (c collector) Collect(to chan<- prometheus.Metric) {
	c.ledger(to)
	if c.m.o.Journal != nil {
		j := c.m.o.Journal()
		to <- gauge(sizeDesc, float64(j.Size))
		to <- counter(writtenDesc, j.Written)
		to <- counter(errorsDesc, j.Errors)
	}
	if c.m.o.Queues != nil {
		for _, q := range c.m.o.Queues() {
			to <- gauge(lengthDesc, float64(q.Length), q.Name)
			to <- gauge(roomDesc, float64(q.Capacity), q.Name)
			to <- counter(droppedDesc, q.Dropped, q.Name)
		}
	}
	for _, metric := range c.counters() {
		to <- metric
	}
}

func (c collector) ledger(to chan<- prometheus.Metric) {
	if c.m.o.Ledger == nil {
		return
	}
	l := c.m.o.Ledger()
	for _, tier := range tiers {
		is := 0.0
		if tier == l.Tier {
			is = 1
		}
		to <- gauge(tierDesc, is, tier)
	}
	to <- counter(readDesc, l.Read)
	if l.Tier == "D" {
		return
	}
	to <- counter(seenDesc, l.Victims)
	to <- counter(lostDesc, l.LostRing, "ring")
	to <- counter(lostDesc, l.LostTask, "by_task")
	to <- counter(lostDesc, l.LostCgroup, "by_cgroup")
	to <- counter(blindDesc, l.NoControl)
	to <- gauge(unreadDesc, float64(l.Unread))
	to <- gauge(lagDesc, l.Lag.Seconds())
}

// counters are those that agree with each other: all of one moment.
func (c collector) counters() (list []prometheus.Metric) {
	m := c.m
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	for scope, n := range m.victims {
		list = append(list, counter(victimsDesc, n, string(scope)))
	}
	for key, n := range m.events {
		list = append(list, counter(eventsDesc, n, string(key.stage), string(key.reason)))
	}
	for key, n := range m.marked {
		list = append(list, counter(markedDesc, n, string(key.stage), string(key.reason)))
	}
	shown := 0
	m.kills.each(now, func(key killKey, s series) {
		shown++
		list = append(list, prometheus.MustNewConstMetricWithCreatedTimestamp(killsDesc, prometheus.CounterValue,
			float64(s.count), s.created, string(key.scope), key.namespace, key.pod, key.container))
	})
	return append(list, gauge(seriesDesc, float64(shown-1))) // without the overflow
}

func counter(d *prometheus.Desc, n uint64, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
}

func gauge(d *prometheus.Desc, n float64, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(d, prometheus.GaugeValue, n, labels...)
}
