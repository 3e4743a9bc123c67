package agenttest

import (
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
	OOMEvent  = events.OOMEvent
	Victim    = events.Victim
	IDs       = events.IDs
	Process   = events.Process
	Memory    = events.Memory
	Domain    = events.Domain
	Container = events.Container
	Pod       = events.Pod
)

const (
	// Schema is that of OOM events.
	Schema = events.Schema
	// Kinds of containers.
	KindInit, KindSidecar        = resolve.KindInit, resolve.KindSidecar
	KindContainer, KindEphemeral = resolve.KindContainer, resolve.KindEphemeral
)

// EventOf is the OOM event of a record whose cgroup has an ID and no path any more.
func EventOf(r *bpf.Record) events.OOMEvent {
	return events.New(r, cgroups.Name{ID: r.Cgroup}, cgroups.Name{})
}

// What the agent serves, with made-up OOM events behind it.
type (
	Health         = events.Health
	History        = web.History
	Metrics        = metrics.Metrics
	MetricsOptions = metrics.Options
	MetricsQueue   = metrics.Queue
	WebConfig      = web.Config
	Answer         = web.Answer
)

var (
	// NewMetrics and Handler make what is served.
	NewMetrics, Handler = metrics.New, web.Handler
)

// The agent's part in Kubernetes, with a queue that takes made-up OOM events.
type (
	Kube        = notify.Kube
	KubeOptions = notify.Options
	Counter     = deliver.Counter
	Stage       = deliver.Stage
	Reason      = deliver.Reason
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
