package agenttest

import (
	"net/http"
	"time"

	"k8s.io/client-go/rest"

	"github.com/oomwitness/oomwitness/agent/internal/cgroups"
	"github.com/oomwitness/oomwitness/agent/internal/deliver"
	"github.com/oomwitness/oomwitness/agent/internal/events"
	"github.com/oomwitness/oomwitness/agent/internal/metrics"
	"github.com/oomwitness/oomwitness/agent/internal/notify"
	"github.com/oomwitness/oomwitness/agent/internal/resolve"
	"github.com/oomwitness/oomwitness/agent/internal/store"
	"github.com/oomwitness/oomwitness/agent/internal/web"
	"github.com/oomwitness/oomwitness/bpf"
)

// OOM events that are made up.
type (
	// OOMEvent is one OOM event with its victims.
	OOMEvent = events.OOMEvent
	// Victim is a process that the OOM killer has ended.
	Victim = events.Victim
	// IDs are a victim's on the node.
	IDs = events.IDs
	// Process is who asked for the memory.
	Process = events.Process
	// Memory is what a victim had.
	Memory = events.Memory
	// Domain is what ran out of memory.
	Domain = events.Domain
	// Container is a victim's.
	Container = events.Container
	// Pod is a victim's.
	Pod = events.Pod
)

// Schema is that of an OOMEvent, LogMessage the message of its line in the log.
const (
	Schema     = events.Schema
	LogMessage = events.LogMessage
	// KilledMessage is the message of the line of a container that was killed otherwise.
	KilledMessage = events.KilledMessage
)

// KindInit and the others are kinds of containers.
const (
	KindInit      = resolve.KindInit
	KindSidecar   = resolve.KindSidecar
	KindContainer = resolve.KindContainer
	KindEphemeral = resolve.KindEphemeral
)

// EventOf is the OOM event of a record whose cgroup has an ID and no path any more.
func EventOf(r *bpf.Record) events.OOMEvent {
	return events.New(r, cgroups.Name{ID: r.Cgroup}, cgroups.Name{})
}

// What the agent serves, with made-up OOM events behind it.
type (
	// Health is how the agent is.
	Health = events.Health
	// History is what page and API show.
	History = web.History
	// Metrics is what /metrics has.
	Metrics = metrics.Metrics
	// MetricsOptions are those of NewMetrics.
	MetricsOptions = metrics.Options
	// MetricsQueue is a queue that the metrics show.
	MetricsQueue = metrics.Queue
	// WebConfig is that of Handler.
	WebConfig = web.Config
	// Answer is the body of the API's answer.
	Answer = web.Answer
)

// NewMetrics returns what /metrics has.
func NewMetrics(o MetricsOptions) *Metrics { return metrics.New(o) }

// Handler serves page, API and metrics.
func Handler(c WebConfig) http.Handler { return web.Handler(c) }

// The agent's part in Kubernetes.
type (
	// Kube has a queue that takes made-up OOM events.
	Kube = notify.Kube
	// KubeOptions are those of NewKube.
	KubeOptions = notify.Options
	// Counter counts what became of OOM events.
	Counter = deliver.Counter
	// Stage is how far one came.
	Stage = deliver.Stage
	// Reason is why.
	Reason = deliver.Reason
)

// DefaultCauses are those that are marked by default.
const DefaultCauses = notify.DefaultCauses

// NewKube returns the agent's part in Kubernetes by a configuration. It makes requests at
// the agent's default rate.
func NewKube(config *rest.Config, o KubeOptions) (*Kube, error) {
	config = rest.CopyConfig(config)
	config.QPS, config.Burst = deliver.DefaultQPS, deliver.DefaultBurst
	client, err := deliver.ForConfig(config)
	if err != nil {
		return nil, err
	}
	return notify.New(client, o)
}

// Journal reads the OOM events that are kept in a state directory that no agent uses, and
// how many lines of it are damaged.
func Journal(dir string) (past []events.OOMEvent, damaged int, err error) {
	j, _, damaged, err := store.Open(dir, "", time.Now())
	if err != nil {
		return nil, damaged, err
	}
	return j.Past(), damaged, j.Close()
}
